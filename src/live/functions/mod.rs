//! Custom functions. Each invocation runs once, however often Retell sends it, and the caller gets an answer before the
//! deadline whatever fails.
//!
//! An invocation is recorded in the ledger before its function is called, and its answer before the answer is sent.
//! Both records survive the death of the process at once, and a power cut once they are synced, 0.1 s later. A
//! request for an invocation that is running waits for the same answer; a request for one that was answered gets the
//! stored answer. When the process died in between, or the function failed, the function is called again under the
//! same idempotency key.

mod answer;
mod argument_problems;
mod cleanup;
mod closure;
mod invocation;
mod invocation_key;
mod payload;
mod registry;
mod routes;
mod schema;
mod target;

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::Method;
use axum::response::Response;
use tokio::time::Instant;

pub(crate) use registry::{FunctionConfigError, FunctionRegistry, load_parameters, merge_builtins};
pub(crate) use routes::{OUTCOME_HEADER, function_path, router};

use self::invocation::{Invocation, InvocationResult};
use self::invocation_key::InvocationKey;
use super::single_flight::{self, FlightRole, SingleFlight};
use crate::base::clock::Clock;
use crate::base::current::Current;
use crate::base::supervise::Supervisor;
use crate::http::layer::AccessLogFields;
use crate::http::{ApiError, RawEvent, Verified};
use crate::privacy::redact;
use crate::storage::{InvocationStore, SignatureUse};
use crate::telemetry::functions::FunctionMetrics;
use crate::telemetry::requests::RequestCounters;
use crate::tenants::Company;

/// The purpose of a signature that was used for an event. The purpose of a function is a hash of several
/// length-prefixed parts, so the two are never equal.
const EVENT_SIGNATURE_USE: &[u8] = b"event";
/// How long an event of an unknown kind waits for the ledger to look up its signature.
const SIGNATURE_LOOKUP_TIMEOUT: Duration = Duration::from_millis(500);

/// How long requests wait for their functions after the service was told to stop. Shorter than the 8 s that the HTTP
/// server waits for open requests, so that the fallback is still sent.
const REQUEST_SHUTDOWN_GRACE: Duration = Duration::from_secs(6);

/// Answers requests for custom functions. A handle: clones share their state.
#[derive(Clone)]
pub(crate) struct FunctionService(Arc<FunctionServiceInner>);

struct FunctionServiceInner {
    registry: Current<FunctionRegistry>,
    single_flight: SingleFlight<InvocationKey, Arc<InvocationResult>>,
    deps: FunctionDeps,
}

pub(crate) struct FunctionDeps {
    pub ledger: Arc<dyn InvocationStore>,
    pub clock: Clock,
    /// Runs invocations in tasks that continue when their request ends.
    pub supervisor: Supervisor,
    pub metrics: FunctionMetrics,
    /// Counts requests that were rejected for a reused signature.
    pub counters: Arc<RequestCounters>,
}

/// A verified request for a function, from any of the routes.
pub(crate) struct FunctionRequest {
    pub method: Method,
    /// The function's name in the path; `None` on the route where only the body names it.
    pub name: Option<String>,
    pub headers: HeaderMap,
    pub company: Arc<Company>,
    pub raw_event: Verified<RawEvent>,
}

impl FunctionService {
    /// Starts the service, and a task that removes old rows from the ledger.
    #[must_use]
    pub(crate) fn start(registry: FunctionRegistry, deps: FunctionDeps) -> Self {
        let functions = Self(Arc::new(FunctionServiceInner {
            registry: Current::new(registry),
            single_flight: SingleFlight::default(),
            deps,
        }));
        cleanup::start(&functions.0.deps);
        functions
    }

    /// Replaces the functions for requests that arrive from now on. Running invocations keep their own.
    pub(crate) fn replace_registry(&self, registry: FunctionRegistry) {
        self.0.registry.replace(registry);
    }

    fn registry(&self) -> Arc<FunctionRegistry> {
        self.0.registry.get()
    }

    /// Answers a request with status 200 whatever the function did: Retell repeats a request that was answered with
    /// 4xx or 5xx.
    ///
    /// # Errors
    /// 405 for a method that is not listed; 401 for a signature that was used for another function or for an event. An
    /// unknown function is answered with 404.
    pub(crate) async fn answer(&self, request: FunctionRequest) -> Result<Response, ApiError> {
        let raw = request.raw_event.into_inner();
        let payload = payload::parse(&raw.body, raw.query.as_deref(), None);
        let name_in_body = || payload.as_ref().ok().and_then(|payload| payload.name.clone());
        let Some(name) = request.name.or_else(name_in_body) else {
            return Ok(self.respond_unknown_function("", &request.company));
        };
        // One snapshot per request: a reload in the middle changes neither the settings nor the target.
        let registry = self.registry();
        let Some(entry) = registry.find(&name, &request.company.slug) else {
            return Ok(self.respond_unknown_function(&name, &request.company));
        };
        if !entry.settings.methods.iter().any(|method| method == request.method.as_str()) {
            return Err(ApiError::MethodNotAllowed);
        }
        // Retell signs the body and not the path. Without this check, a copy of a webhook request could be posted to a
        // function's route and would run the function.
        let is_event = payload.as_ref().is_ok_and(|payload| payload.is_event);
        if raw.key_fingerprint.is_some() && is_event {
            return Err(self.reject_reused_signature(&name));
        }
        // Which header holds the call id is a setting of the function, which had to be found first. With bare arguments
        // the header takes precedence over the query. An envelope uses its own call id, then the query, then the header.
        let call_id_header = request.headers.get(&entry.settings.call_id_header).and_then(|value| value.to_str().ok());
        let payload = match (payload, call_id_header) {
            (Ok(payload), Some(_)) if payload.call_id.is_none() || payload.name.is_none() => {
                payload::parse(&raw.body, raw.query.as_deref(), call_id_header)
            }
            (payload, _) => payload,
        };
        let invocation = Invocation::new(entry, &request.company, raw, payload, &request.method);
        self.respond(invocation).await
    }

    async fn respond(&self, invocation: Invocation) -> Result<Response, ApiError> {
        let entry = Arc::clone(&invocation.function);
        let received_at = invocation.received_at;
        let call_id = invocation.call_id();
        let size_bytes = invocation.body.len();
        let (result, outcome) = self.run_single_flight(invocation).await;
        self.0.deps.metrics.record_duration(received_at.elapsed());
        entry.counts.count(outcome);
        let Some(answer) = result.answer() else {
            return Err(self.reject_reused_signature(&entry.settings.name));
        };
        let log_fields = AccessLogFields { event: "custom_function", call_id, outcome, size_bytes };
        Ok(routes::answer_response(answer, log_fields))
    }

    /// Runs the invocation, or waits for an equal one that is running. Returns the result and the outcome under which
    /// this request is counted.
    async fn run_single_flight(&self, invocation: Invocation) -> (Arc<InvocationResult>, &'static str) {
        let deadline = invocation.deadline();
        let signature = invocation.signature_use.clone();
        let entry = Arc::clone(&invocation.function);
        let fallback = || Arc::new(InvocationResult::fallback(&entry, "failed"));
        let mut invocation = Some(invocation);
        loop {
            // A leader moves its invocation into a task and always returns below; only followers come round again.
            let Some(key) = invocation.as_ref().map(|invocation| invocation.key) else { return (fallback(), "failed") };
            let (follower, leads) = match self.0.single_flight.join(key) {
                FlightRole::Full => return (fallback(), "failed"),
                FlightRole::Leader(leader) => {
                    let follower = leader.follower();
                    self.spawn_leader(leader, invocation.take());
                    (follower, true)
                }
                FlightRole::Follower(follower) => (follower, false),
            };
            let waiting = async {
                // The leader's signature is checked when its invocation begins, in the same transaction. This look-up
                // is part of the wait, so that a locked ledger cannot hold a follower beyond its deadline.
                if !leads && !self.may_share_result(signature.as_ref()).await {
                    return FlightEnd::SignatureReused;
                }
                follower.wait().await.map_or(FlightEnd::LeaderLost, FlightEnd::Result)
            };
            match self.wait_until_deadline(deadline, waiting).await {
                Ok(FlightEnd::SignatureReused) => {
                    return (Arc::new(InvocationResult::SignatureReused), "signature_reused");
                }
                // The leader was rejected for its own signature, which says nothing about this request: join again.
                Ok(FlightEnd::Result(result)) if !leads && result.answer().is_none() => {}
                Ok(FlightEnd::Result(result)) => {
                    let outcome = if leads { result.outcome() } else { "shared" };
                    return (result, outcome);
                }
                // The leader's task panicked. Whether the function had its effect is unknown, so it is not called
                // again here.
                Ok(FlightEnd::LeaderLost) => return (fallback(), "failed"),
                Err(outcome) => {
                    let function = entry.settings.name.as_str();
                    tracing::warn!(function, outcome, "function fallback sent before its answer");
                    return (fallback(), outcome);
                }
            }
        }
    }

    /// Runs the leader's invocation in its own task. The task continues when the connection breaks or the deadline
    /// passes: the function may have had its effect by then, and its answer has to reach the ledger for a retry.
    fn spawn_leader(
        &self,
        leader: single_flight::FlightLeader<InvocationKey, Arc<InvocationResult>>,
        invocation: Option<Invocation>,
    ) {
        let functions = Arc::clone(&self.0);
        self.0.deps.supervisor.spawn_detached(async move {
            if let Some(invocation) = invocation {
                // `run` has written the answer to the ledger when it returns, unless that failed. Only then does the
                // leader leave the map, so a request finds the running invocation or, normally, the stored answer.
                leader.complete(Arc::new(invocation.run(&functions.deps).await));
            }
        });
    }

    /// Waits until the deadline, or until [`REQUEST_SHUTDOWN_GRACE`] after the service was told to stop. `Err` is the
    /// outcome to count.
    async fn wait_until_deadline<T>(
        &self,
        deadline: Instant,
        waiting: impl Future<Output = T>,
    ) -> Result<T, &'static str> {
        tokio::select! {
            // In this order: a result that is there at the deadline is sent, not thrown away.
            biased;
            result = waiting => Ok(result),
            () = tokio::time::sleep_until(deadline) => Err("timed_out"),
            () = wait_for_shutdown_grace(&self.0.deps.supervisor, REQUEST_SHUTDOWN_GRACE) => Err("failed"),
        }
    }

    /// Whether a follower's signature allows it to get the leader's answer. Requests of one invocation can carry
    /// different signatures, and each must be unused or used for this function before.
    async fn may_share_result(&self, signature: Option<&SignatureUse>) -> bool {
        let Some(signature) = signature else { return true };
        let usable = self.0.deps.ledger.use_signature(signature.clone()).await;
        // Without the ledger nothing is known about earlier uses. The request is signed by Retell, so it is answered.
        usable.unwrap_or(true)
    }

    /// Reserves the signature for an event. `false` when a request for a function has used it. When the ledger does
    /// not answer within [`SIGNATURE_LOOKUP_TIMEOUT`] the event is accepted: storing one too many is better than
    /// losing one.
    pub(crate) async fn reserve_signature_for_event(&self, signature: &str, at_ms: i64) -> bool {
        // Without functions there is nothing to confuse an event with, and events cost no write to the ledger.
        if self.registry().is_empty() {
            return true;
        }
        let reservation = self.0.deps.ledger.use_signature(SignatureUse {
            signature_hash: invocation_key::hash_parts(&[signature.as_bytes()]),
            purpose_hash: invocation_key::hash_parts(&[EVENT_SIGNATURE_USE]),
            seen_at_ms: at_ms,
        });
        let is_free = !matches!(tokio::time::timeout(SIGNATURE_LOOKUP_TIMEOUT, reservation).await, Ok(Ok(false)));
        if !is_free {
            self.0.deps.counters.count("signature_reused");
            tracing::warn!(status = 401, reason = "signature_reused", "webhook request rejected");
        }
        is_free
    }

    fn reject_reused_signature(&self, function: &str) -> ApiError {
        self.0.deps.counters.count("signature_reused");
        tracing::warn!(function, status = 401, reason = "signature_reused", "function request rejected");
        ApiError::Unauthorized
    }

    fn respond_unknown_function(&self, name: &str, company: &Company) -> Response {
        self.0.deps.metrics.count_unknown_function();
        // The name was chosen by the sender and may contain a phone number.
        let function = redact::path(name);
        tracing::warn!(function, company = %company.slug, status = 404, "function not found");
        routes::unknown_function_response()
    }
}

/// How the wait for an invocation ended before the deadline.
enum FlightEnd {
    Result(Arc<InvocationResult>),
    /// The leader's task ended without a result.
    LeaderLost,
    /// The follower's signature was used for something else before.
    SignatureReused,
}

/// Resolves `grace` after the service was told to stop.
async fn wait_for_shutdown_grace(supervisor: &Supervisor, grace: Duration) {
    supervisor.wait_for_stop().await;
    tokio::time::sleep(grace).await;
}

fn deadline(received_at: std::time::Instant, timeout: std::time::Duration) -> Instant {
    Instant::from_std(received_at) + timeout
}
