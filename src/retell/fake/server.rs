//! The HTTP side: reads a request, applies limits and faults, and lets the routes answer it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use tokio_util::sync::CancellationToken;

use super::faults::{self, Fault, FaultPlan};
use super::request::ReceivedRequest;
use super::request_log::RequestLog;
use super::workspace::{Workspace, Workspaces};
use super::{answer, routes};
use crate::base::clock::Clock;

/// Longest body that is read.
const MAX_BODY_BYTES: usize = 10 * 1_024 * 1_024;

pub(super) struct FakeServer {
    workspaces: Mutex<Workspaces>,
    faults: Mutex<FaultPlan>,
    pub(super) log: RequestLog,
    pub(super) clock: Clock,
    stop: CancellationToken,
}

impl FakeServer {
    pub(super) fn new(seed: Workspace, clock: Clock, stop: CancellationToken) -> Self {
        Self {
            workspaces: Mutex::new(Workspaces::new(seed, clock.clone())),
            faults: Mutex::default(),
            log: RequestLog::default(),
            clock,
            stop,
        }
    }

    // A test that panics while it holds a lock has failed already; the others continue with the state as it is.
    pub(super) fn lock_workspaces(&self) -> MutexGuard<'_, Workspaces> {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_faults(&self) -> MutexGuard<'_, FaultPlan> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `delay`, but not after the fake was dropped.
    async fn wait(&self, delay: Duration) {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn execute(&self, request: &ReceivedRequest) -> (StatusCode, &'static str, Vec<u8>) {
        answer::into_parts(routes::answer(&mut self.lock_workspaces(), request))
    }
}

/// All paths have one handler: the routes decide about the text of unknown paths themselves.
pub(super) fn router(server: Arc<FakeServer>) -> Router {
    Router::new().fallback(handle).with_state(server)
}

async fn handle(State(server): State<Arc<FakeServer>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let in_flight = server.log.begin(head.uri.path());
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return faults::status_response(413, None);
    };
    let mut request = ReceivedRequest::new(&head, &body);
    server.log.record(&request);
    let refusal = server.lock_faults().rate_limit_response(in_flight.at_once, server.clock.now_ms());
    if let Some(refusal) = refusal {
        return refusal;
    }
    let faults = server.lock_faults().take(&request.path);
    for fault in &faults {
        match fault {
            Fault::Delay(delay) => server.wait(*delay).await,
            Fault::Status(status, retry_after) => return faults::status_response(*status, *retry_after),
            Fault::RepeatedCursor => faults::remove_cursor(&mut request),
            _ => {}
        }
    }
    let (status, content_type, body) = server.execute(&request);
    distorted_response(&faults, answer::response(status, content_type, Body::empty()), body)
}

fn distorted_response(faults: &[Fault], mut response: Response<Body>, mut body: Vec<u8>) -> Response<Body> {
    for fault in faults {
        (response, body) = faults::distort(fault, response, body);
    }
    if faults.iter().any(|fault| matches!(fault, Fault::Truncated)) {
        return faults::truncate(response, &body);
    }
    *response.body_mut() = Body::from(body);
    response
}
