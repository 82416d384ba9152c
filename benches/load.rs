//! How fast the release binary receives signed webhooks, measured against a
//! bare axum server in the same run on the same machine.
//!
//! An absolute rate says little without the machine it was seen on. The ratio to
//! a server that reads the body and does nothing else says what verifying,
//! reading and storing an event costs, and it carries over between machines.
//! Rounds alternate between the two servers, so a slow phase of the machine
//! meets both, and the ratio is taken of the medians.
//!
//! ```text
//! cargo bench --bench load
//! cargo bench --bench load -- --size mix --seconds 10 --json load.json
//! cargo bench --bench load -- --compare-preload 1000000
//! cargo bench --bench load -- --lane
//! cargo bench --bench load -- --compare-bin ../before/target/release/retell-webhook
//! ```
#![allow(unreachable_pub, reason = "no other crate uses this one")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the figures are for whoever runs this")]
#![allow(clippy::cast_precision_loss, reason = "counts and durations become rates for display; none comes near 2^52")]
#![allow(
    clippy::format_push_string,
    reason = "texts are put together before and after the measurement, where clarity is worth more"
)]

#[path = "load/args.rs"]
mod args;
#[path = "load/baseline.rs"]
mod baseline;
#[path = "load/body.rs"]
mod body;
#[path = "load/client.rs"]
mod client;
#[path = "load/closed_loop.rs"]
mod closed_loop;
#[path = "load/comparison.rs"]
mod comparison;
#[path = "load/histogram.rs"]
mod histogram;
#[path = "load/live.rs"]
mod live;
#[path = "load/process.rs"]
mod process;
#[path = "load/report.rs"]
mod report;
#[path = "load/request.rs"]
mod request;
#[path = "load/stats.rs"]
mod stats;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::LoadBenchArgs;

/// Any failure that ends the run; the text is all its reader needs.
type BenchError = Box<dyn std::error::Error + Send + Sync>;

/// `cargo test --benches` runs this executable without `--bench`; a measurement
/// there would take minutes and prove nothing, so it ends at once.
fn main() -> ExitCode {
    let given: Vec<OsString> = std::env::args_os().skip(1).collect();
    let outcome = if given.first().is_some_and(|arg| arg == baseline::BASELINE_FLAG) {
        baseline::run(given.get(1)).map(|()| true)
    } else if given.iter().any(|arg| arg == "--bench") {
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

/// Measures, prints and judges; `false` when a limit was missed.
fn run(args: &LoadBenchArgs) -> Result<bool, BenchError> {
    let runtime = generator_runtime(args.generator_threads)?;
    if args.live {
        return runtime.block_on(run_until_signal(live::run_live(args)));
    }
    let report = runtime.block_on(run_until_signal(comparison::run_comparison(args)))?;
    report.print_summary();
    if let Some(path) = &args.json {
        report.write_json(path)?;
    }
    let complaints = report.failures();
    for complaint in &complaints {
        eprintln!("load: {complaint}");
    }
    Ok(complaints.is_empty())
}

/// One generator thread needs no work stealing, and leaving it out leaves more
/// of a small machine to the server.
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

/// A signal ends the run as a failure does: by dropping the measurement, which
/// ends the servers it started. Without this they would outlive it.
async fn run_until_signal<T>(measuring: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        measured = measuring => measured,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("terminated".into()),
    }
}
