//! One connection of a load: waits until the next request is due, sends it and records its outcome.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::request::LoadRequestBody;
use super::stats::LoadStats;
use super::{LoadExtent, LoadRun, REQUEST_TIMEOUT};
use crate::egress::{ConnectionError, HttpConnection, SplitBody};

/// Timers fire up to this late. The delay does not count as latency of the receiver.
const TIMER_TOLERANCE: Duration = Duration::from_millis(2);
/// Pause after an error, so that a stopped receiver is not contacted in a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Sends requests until the run ends. The connection is opened again after an error.
pub(super) async fn run_connection(run: &LoadRun) {
    // Statistics are local to the connection and merged at the end, so that requests do not contend for a lock.
    let mut outcomes = LoadStats::default();
    let mut connection = None;
    while let Some((number, latency_start)) = wait_for_next_request(run).await {
        let LoadRequestBody { request, body_bytes } = run.generator.generate(number);
        let sent = timeout(REQUEST_TIMEOUT, send(run, &mut connection, request)).await;
        match sent.unwrap_or(Err(ConnectionError::TimedOut)) {
            Ok(status) => {
                let now = Instant::now();
                outcomes.record_response(status, body_bytes, now - latency_start, run.phase(now));
            }
            Err(error) => {
                outcomes.record_failure(error.to_string());
                connection = None;
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
        run.answered.fetch_add(1, Ordering::Relaxed);
    }
    run.stats.lock().unwrap_or_else(PoisonError::into_inner).merge(&outcomes);
}

/// Sends one request on the open connection or on a new one.
async fn send(
    run: &LoadRun,
    connection: &mut Option<HttpConnection>,
    request: hyper::Request<SplitBody>,
) -> Result<u16, ConnectionError> {
    if let Some(open) = connection
        && open.is_ready().await
    {
        return open.send(request).await;
    }
    // The receiver may have closed a connection that was idle for long, which is not a failure of the request.
    let open = connection.insert(run.generator.target().connect().await?);
    if open.is_ready().await { open.send(request).await } else { Err(ConnectionError::Closed) }
}

/// Waits until the next request is due. Returns its number and the start of its latency; `None` at the end.
async fn wait_for_next_request(run: &LoadRun) -> Option<(u64, Instant)> {
    let now = Instant::now();
    let number = run.generator.next_number();
    if matches!(run.extent, LoadExtent::Requests(count) if number >= count) {
        return None;
    }
    let ends_at = run.ends_at();
    let Some(interval) = run.request_interval else {
        return ends_at.is_none_or(|end| now < end).then_some((number, now));
    };
    let due_at = run.started_at + interval.checked_mul(u32::try_from(number).ok()?)?;
    if ends_at.is_some_and(|end| due_at >= end || now >= end + REQUEST_TIMEOUT) {
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
