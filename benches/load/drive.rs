//! The closed loop: every connection sends its next request once the last one
//! is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::Fail;
use crate::args::Args;
use crate::client::Connection;
use crate::process;
use crate::sign::Generator;
use crate::tally::Tally;

/// How long requests under way may take to be answered after the end.
const GRACE: Duration = Duration::from_secs(10);

/// Pause after an error, so that a dead server is not asked in a busy loop.
const PAUSE: Duration = Duration::from_millis(10);

/// A connection with this many errors is given up: the round has failed anyway.
const MOST_ERRORS: u64 = 100;

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// What the connections are told while they run.
struct Control {
    phase: AtomicU8,
    remaining: AtomicI64,
}

/// What was seen in one measured window.
pub struct Window {
    pub tally: Tally,
    pub elapsed: Duration,
    /// Processor time of the server.
    pub server: Duration,
    /// Processor time of this process.
    pub generator: Duration,
}

/// A server to send to.
#[derive(Clone, Copy)]
pub struct Target {
    pub port: u16,
    pub pid: u32,
}

impl Control {
    fn new(requests: i64) -> Arc<Self> {
        Arc::new(Self { phase: AtomicU8::new(WARM_UP), remaining: AtomicI64::new(requests) })
    }

    fn set(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn is(&self, phase: u8) -> bool {
        self.phase.load(Ordering::Relaxed) == phase
    }

    /// Whether there is another request to send.
    fn take(&self) -> bool {
        !self.is(STOP) && self.remaining.fetch_sub(1, Ordering::Relaxed) > 0
    }
}

/// Sends for the configured time. Requests count by the time of their answer:
/// those under way at the start are matched by those under way at the end.
pub async fn timed(args: &Args, target: Target, generator: &Arc<Generator>) -> Result<Window, Fail> {
    let warm_up = Duration::from_secs(args.warm_up);
    let control = Control::new(i64::MAX);
    let limit = warm_up + args.window() + GRACE;
    let tasks = connect(args.connections, target, generator, &control, limit);
    sleep(warm_up).await;

    let before = (process::cpu_time(target.pid)?, process::cpu_time(std::process::id())?);
    let began = Instant::now();
    control.set(MEASURE);
    sleep(args.window()).await;
    control.set(STOP);
    let elapsed = began.elapsed();
    let server = process::cpu_time(target.pid)?.saturating_sub(before.0);
    let generator = process::cpu_time(std::process::id())?.saturating_sub(before.1);
    Ok(Window { tally: collect(tasks).await?, elapsed, server, generator })
}

/// Sends `requests` requests, with a progress bar when a person is watching.
pub async fn counted(args: &Args, target: Target, generator: &Arc<Generator>, requests: u32) -> Result<Tally, Fail> {
    let control = Control::new(i64::from(requests));
    let limit = Duration::from_secs(args.preload_limit);
    let tasks = connect(args.connections, target, generator, &control, limit);
    let bar = ProgressBar::new(u64::from(requests)).with_style(ProgressStyle::with_template(
        "storing {bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left",
    )?);
    let collected = collect(tasks);
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

fn connect(
    connections: u32,
    target: Target,
    generator: &Arc<Generator>,
    control: &Arc<Control>,
    limit: Duration,
) -> JoinSet<Tally> {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (generator, control) = (Arc::clone(generator), Arc::clone(control));
        tasks.spawn(async move {
            let mut tally = Tally::default();
            let work = work(target.port, &generator, &control, &mut tally);
            // One timer per connection: one per request would cost more than signing it.
            if timeout(limit, work).await.is_err() {
                tally.error(&"no answer within the time limit");
            }
            tally
        });
    }
    tasks
}

async fn collect(mut tasks: JoinSet<Tally>) -> Result<Tally, Fail> {
    let mut total = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        total.merge(tally?);
    }
    Ok(total)
}

/// The life of one connection, renewed when it breaks.
async fn work(port: u16, generator: &Generator, control: &Control, tally: &mut Tally) {
    let mut connection = None;
    while tally.errors < MOST_ERRORS && control.take() {
        if let Err(error) = request(port, generator, control, tally, &mut connection).await {
            tally.error(&error);
            connection = None;
            sleep(PAUSE).await;
        }
    }
}

async fn request(
    port: u16,
    generator: &Generator,
    control: &Control,
    tally: &mut Tally,
    connection: &mut Option<Connection>,
) -> Result<(), Fail> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(port).await?),
    };
    let request = generator.next()?;
    let began = Instant::now();
    let answer = open.exchange(&mut request.pieces()).await?;
    tally.answer(answer.status, began.elapsed(), control.is(MEASURE));
    if !answer.keep_alive {
        *connection = None;
    }
    Ok(())
}
