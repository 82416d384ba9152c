//! Measures the processor time of a receiver that receives nothing, with many companies and handlers.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use crate::BenchError;
use crate::args::LoadBenchArgs;
use crate::process::{self, MeasuredServer};

/// Time for the work that follows a start.
const SETTLE_TIME: Duration = Duration::from_secs(10);

/// The settings of the receiver: companies with a key each, and handlers that match no event.
pub fn settings(args: &LoadBenchArgs) -> String {
    let mut settings = String::new();
    for number in 0..args.companies {
        let _ = writeln!(
            settings,
            "[[companies]]\nslug = \"company-{number}\"\nkeys = [\"key_idle_measurement_{number:08}\"]\n"
        );
    }
    for number in 0..args.handlers {
        let _ =
            writeln!(settings, "[[handlers]]\nname = \"log-{number}\"\nkind = \"log\"\nevents = [\"chat_analyzed\"]\n");
    }
    settings
}

/// Measures the build under test and, if there is one, the build of `--compare-bin`.
pub async fn run_idle(args: &LoadBenchArgs, seconds: u64) -> Result<bool, BenchError> {
    println!("{} companies, {} handlers, {seconds} s without events\n", args.companies, args.handlers);
    if let Some(build) = &args.compare_bin {
        measure(args, "before", Some(build), seconds).await?;
    }
    measure(args, "after", None, seconds).await?;
    Ok(true)
}

async fn measure(args: &LoadBenchArgs, name: &str, build: Option<&Path>, seconds: u64) -> Result<(), BenchError> {
    let server = MeasuredServer::start_receiver(args, build, None).await?;
    tokio::time::sleep(SETTLE_TIME).await;
    let pid = server.process().pid;
    let before = process::cpu_time(pid)?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let used = process::cpu_time(pid)?.saturating_sub(before);
    let share = used.as_secs_f64() / Duration::from_secs(seconds).as_secs_f64();
    println!("{name:<10}{:>8.0} ms {:>8.2} % of a core", used.as_secs_f64() * 1e3, share * 100.0);
    Ok(())
}
