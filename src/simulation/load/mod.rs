//! A load generator to size a machine. It sends unique signed events over a fixed number of connections. Each connection
//! sends the next request after the last response (closed loop) or, with a rate, at fixed times (open loop).

mod body;
mod stats;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::body::LoadBodies;
pub(crate) use self::body::LoadBodySize;
use self::stats::LoadStats;
use crate::base::clock::Clock;
use crate::base::supervise::TaskGroup;
use crate::egress::{self, ClientBuildError};
use crate::security::keys::ApiKey;
use crate::security::signature::{SIGNATURE_HEADER, Signature};
use crate::view::LoadReportView;

/// Retell waits for a response for this long by default. Requests that are in flight or overdue at the end get as
/// much.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Timers fire up to this late. The delay does not count as latency of the receiver.
const TIMER_TOLERANCE: Duration = Duration::from_millis(2);
/// Pause after an error, so that a stopped receiver is not contacted in a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(50);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// What to send, and where.
pub(crate) struct LoadOptions {
    /// URL of the webhook that receives the events.
    pub(crate) url: url::Url,
    /// Key that signs the requests; `None` sends them without a signature.
    pub(crate) key: Option<ApiKey>,
    pub(crate) size: LoadBodySize,
    /// Number of requests per second, even if the receiver does not keep up; `None` sends them as fast as they are
    /// answered.
    pub(crate) rate: Option<u32>,
    /// Number of connections, each with one request in flight.
    pub(crate) connections: u32,
    pub(crate) duration: Duration,
    pub(crate) clock: Clock,
}

/// How much of the run is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadProgress {
    pub(crate) elapsed: Duration,
    pub(crate) answered: u64,
}

/// Why a load cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// No sample event exists for this size.
    #[error("no sample event exists for this size of bodies")]
    NoSample,
    #[error(transparent)]
    Client(#[from] ClientBuildError),
}

/// The state that all connections of a run share.
struct LoadRun {
    client: egress::Client,
    url: url::Url,
    key: Option<ApiKey>,
    bodies: LoadBodies,
    clock: Clock,
    started_at: Instant,
    ends_at: Instant,
    /// Interval between two requests; `None` in the closed loop.
    request_interval: Option<Duration>,
    next_request: AtomicU64,
    answered: AtomicU64,
    stats: Mutex<LoadStats>,
}

/// Sends events until the duration has passed, and waits for the last responses. Dropping the future aborts the run.
///
/// # Errors
/// The bodies or the client cannot be made. Requests that fail are counted in the report.
pub(crate) async fn run(
    options: LoadOptions,
    mut on_progress: impl FnMut(LoadProgress),
) -> Result<LoadReportView, LoadError> {
    let run = Arc::new(LoadRun::new(&options)?);
    let mut connections = TaskGroup::default();
    for _ in 0..options.connections {
        let run = Arc::clone(&run);
        connections.spawn(async move { run.run_connection().await });
    }
    while Instant::now() < run.ends_at {
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        let answered = run.answered.load(Ordering::Relaxed);
        on_progress(LoadProgress { elapsed: run.started_at.elapsed(), answered });
    }
    let unfinished_connections = connections.shutdown(REQUEST_TIMEOUT * 2).await;
    let stats = run.stats.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(stats.report(run.started_at.elapsed(), run.requests_due(), unfinished_connections))
}

impl LoadRun {
    fn new(options: &LoadOptions) -> Result<Self, LoadError> {
        let bodies = LoadBodies::new(options.size, options.clock.now_ms()).ok_or(LoadError::NoSample)?;
        let client = egress::build_client(REQUEST_TIMEOUT)?;
        let started_at = Instant::now();
        Ok(Self {
            client,
            url: options.url.clone(),
            key: options.key.clone(),
            bodies,
            clock: options.clock.clone(),
            started_at,
            ends_at: started_at + options.duration,
            request_interval: options.rate.map(|rate| Duration::from_secs(1) / rate.max(1)),
            next_request: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            stats: Mutex::default(),
        })
    }

    async fn run_connection(&self) {
        // Statistics are local to the connection and merged at the end, so that requests do not contend for a lock.
        let mut stats = LoadStats::default();
        while let Some((number, latency_start)) = self.wait_for_next_request().await {
            let outcome = self.send_request(number).await;
            let is_error = outcome.is_err();
            stats.record_request(outcome, latency_start.elapsed());
            self.answered.fetch_add(1, Ordering::Relaxed);
            if is_error {
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).merge(&stats);
    }

    /// Waits until the next request is due. Returns its number and the start of its latency; `None` at the end.
    async fn wait_for_next_request(&self) -> Option<(u64, Instant)> {
        let now = Instant::now();
        let Some(interval) = self.request_interval else {
            return (now < self.ends_at).then(|| (self.next_request.fetch_add(1, Ordering::Relaxed), now));
        };
        let number = self.next_request.fetch_add(1, Ordering::Relaxed);
        let due_at = self.started_at + interval.checked_mul(u32::try_from(number).ok()?)?;
        if due_at >= self.ends_at || now >= self.ends_at + REQUEST_TIMEOUT {
            return None;
        }
        // All connections were busy when the request was due. The wait counts: a real sender would have sent it then.
        if due_at <= now {
            return Some((number, due_at));
        }
        tokio::time::sleep_until(due_at.into()).await;
        let woken_at = Instant::now();
        // A longer delay than that of a timer means that the machine is overloaded, so it counts as latency.
        let is_timer_delay = woken_at - due_at <= TIMER_TOLERANCE;
        Some((number, if is_timer_delay { woken_at } else { due_at }))
    }

    /// Number of requests that the rate requires; `None` in the closed loop.
    fn requests_due(&self) -> Option<u64> {
        let interval = self.request_interval?.as_nanos().max(1);
        u64::try_from((self.ends_at - self.started_at).as_nanos().div_ceil(interval)).ok()
    }

    /// Sends request `number`; returns the status and the size of the sent body in bytes.
    async fn send_request(&self, number: u64) -> Result<(u16, usize), &'static str> {
        let body = self.bodies.render(number);
        let size = body.len();
        let mut request = self.client.post(self.url.clone()).header("content-type", "application/json");
        if let Some(key) = &self.key {
            let signature = Signature::sign(key, body.as_bytes(), self.clock.now_ms());
            request = request.header(SIGNATURE_HEADER, signature.to_string());
        }
        let response = request.body(body).send().await.map_err(|error| egress::failure_reason(&error))?;
        let status = response.status().as_u16();
        // The connection can be reused only after the whole response is read.
        response.bytes().await.map_err(|error| egress::failure_reason(&error))?;
        Ok((status, size))
    }
}
