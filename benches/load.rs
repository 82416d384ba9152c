//! Measures how fast the release binary receives signed webhooks, compared with a bare axum server in the same run.
//!
//! An absolute rate depends on the machine. The ratio to a server that only reads the body shows what it costs to
//! verify, parse and store an event, and is comparable between machines. Rounds alternate between the two servers, so
//! that a slow phase of the machine affects both. The ratio is that of the medians.
//!
//! ```text
//! cargo bench --bench load
//! cargo bench --bench load -- --size mix --seconds 10 --json load.json
//! cargo bench --bench load -- --compare-preload 1000000
//! cargo bench --bench load -- --rate 1000 --compare-bin ../before/target/release/retell-webhook
//! cargo bench --bench load -- --idle 20 --companies 300 --handlers 10
//! cargo bench --bench load -- --live
//! cargo bench --bench load -- --compare-bin ../before/target/release/retell-webhook
//! ```
#![allow(unreachable_pub, reason = "no other crate uses this one")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the benchmark prints its results")]
#![allow(clippy::cast_precision_loss, reason = "counts and durations become rates for display; none comes near 2^52")]
#![allow(
    clippy::format_push_string,
    reason = "texts are built before and after the measurement, where clarity matters more than speed"
)]

#[path = "load/args.rs"]
mod args;
#[path = "load/baseline.rs"]
mod baseline;
#[path = "load/comparison.rs"]
mod comparison;
#[path = "load/idle.rs"]
mod idle;
#[path = "load/live.rs"]
mod live;
#[path = "load/process.rs"]
mod process;
#[path = "load/report.rs"]
mod report;
#[path = "load/window.rs"]
mod window;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::LoadBenchArgs;

/// Path of the webhook on both servers.
const WEBHOOK_PATH: &str = "/api/v1/webhook/retell";

/// Any failure that ends the run. Only its text is used.
type BenchError = Box<dyn std::error::Error + Send + Sync>;

/// `cargo test --benches` runs this executable without `--bench`. A measurement would take minutes there, so it ends
/// immediately.
fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = if args.first().is_some_and(|arg| arg == baseline::BASELINE_FLAG) {
        baseline::run(args.get(1)).map(|()| true)
    } else if args.iter().any(|arg| arg == "--bench") {
        run(&LoadBenchArgs::parse())
    } else {
        Ok(true)
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("load: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints; `false` when a limit of the options is exceeded.
fn run(args: &LoadBenchArgs) -> Result<bool, BenchError> {
    let runtime = generator_runtime(args.generator_threads)?;
    if args.live {
        return runtime.block_on(run_until_signal(live::run_live(args)));
    }
    if let Some(seconds) = args.idle {
        return runtime.block_on(run_until_signal(idle::run_idle(args, seconds)));
    }
    let report = runtime.block_on(run_until_signal(comparison::run_comparison(args)))?;
    report.print_summary();
    if let Some(path) = &args.json {
        report.write_json(path)?;
    }
    let failures = report.failures();
    for failure in &failures {
        eprintln!("load: {failure}");
    }
    Ok(failures.is_empty())
}

/// A single generator thread needs no work stealing. Without it, more processor time is left to the server.
fn generator_runtime(threads: usize) -> Result<Runtime, BenchError> {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    Ok(builder.enable_all().build()?)
}

/// On a signal, the measurement is dropped as after a failure, which stops the servers that it started. Otherwise
/// they would continue to run.
async fn run_until_signal<T>(measurement: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        measured = measurement => measured,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("terminated".into()),
    }
}
