//! A load generator to size a machine and to compare builds. It sends unique signed events over a fixed number of
//! connections. Each connection sends the next request after the last response (closed loop) or, with a rate, at fixed
//! times (open loop).

mod body;
mod connection;
mod request;
mod stats;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use self::body::LoadBodySize;
use self::request::RequestGenerator;
use self::stats::LoadPhase;
pub use self::stats::{LatencyHistogram, LoadStats};
use crate::base::clock::Clock;
use crate::base::supervise::TaskGroup;
use crate::egress::{ClientBuildError, RequestTarget};
use crate::security::keys::ApiKey;

/// Retell waits for a response for this long by default. Requests that are in flight or overdue at the end get as
/// much.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// What to send, and where.
pub struct LoadOptions {
    /// URL of the webhook that receives the events.
    pub url: url::Url,
    /// Key that signs the requests; `None` sends them without a signature.
    pub key: Option<ApiKey>,
    /// Size of the requests' bodies.
    pub size: LoadBodySize,
    /// Number of requests per second, even if the receiver does not keep up; `None` sends them as fast as they are
    /// answered.
    pub rate: Option<u32>,
    /// Number of connections, each with one request in flight.
    pub connections: u32,
    /// Time before the measured one.
    pub warm_up: Duration,
    /// After how much time or how many requests the load ends.
    pub extent: LoadExtent,
    /// Source of the signatures' timestamps.
    pub clock: Clock,
}

/// The time or number of requests after which a load ends.
#[derive(Clone, Copy, Debug)]
pub enum LoadExtent {
    /// After this time of measurement.
    Duration(Duration),
    /// After this number of requests.
    Requests(u64),
}

/// What a load reports while it runs.
#[derive(Clone, Copy, Debug)]
pub enum LoadProgress {
    /// The warm-up has ended, and requests count from now on.
    MeasurementStarted,
    /// Reported several times per second while requests are sent.
    Running {
        /// Time since the start, with the warm-up.
        elapsed: Duration,
        /// Number of requests with a response or an error.
        answered: u64,
    },
    /// No further requests are sent. Those in flight are still answered.
    MeasurementEnded,
}

/// The result of a load.
#[derive(Clone, Debug)]
pub struct LoadResult {
    /// The outcomes of all requests.
    pub stats: LoadStats,
    /// Duration of the measurement, without the warm-up and without the last responses.
    pub measured: Duration,
    /// Duration from the start to the last response.
    pub total: Duration,
    /// Number of due requests that were not sent, because no connection was free until the end.
    pub not_sent: u64,
    /// Number of connections that did not end in time.
    pub unfinished_connections: usize,
}

/// Why a load cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The sample events are not JSON.
    #[error("cannot generate sample events: {0}")]
    Body(#[from] serde_json::Error),
    /// The machine's certificates or the URL cannot be used.
    #[error(transparent)]
    Client(#[from] ClientBuildError),
}

/// The state that all connections of a run share.
struct LoadRun {
    generator: RequestGenerator,
    started_at: Instant,
    measured_from: Instant,
    extent: LoadExtent,
    /// Interval between two requests; `None` in the closed loop.
    request_interval: Option<Duration>,
    answered: AtomicU64,
    stats: Mutex<LoadStats>,
}

impl LoadResult {
    /// Whether every due request was sent and accepted.
    pub fn is_ok(&self) -> bool {
        let Self { stats, not_sent, unfinished_connections, .. } = self;
        stats.accepted > 0 && stats.failures.is_empty() && *unfinished_connections == 0 && *not_sent == 0
    }
}

/// Sends events, and waits for the last responses. Dropping the future aborts the run.
///
/// # Errors
/// The bodies or the client cannot be made. Requests that fail are counted in the result.
pub async fn run(options: LoadOptions, mut on_progress: impl FnMut(LoadProgress)) -> Result<LoadResult, LoadError> {
    let run = Arc::new(LoadRun::new(&options)?);
    let mut connections = TaskGroup::default();
    for _ in 0..options.connections {
        let run = Arc::clone(&run);
        connections.spawn(async move { connection::run_connection(&run).await });
    }
    tokio::time::sleep_until(run.measured_from.into()).await;
    on_progress(LoadProgress::MeasurementStarted);
    while !run.has_ended() {
        tokio::time::sleep(PROGRESS_INTERVAL.min(run.time_left())).await;
        let answered = run.answered.load(Ordering::Relaxed);
        on_progress(LoadProgress::Running { elapsed: run.started_at.elapsed(), answered });
    }
    let measured = run.measured_from.elapsed();
    on_progress(LoadProgress::MeasurementEnded);
    let unfinished_connections = connections.shutdown(REQUEST_TIMEOUT * 2).await;
    let stats = run.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let total = run.started_at.elapsed();
    let not_sent = run.requests_due().map_or(0, |due| due.saturating_sub(stats.sent()));
    Ok(LoadResult { stats, measured, total, not_sent, unfinished_connections })
}

impl LoadRun {
    fn new(options: &LoadOptions) -> Result<Self, LoadError> {
        let target = RequestTarget::new(&options.url)?;
        let generator = RequestGenerator::new(target, options.key.as_ref(), options.size, &options.clock)?;
        let started_at = Instant::now();
        Ok(Self {
            generator,
            started_at,
            measured_from: started_at + options.warm_up,
            extent: options.extent,
            request_interval: options.rate.map(|rate| Duration::from_secs(1) / rate.max(1)),
            answered: AtomicU64::new(0),
            stats: Mutex::default(),
        })
    }

    /// `None` when the number of requests decides.
    fn ends_at(&self) -> Option<Instant> {
        match self.extent {
            LoadExtent::Duration(duration) => Some(self.measured_from + duration),
            LoadExtent::Requests(_) => None,
        }
    }

    fn has_ended(&self) -> bool {
        match self.extent {
            LoadExtent::Duration(_) => self.time_left().is_zero(),
            LoadExtent::Requests(count) => self.answered.load(Ordering::Relaxed) >= count,
        }
    }

    fn time_left(&self) -> Duration {
        self.ends_at().map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()))
    }

    /// The phase of a response that is received now.
    fn phase(&self, now: Instant) -> LoadPhase {
        if now < self.measured_from {
            LoadPhase::WarmUp
        } else if self.ends_at().is_none_or(|end| now < end) {
            LoadPhase::Measured
        } else {
            LoadPhase::AfterEnd
        }
    }

    /// Number of requests that the extent requires; `None` in a closed loop that ends with time.
    fn requests_due(&self) -> Option<u64> {
        let LoadExtent::Requests(count) = self.extent else {
            let interval = self.request_interval?.as_nanos().max(1);
            let duration = self.ends_at()? - self.started_at;
            return u64::try_from(duration.as_nanos().div_ceil(interval)).ok();
        };
        Some(count)
    }
}
