//! The options of the load measurement.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures how fast signed webhooks are received, as a ratio to a bare server.
///
/// Every accepted event stays on disk until the run ends: long runs with large
/// bodies write several gigabytes into --dir.
#[derive(Debug, Parser)]
#[command(name = "load")]
pub struct LoadBenchArgs {
    /// Request bodies: 0.6 KB, 12 KB, 40 KB, or these three in turn
    #[arg(long, value_enum, default_value_t = RequestSize::Small)]
    pub size: RequestSize,

    /// Measured rounds per server
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Measured seconds per round
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,

    /// Seconds of load before each measured window
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub warm_up: u64,

    /// Keep-alive connections, each with one request under way
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,

    /// Threads that generate the load
    #[arg(long, default_value = "1", value_parser = parse_thread_count)]
    pub generator_threads: usize,

    /// Measure another build of the receiver
    #[arg(long, value_name = "PATH")]
    pub server_bin: Option<PathBuf>,

    /// One more environment variable for the receiver (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_env_variable)]
    pub server_env: Vec<(String, String)>,

    /// Where the servers' working folders are made [default: the system's temporary folder]
    #[arg(long, value_name = "PATH")]
    pub dir: Option<PathBuf>,

    /// Leave the servers' working folders in place at the end
    #[arg(long)]
    pub keep: bool,

    /// Store this many small events in the receiver before measuring it
    #[arg(long, value_name = "N", conflicts_with = "compare_preload")]
    pub preload: Option<u32>,

    /// Compare an empty receiver with one that has N events stored, instead of with the bare server
    #[arg(long, value_name = "N")]
    pub compare_preload: Option<u32>,

    /// Compare with the receiver built before a change, instead of with the bare server
    #[arg(long, value_name = "PATH", conflicts_with_all = ["preload", "compare_preload"])]
    pub compare_bin: Option<PathBuf>,

    /// Measure instead how long a custom function's answer takes beside the load, against its target's own time
    #[arg(long, conflicts_with_all = ["preload", "compare_preload", "compare_bin"])]
    pub live: bool,

    /// With --lane: fail when the answer takes longer than this beyond the target's own time, at p99
    #[arg(long, value_name = "X", requires = "live")]
    pub max_live_ms: Option<f64>,

    /// Longest time to spend on preloading, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub preload_limit: u64,

    /// Write all figures to this file
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,

    /// Fail when the ratio is below this
    #[arg(long, value_name = "X")]
    pub min_ratio: Option<f64>,

    /// Fail when a receiver's peak resident memory is above this
    #[arg(long, value_name = "X")]
    pub max_rss_mb: Option<f64>,

    /// What cargo passes to every bench target
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// The kinds of request bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RequestSize {
    Small,
    Medium,
    Large,
    Mix,
}

impl RequestSize {
    /// The name used in the options, the table and the JSON file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
            Self::Mix => "mix",
        }
    }

    /// The sizes sent, in the order in which they take turns.
    pub fn rotation(self) -> &'static [Self] {
        match self {
            Self::Small => &[Self::Small],
            Self::Medium => &[Self::Medium],
            Self::Large => &[Self::Large],
            Self::Mix => &[Self::Small, Self::Medium, Self::Large],
        }
    }
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
        _ => Err("expected a whole number from 1 to 64".to_owned()),
    }
}

fn parse_env_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
