//! The closed loop: every connection sends its next request after the last response.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::BenchError;
use crate::args::LoadBenchArgs;
use crate::client::Connection;
use crate::process;
use crate::request::RequestGenerator;
use crate::stats::RequestStats;

/// Time limit for the responses to requests that are in flight at the end.
const END_GRACE: Duration = Duration::from_secs(10);

/// Pause after an error, so that a stopped server is not contacted in a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// A connection ends after this many errors, because the round has failed anyway.
const MAX_ERRORS: u64 = 100;

const PHASE_WARM_UP: u8 = 0;
const PHASE_MEASURE: u8 = 1;
const PHASE_STOP: u8 = 2;

/// Shared state that controls the connections.
struct LoopControl {
    phase: AtomicU8,
    remaining: AtomicI64,
}

/// The measurements of one window.
pub struct MeasuredWindow {
    pub stats: RequestStats,
    pub elapsed: Duration,
    /// Processor time that the server used.
    pub server_cpu: Duration,
    /// Processor time that this process used.
    pub generator_cpu: Duration,
}

/// Port and process id of a measured server.
#[derive(Clone, Copy)]
pub struct ServerProcess {
    pub port: u16,
    pub pid: u32,
}

impl LoopControl {
    fn new(requests: i64) -> Arc<Self> {
        Arc::new(Self { phase: AtomicU8::new(PHASE_WARM_UP), remaining: AtomicI64::new(requests) })
    }

    fn set_phase(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn is_phase(&self, phase: u8) -> bool {
        self.phase.load(Ordering::Relaxed) == phase
    }

    /// Whether another request can be sent. Counts it.
    fn take_request(&self) -> bool {
        !self.is_phase(PHASE_STOP) && self.remaining.fetch_sub(1, Ordering::Relaxed) > 0
    }
}

/// Sends for the configured time. A request counts by the time of its response: requests in flight at the start
/// count, and those in flight at the end do not.
pub async fn run_timed(
    args: &LoadBenchArgs,
    target: ServerProcess,
    generator: &Arc<RequestGenerator>,
) -> Result<MeasuredWindow, BenchError> {
    let warm_up = Duration::from_secs(args.warm_up);
    let control = LoopControl::new(i64::MAX);
    let limit = warm_up + args.measured_time() + END_GRACE;
    let tasks = spawn_connections(args.connections, target, generator, &control, limit);
    sleep(warm_up).await;

    let server_cpu_before = process::cpu_time(target.pid)?;
    let generator_cpu_before = process::cpu_time(std::process::id())?;
    let started_at = Instant::now();
    control.set_phase(PHASE_MEASURE);
    sleep(args.measured_time()).await;
    control.set_phase(PHASE_STOP);
    let elapsed = started_at.elapsed();
    let server_cpu = process::cpu_time(target.pid)?.saturating_sub(server_cpu_before);
    let generator_cpu = process::cpu_time(std::process::id())?.saturating_sub(generator_cpu_before);
    Ok(MeasuredWindow { stats: join_connections(tasks).await?, elapsed, server_cpu, generator_cpu })
}

/// Sends `requests` requests. Shows a progress bar when standard error is a terminal.
pub async fn run_counted(
    args: &LoadBenchArgs,
    target: ServerProcess,
    generator: &Arc<RequestGenerator>,
    requests: u32,
) -> Result<RequestStats, BenchError> {
    let control = LoopControl::new(i64::from(requests));
    let limit = Duration::from_secs(args.preload_limit);
    let tasks = spawn_connections(args.connections, target, generator, &control, limit);
    let bar = ProgressBar::new(u64::from(requests)).with_style(ProgressStyle::with_template(
        "storing {bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left",
    )?);
    let collected = join_connections(tasks);
    tokio::pin!(collected);
    let mut tick = interval(Duration::from_millis(200));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stats = loop {
        tokio::select! {
            stats = &mut collected => break stats,
            _ = tick.tick() => {
                let remaining = control.remaining.load(Ordering::Relaxed).max(0);
                bar.set_position(u64::from(requests).saturating_sub(remaining.unsigned_abs()));
            }
        }
    };
    bar.finish_and_clear();
    stats
}

fn spawn_connections(
    connections: u32,
    target: ServerProcess,
    generator: &Arc<RequestGenerator>,
    control: &Arc<LoopControl>,
    limit: Duration,
) -> JoinSet<RequestStats> {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let generator = Arc::clone(generator);
        let control = Arc::clone(control);
        tasks.spawn(async move {
            let mut stats = RequestStats::default();
            let work = run_connection(target.port, &generator, &control, &mut stats);
            // One timer per connection: one per request would cost more than signing it.
            if timeout(limit, work).await.is_err() {
                stats.record_error(&"no response within the time limit");
            }
            stats
        });
    }
    tasks
}

async fn join_connections(mut tasks: JoinSet<RequestStats>) -> Result<RequestStats, BenchError> {
    let mut total = RequestStats::default();
    while let Some(stats) = tasks.join_next().await {
        total.merge(stats?);
    }
    Ok(total)
}

/// Sends requests over one connection, which is opened again after an error.
async fn run_connection(port: u16, generator: &RequestGenerator, control: &LoopControl, stats: &mut RequestStats) {
    let mut connection = None;
    while stats.errors < MAX_ERRORS && control.take_request() {
        if let Err(error) = send_next_request(port, generator, control, stats, &mut connection).await {
            stats.record_error(&error);
            connection = None;
            sleep(ERROR_PAUSE).await;
        }
    }
}

async fn send_next_request(
    port: u16,
    generator: &RequestGenerator,
    control: &LoopControl,
    stats: &mut RequestStats,
    connection: &mut Option<Connection>,
) -> Result<(), BenchError> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(port).await?),
    };
    let request = generator.next_request()?;
    let sent_at = Instant::now();
    let response = open.send_request(&mut request.io_slices()).await?;
    stats.record_response(response.status, sent_at.elapsed(), control.is_phase(PHASE_MEASURE));
    if !response.keep_alive {
        *connection = None;
    }
    Ok(())
}
