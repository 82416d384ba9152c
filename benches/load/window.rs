//! Runs the load generator of the receiver against one server, and measures the processor time of both.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use retell_webhook::internals::{LoadBodySize, LoadExtent, LoadOptions, LoadProgress, LoadStats, run_load};
use retell_webhook::{ApiKey, Clock, Secret};
use tokio::time::timeout;

use crate::args::LoadBenchArgs;
use crate::process;
use crate::{BenchError, WEBHOOK_PATH};

/// The key of the measured receiver. It is invented and gives access to nothing.
pub const API_KEY: &str = "key_load_measurement_only_not_a_secret";

/// Port and process id of a measured server.
#[derive(Clone, Copy)]
pub struct ServerProcess {
    pub port: u16,
    pub pid: u32,
}

/// The measurements of one window.
pub struct MeasuredWindow {
    pub stats: LoadStats,
    pub elapsed: Duration,
    /// Processor time that the server used.
    pub server_cpu: Duration,
    /// Processor time that this process used.
    pub generator_cpu: Duration,
}

/// Processor times of the server and of this process.
type ProcessorTimes = [Duration; 2];

/// Sends for the configured time. A request counts by the time of its response: requests in flight at the start
/// count, and those in flight at the end do not.
pub async fn run_timed(args: &LoadBenchArgs, target: ServerProcess) -> Result<MeasuredWindow, BenchError> {
    let mut at_start = None;
    let mut at_end = None;
    let extent = LoadExtent::Duration(args.measured_time());
    let options = load_options(args, target, args.size, Duration::from_secs(args.warm_up), extent)?;
    let result = run_load(options, |progress| match progress {
        LoadProgress::MeasurementStarted => at_start = Some(processor_times(target)),
        LoadProgress::MeasurementEnded => at_end = Some(processor_times(target)),
        LoadProgress::Running { .. } => {}
    });
    let result = result.await?;
    let (at_start, at_end) = (at_start.ok_or("no measurement")??, at_end.ok_or("no measurement")??);
    let [server_cpu, generator_cpu] = std::array::from_fn(|index| at_end[index].saturating_sub(at_start[index]));
    Ok(MeasuredWindow { stats: result.stats, elapsed: result.measured, server_cpu, generator_cpu })
}

/// Sends `requests` small requests. Shows a progress bar when standard error is a terminal.
pub async fn run_counted(args: &LoadBenchArgs, target: ServerProcess, requests: u32) -> Result<LoadStats, BenchError> {
    let bar = ProgressBar::new(u64::from(requests)).with_style(ProgressStyle::with_template(
        "storing {bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left",
    )?);
    let extent = LoadExtent::Requests(requests.into());
    let options = load_options(args, target, LoadBodySize::Small, Duration::ZERO, extent)?;
    let load = run_load(options, |progress| {
        if let LoadProgress::Running { answered, .. } = progress {
            bar.set_position(answered);
        }
    });
    let limit = Duration::from_secs(args.preload_limit);
    let result = timeout(limit, load).await.map_err(|_| "preloading did not end within its time limit")?;
    bar.finish_and_clear();
    Ok(result?.stats)
}

fn load_options(
    args: &LoadBenchArgs,
    target: ServerProcess,
    size: LoadBodySize,
    warm_up: Duration,
    extent: LoadExtent,
) -> Result<LoadOptions, BenchError> {
    Ok(LoadOptions {
        url: format!("http://127.0.0.1:{}{WEBHOOK_PATH}", target.port).parse()?,
        key: Some(ApiKey::new(&Secret::new(API_KEY))),
        size,
        rate: args.rate.filter(|_| !matches!(extent, LoadExtent::Requests(_))),
        connections: args.connections,
        warm_up,
        extent,
        clock: Clock::default(),
    })
}

fn processor_times(target: ServerProcess) -> Result<ProcessorTimes, BenchError> {
    Ok([process::cpu_time(target.pid)?, process::cpu_time(std::process::id())?])
}

/// A summary of all failures; `None` when every request was accepted.
pub fn failure_summary(stats: &LoadStats) -> Option<String> {
    let parts: Vec<_> = stats.failures.iter().map(|(reason, count)| format!("{count}: {reason}")).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
