//! Measures what grows with the number of stored events: the time of every query, the restart, and the space on disk.
//!
//! Writes events of calls that are spread over 60 days, lets a receiver with the built-in handlers deliver them, and
//! then times the commands that read the store while the receiver runs.
//!
//! ```text
//! cargo bench --bench scale -- --events 1000000
//! cargo bench --bench scale -- --events 10000000 --dir /var/tmp/scale --keep --json scale.json
//! cargo bench --bench scale -- --dir /var/tmp/scale --reuse
//! ```
#![allow(unreachable_pub, reason = "no other crate uses this one")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the benchmark prints its results")]
#![allow(clippy::cast_precision_loss, reason = "counts become ratios for display")]
#![allow(missing_docs, clippy::doc_markdown, reason = "a program: doc comments are its help text")]

#[path = "scale/event.rs"]
mod event;
#[path = "scale/fill.rs"]
mod fill;
#[path = "scale/queries.rs"]
mod queries;
#[path = "scale/receiver.rs"]
mod receiver;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};

use crate::queries::QueryTime;
use crate::receiver::Receiver;

/// Any failure that ends the run. Only its text is used.
type BenchError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(name = "scale")]
struct ScaleArgs {
    /// Number of events to store; four of them belong to each call
    #[arg(long, default_value_t = 100_000)]
    events: u64,

    /// Size of the bodies: 0.6 kB, or 0.6, 12 and 40 kB in turn
    #[arg(long, value_enum, default_value = "small")]
    size: event::BodySize,

    /// Folder of the store [default: a new one in the system's temporary folder]
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,

    /// Keep the store at the end
    #[arg(long)]
    keep: bool,

    /// Measure the store that an earlier run with --keep has left in --dir
    #[arg(long, requires = "dir")]
    reuse: bool,

    /// The build that runs the receiver and the commands; it must have the same schema as this benchmark
    #[arg(long, value_name = "PATH")]
    server_bin: Option<PathBuf>,

    /// Number of times each command is run; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    runs: u64,

    /// Time limit of the deliveries, in seconds
    #[arg(long, default_value_t = 7200)]
    limit: u64,

    /// Write all results to this JSON file
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,

    /// Passed by cargo to every bench target
    #[arg(long, hide = true)]
    bench: bool,
}

/// `cargo test --benches` runs this executable without `--bench`. A measurement would take minutes there, so it ends
/// immediately.
fn main() -> ExitCode {
    if !std::env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    match run(&ScaleArgs::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("scale: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &ScaleArgs) -> Result<(), BenchError> {
    let mut temporary = tempfile::Builder::new().prefix("retell-webhook-scale-").tempdir()?;
    temporary.disable_cleanup(args.keep && args.dir.is_none());
    // Absolute, because the receiver and the commands run in this folder.
    let folder = match &args.dir {
        Some(dir) => std::path::absolute(dir)?,
        None => temporary.path().to_owned(),
    };
    std::fs::create_dir_all(&folder)?;
    let mut report = serde_json::Map::new();
    let build = receiver::build_path(args.server_bin.as_deref())?;
    if !args.reuse {
        fill_and_deliver(args, &build, &folder, &mut report)?;
    }
    measure_restart(&build, &folder, &mut report)?;
    let receiver = Receiver::start(&build, &folder)?;
    let times = queries::run_all(&receiver, args.runs)?;
    print_times(&times);
    report.insert("queries".to_owned(), times.iter().map(QueryTime::to_json).collect());
    receiver.stop()?;
    measure_disk(&folder, &mut report)?;
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&Value::Object(report))?)?;
    }
    if !args.keep && args.dir.is_some() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn fill_and_deliver(
    args: &ScaleArgs,
    build: &Path,
    folder: &Path,
    report: &mut serde_json::Map<String, Value>,
) -> Result<(), BenchError> {
    let filled = fill::fill(folder, args.events, args.size)?;
    println!("stored {} events in {:.1} s", args.events, filled.as_secs_f64());
    let receiver = Receiver::start(build, folder)?;
    let limit = Duration::from_secs(args.limit);
    let delivered = receiver.wait_for_deliveries(limit)?;
    let rate = args.events as f64 / delivered.as_secs_f64();
    println!("delivered to log and call_store in {:.1} s, {rate:.0} events per second", delivered.as_secs_f64());
    receiver.wait_until_size_is_stable(limit)?;
    receiver.stop()?;
    report.insert("events".to_owned(), json!(args.events));
    report.insert("fill_seconds".to_owned(), json!(filled.as_secs_f64()));
    report.insert("delivered_per_second".to_owned(), json!(rate));
    Ok(())
}

/// After a clean stop, and after the process was killed.
fn measure_restart(build: &Path, folder: &Path, report: &mut serde_json::Map<String, Value>) -> Result<(), BenchError> {
    let clean = Receiver::start(build, folder)?;
    let after_stop = clean.ready_after();
    clean.kill()?;
    let killed = Receiver::start(build, folder)?;
    let after_kill = killed.ready_after();
    killed.stop()?;
    println!("ready {} ms after a clean stop, {} ms after a kill", after_stop.as_millis(), after_kill.as_millis());
    report.insert("restart_ms".to_owned(), json!(after_stop.as_secs_f64() * 1e3));
    report.insert("restart_after_kill_ms".to_owned(), json!(after_kill.as_secs_f64() * 1e3));
    Ok(())
}

fn print_times(times: &[QueryTime]) {
    println!("{:>10} {:>10}  command", "first ms", "total ms");
    for time in times {
        println!("{:>10.0} {:>10.0}  {}", time.first_output_ms, time.total_ms, time.command);
    }
}

fn measure_disk(folder: &Path, report: &mut serde_json::Map<String, Value>) -> Result<(), BenchError> {
    let database = rusqlite::Connection::open(receiver::database_path(folder))?;
    let raw_bytes: u64 = database.query_row("SELECT coalesce(sum(size_bytes), 0) FROM events", [], |row| row.get(0))?;
    drop(database);
    let disk_bytes = receiver::disk_bytes(folder)?;
    let ratio = disk_bytes as f64 / raw_bytes.max(1) as f64;
    println!("{disk_bytes} bytes on disk, {raw_bytes} bytes of bodies: {ratio:.2} times");
    report.insert("disk_bytes".to_owned(), json!(disk_bytes));
    report.insert("body_bytes".to_owned(), json!(raw_bytes));
    Ok(())
}
