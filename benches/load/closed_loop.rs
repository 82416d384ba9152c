//! The closed loop: every connection sends its next request once the last one
//! is answered.

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

/// How long requests under way may take to be answered after the end.
const END_GRACE: Duration = Duration::from_secs(10);

/// Pause after an error, so that a dead server is not asked in a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// A connection with this many errors is given up: the round has failed anyway.
const MAX_ERRORS: u64 = 100;

const PHASE_WARM_UP: u8 = 0;
const PHASE_MEASURE: u8 = 1;
const PHASE_STOP: u8 = 2;

/// What the connections are told while they run.
struct LoopControl {
    phase: AtomicU8,
    remaining: AtomicI64,
}

/// What was seen in one measured window.
pub struct MeasuredWindow {
    pub stats: RequestStats,
    pub elapsed: Duration,
    /// Processor time of the server.
    pub server_cpu: Duration,
    /// Processor time of this process.
    pub generator_cpu: Duration,
}

/// A server to send to.
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

    /// Whether there is another request to send.
    fn take_request(&self) -> bool {
        !self.is_phase(PHASE_STOP) && self.remaining.fetch_sub(1, Ordering::Relaxed) > 0
    }
}

/// Sends for the configured time. Requests count by the time of their answer:
/// those under way at the start are matched by those under way at the end.
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

    let before = (process::cpu_time(target.pid)?, process::cpu_time(std::process::id())?);
    let began = Instant::now();
    control.set_phase(PHASE_MEASURE);
    sleep(args.measured_time()).await;
    control.set_phase(PHASE_STOP);
    let elapsed = began.elapsed();
    let server = process::cpu_time(target.pid)?.saturating_sub(before.0);
    let generator = process::cpu_time(std::process::id())?.saturating_sub(before.1);
    Ok(MeasuredWindow { stats: join_connections(tasks).await?, elapsed, server_cpu: server, generator_cpu: generator })
}

/// Sends `requests` requests, with a progress bar when a person is watching.
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
    let tally = loop {
        tokio::select! {
            tally = &mut collected => break tally,
            _ = tick.tick() => {
                let remaining = control.remaining.load(Ordering::Relaxed).max(0);
                bar.set_position(u64::from(requests).saturating_sub(remaining.unsigned_abs()));
            }
        }
    };
    bar.finish_and_clear();
    tally
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
        let (generator, control) = (Arc::clone(generator), Arc::clone(control));
        tasks.spawn(async move {
            let mut tally = RequestStats::default();
            let work = run_connection(target.port, &generator, &control, &mut tally);
            // One timer per connection: one per request would cost more than signing it.
            if timeout(limit, work).await.is_err() {
                tally.record_error(&"no answer within the time limit");
            }
            tally
        });
    }
    tasks
}

async fn join_connections(mut tasks: JoinSet<RequestStats>) -> Result<RequestStats, BenchError> {
    let mut total = RequestStats::default();
    while let Some(tally) = tasks.join_next().await {
        total.merge(tally?);
    }
    Ok(total)
}

/// The life of one connection, renewed when it breaks.
async fn run_connection(port: u16, generator: &RequestGenerator, control: &LoopControl, tally: &mut RequestStats) {
    let mut connection = None;
    while tally.errors < MAX_ERRORS && control.take_request() {
        if let Err(error) = send_next_request(port, generator, control, tally, &mut connection).await {
            tally.record_error(&error);
            connection = None;
            sleep(ERROR_PAUSE).await;
        }
    }
}

async fn send_next_request(
    port: u16,
    generator: &RequestGenerator,
    control: &LoopControl,
    tally: &mut RequestStats,
    connection: &mut Option<Connection>,
) -> Result<(), BenchError> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(port).await?),
    };
    let request = generator.next_request()?;
    let began = Instant::now();
    let answer = open.send_request(&mut request.io_slices()).await?;
    tally.record_response(answer.status, began.elapsed(), control.is_phase(PHASE_MEASURE));
    if !answer.keep_alive {
        *connection = None;
    }
    Ok(())
}
