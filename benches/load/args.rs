//! The options of the load benchmark.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use retell_webhook::internals::LoadBodySize;

/// Measures how fast signed webhooks are received, as a ratio to a bare server.
///
/// All accepted events stay on disk until the run ends: long runs with large bodies write several gigabytes to --dir.
#[derive(Debug, Parser)]
#[command(name = "load")]
pub struct LoadBenchArgs {
    /// Size of the request bodies: 0.6 kB, 12 kB, 40 kB, or these three in turn
    #[arg(long, value_enum, default_value_t = LoadBodySize::Small)]
    pub size: LoadBodySize,

    /// Number of measured rounds per server
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Measured time per round, in seconds
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,

    /// Time of load before each measured window, in seconds
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub warm_up: u64,

    /// Number of keep-alive connections, each with one request in flight
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,

    /// Send this many requests per second at fixed times, instead of each after the response to the last
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: Option<u32>,

    /// Measure instead the processor time of a receiver without events for this many seconds
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["preload", "compare_preload", "live"])]
    pub idle: Option<u64>,

    /// With --idle: number of companies
    #[arg(long, value_name = "N", default_value_t = 300, requires = "idle")]
    pub companies: u32,

    /// With --idle: number of handlers
    #[arg(long, value_name = "N", default_value_t = 10, requires = "idle")]
    pub handlers: u32,

    /// Number of threads that generate the load
    #[arg(long, default_value = "1", value_parser = parse_thread_count)]
    pub generator_threads: usize,

    /// Measure another build of the receiver
    #[arg(long, value_name = "PATH")]
    pub server_bin: Option<PathBuf>,

    /// Additional environment variable of the receiver (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_env_variable)]
    pub server_env: Vec<(String, String)>,

    /// Folder for the working folders of the servers [default: the system's temporary folder]
    #[arg(long, value_name = "PATH")]
    pub dir: Option<PathBuf>,

    /// Keep the working folders of the servers at the end
    #[arg(long)]
    pub keep: bool,

    /// Number of small events to store in the receiver before the measurement
    #[arg(long, value_name = "N", conflicts_with = "compare_preload")]
    pub preload: Option<u32>,

    /// Compare a receiver that has N stored events with an empty one, instead of with the bare server
    #[arg(long, value_name = "N")]
    pub compare_preload: Option<u32>,

    /// Compare with this build of the receiver from before a change, instead of with the bare server
    #[arg(long, value_name = "PATH", conflicts_with_all = ["preload", "compare_preload"])]
    pub compare_bin: Option<PathBuf>,

    /// Measure instead the latency of live requests (function and inbound) under load, compared with their target's
    /// own latency
    #[arg(long, conflicts_with_all = ["preload", "compare_preload", "compare_bin"])]
    pub live: bool,

    /// With --live: fail when the receiver adds more than this to the target's own latency at p99, in milliseconds
    #[arg(long, value_name = "X", requires = "live")]
    pub max_live_ms: Option<f64>,

    /// Time limit of preloading, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub preload_limit: u64,

    /// Write all results to this JSON file
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,

    /// Fail when the ratio is below this value
    #[arg(long, value_name = "X")]
    pub min_ratio: Option<f64>,

    /// Fail when the peak resident memory of a receiver is above this value, in MB
    #[arg(long, value_name = "X")]
    pub max_rss_mb: Option<f64>,

    /// Passed by cargo to every bench target
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl LoadBenchArgs {
    pub fn measured_time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub fn work_dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(std::env::temp_dir)
    }
}

fn parse_thread_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=64) => Ok(threads),
        _ => Err("not a number of threads (1 to 64)".to_owned()),
    }
}

fn parse_env_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not of the form NAME=VALUE".to_owned()),
    }
}
