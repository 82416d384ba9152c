//! Custom functions: each invocation runs once, however often Retell sends it, and somebody on the line gets an answer in
//! time whatever goes wrong.
//!
//! An invocation is written down before its function is called, and its answer before it is sent: that survives the death of
//! the process, and a power cut once it is on disk, a tenth of a second later. A request for
//! one under way waits for the same answer; one for an invocation that was answered gets that answer. After a crash in
//! between, or when the function failed, it is called again under the same idempotency key.

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

use std::sync::{Arc, PoisonError, RwLock};
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
use crate::base::id::random_hex;
use crate::base::supervise::Supervisor;
use crate::config::IdempotencyMode;
use crate::http::company::Company;
use crate::http::layer::AccessLogFields;
use crate::http::{ApiError, RawEvent, Verified};
use crate::security::redact;
use crate::storage::{InvocationStore, SignatureUse};
use crate::telemetry::functions::FunctionMetrics;
use crate::telemetry::requests::RequestCounters;

/// What the signature of an event is used for; no hash of a function's parts is one of this.
const EVENT_SIGNATURE_USE: &[u8] = b"event";
/// How long a signature is looked up for an event that may be none.
const SIGNATURE_LOOKUP_TIMEOUT: Duration = Duration::from_millis(500);

/// How long requests wait for their functions when the service stops: shorter than the web waits for requests.
const REQUEST_SHUTDOWN_GRACE: Duration = Duration::from_secs(6);

/// The functions of a receiver. A handle; clones are the same.
#[derive(Clone)]
pub(crate) struct FunctionService(Arc<FunctionServiceInner>);

struct FunctionServiceInner {
    registry: RwLock<Arc<FunctionRegistry>>,
    single_flight: SingleFlight<InvocationKey, Arc<InvocationResult>>,
    deps: FunctionDeps,
}

/// What functions are run with.
pub(crate) struct FunctionDeps {
    /// Where invocations are written down.
    pub ledger: Arc<dyn InvocationStore>,
    /// What time it is.
    pub clock: Clock,
    /// Runs invocations, which do not end with their requests.
    pub supervisor: Supervisor,
    /// Where they are counted.
    pub metrics: FunctionMetrics,
    /// Where refused requests are counted.
    pub counters: Arc<RequestCounters>,
}

/// A request for a function, as its route took it in.
pub(crate) struct FunctionRequest {
    /// The route's method.
    pub method: Method,
    /// The function's name in the route; `None` where only the body says it.
    pub name: Option<String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Whose it is.
    pub company: Arc<Company>,
    /// What came.
    pub raw_event: Verified<RawEvent>,
}

impl FunctionService {
    /// Begins with these, and removes old rows from the ledger from now on.
    #[must_use]
    pub(crate) fn start(registry: FunctionRegistry, parts: FunctionDeps) -> Self {
        let functions = Self(Arc::new(FunctionServiceInner {
            registry: RwLock::new(Arc::new(registry)),
            single_flight: SingleFlight::default(),
            deps: parts,
        }));
        cleanup::start(&functions.0.deps);
        functions
    }

    /// Requests that begin from here on find these.
    pub(crate) fn replace_registry(&self, registry: FunctionRegistry) {
        *self.0.registry.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(registry);
    }

    fn registry(&self) -> Arc<FunctionRegistry> {
        Arc::clone(&self.0.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers a request.
    ///
    /// # Errors
    /// 404 for a function there is not, 405 for a method that is not listed, 401 for a signature that was used for another
    /// function or an event. Everything else is answered with 200: a 4xx or 5xx would only have Retell send it again.
    pub(crate) async fn answer(&self, request: FunctionRequest) -> Result<Response, ApiError> {
        let raw = request.raw_event.into_inner();
        let asked = payload::parse(&raw.body, raw.query.as_deref(), None);
        let in_body = || asked.as_ref().ok().and_then(|asked| asked.name.clone());
        let Some(name) = request.name.or_else(in_body) else {
            return Ok(self.respond_unknown_function("", &request.company));
        };
        let registry = self.registry();
        let Some(entry) = registry.find(&name, &request.company.slug) else {
            return Ok(self.respond_unknown_function(&name, &request.company));
        };
        if !entry.settings.methods.iter().any(|method| method == request.method.as_str()) {
            return Err(ApiError::MethodNotAllowed);
        }
        if raw.key_fingerprint.is_some() && asked.as_ref().is_ok_and(|asked| asked.is_event) {
            return Err(self.reject_reused_signature(&name));
        }
        let call_id = request.headers.get(&entry.settings.call_id_header).and_then(|value| value.to_str().ok());
        let asked = asked.and_then(|asked| match call_id {
            Some(_) if asked.call_id.is_none() || asked.name.is_none() => {
                payload::parse(&raw.body, raw.query.as_deref(), call_id)
            }
            _ => Ok(asked),
        });
        let invocation = Invocation::new(entry, &request.company, raw, asked, &request.method);
        self.respond(invocation).await
    }

    async fn respond(&self, invocation: Invocation) -> Result<Response, ApiError> {
        let parts = &self.0.deps;
        let entry = Arc::clone(&invocation.function);
        let (began, call_id, size_bytes) = (invocation.received_at, invocation.call_id(), invocation.body.len());
        let (landed, outcome) = self.run_single_flight(invocation).await;
        parts.metrics.record_duration(began.elapsed());
        entry.counts.count(outcome);
        let Some(answer) = landed.answer() else {
            return Err(self.reject_reused_signature(&entry.settings.name));
        };
        let taken = AccessLogFields { event: "custom_function", call_id, outcome, size_bytes };
        Ok(routes::answer_response(answer, taken))
    }

    /// What becomes of it, and how that is counted.
    async fn run_single_flight(&self, invocation: Invocation) -> (Arc<InvocationResult>, &'static str) {
        let (deadline, signature) = (invocation.deadline(), invocation.signature_use.clone());
        let entry = Arc::clone(&invocation.function);
        let fallback = || Arc::new(InvocationResult::fallback(&entry, "failed"));
        let mut invocation = Some(invocation);
        loop {
            let Some(key) = invocation.as_ref().map(|invocation| invocation.key) else { return (fallback(), "failed") };
            let (follower, leads) = match self.0.single_flight.join(key) {
                FlightRole::Full => return (fallback(), "failed"),
                FlightRole::Leader(seat) => {
                    let follower = seat.follower();
                    self.spawn_leader(seat, invocation.take());
                    (follower, true)
                }
                FlightRole::Follower(follower) => (follower, false),
            };
            let waiting = async {
                if leads || self.may_share_result(signature.as_ref()).await {
                    Ok(follower.wait().await)
                } else {
                    Err(SignatureReused)
                }
            };
            match self.wait_until_deadline(deadline, waiting).await {
                Ok(Err(SignatureReused)) => return (Arc::new(InvocationResult::SignatureReused), "signature_reused"),
                // The other one was refused, this one need not be.
                Ok(Ok(Some(landed))) if !leads && landed.answer().is_none() => {}
                Ok(Ok(Some(landed))) => {
                    let outcome = if leads { landed.outcome() } else { "shared" };
                    return (landed, outcome);
                }
                Ok(Ok(None)) => return (fallback(), "failed"),
                Err(outcome) => {
                    let function = entry.settings.name.as_str();
                    tracing::warn!(function, outcome, "a function has not answered in time; its fallback is sent");
                    return (fallback(), outcome);
                }
            }
        }
    }

    /// It goes on when the connection breaks and when its time is over: the function has been called by then.
    fn spawn_leader(
        &self,
        seat: single_flight::FlightLeader<InvocationKey, Arc<InvocationResult>>,
        led: Option<Invocation>,
    ) {
        let functions = Arc::clone(&self.0);
        self.0.deps.supervisor.spawn_detached(async move {
            if let Some(led) = led {
                seat.complete(Arc::new(led.run(&functions.deps).await));
            }
        });
    }

    /// Nobody waits beyond the deadline, nor for longer than the web when the service stops.
    async fn wait_until_deadline<T>(
        &self,
        deadline: Instant,
        waiting: impl Future<Output = T>,
    ) -> Result<T, &'static str> {
        tokio::select! {
            biased;
            came = waiting => Ok(came),
            () = tokio::time::sleep_until(deadline) => Err("timed_out"),
            () = wait_for_shutdown_grace(&self.0.deps.supervisor, REQUEST_SHUTDOWN_GRACE) => Err("failed"),
        }
    }

    /// Another's signature is not to fetch this one's answer.
    async fn may_share_result(&self, signature: Option<&SignatureUse>) -> bool {
        let Some(signature) = signature else { return true };
        let used = self.0.deps.ledger.use_signature(signature.clone()).await;
        // While the store is away nothing can be told; what is answered then was asked for by a signed request all the same.
        used.unwrap_or(true)
    }

    /// Leaves this signature to an event, unless a request for a function had it. What cannot be found out in time is taken
    /// for an event: one too many is better than one that is lost.
    pub(crate) async fn reserve_signature_for_event(&self, signature: &str, at_ms: i64) -> bool {
        if self.registry().is_empty() {
            return true;
        }
        let (signature, used_for) =
            (invocation_key::hash_parts(&[signature.as_bytes()]), invocation_key::hash_parts(&[EVENT_SIGNATURE_USE]));
        let used = self.0.deps.ledger.use_signature(SignatureUse {
            signature_hash: signature,
            purpose_hash: used_for,
            seen_at_ms: at_ms,
        });
        let free = !matches!(tokio::time::timeout(SIGNATURE_LOOKUP_TIMEOUT, used).await, Ok(Ok(false)));
        if !free {
            self.0.deps.counters.count("signature_reused");
            tracing::warn!("a webhook carries the signature of a request for a function (401)");
        }
        free
    }

    fn reject_reused_signature(&self, function: &str) -> ApiError {
        self.0.deps.counters.count("signature_reused");
        tracing::warn!(function, "a function's request carries the signature of another's, or of an event (401)");
        ApiError::Unauthorized
    }

    fn respond_unknown_function(&self, name: &str, company: &Company) -> Response {
        self.0.deps.metrics.count_unknown_function();
        let function = redact::path(name);
        tracing::warn!(function, company = %company.slug, "a function was called that there is not (404)");
        routes::unknown_function_response()
    }
}

/// The signature was used for something else before.
struct SignatureReused;

/// Resolves so long after the service was told to stop.
async fn wait_for_shutdown_grace(supervisor: &Supervisor, since: Duration) {
    supervisor.wait_for_stop().await;
    tokio::time::sleep(since).await;
}

/// Made once, for what is like no other.
fn unique_key_part() -> Vec<u8> {
    random_hex().into_bytes()
}

fn deadline(began: std::time::Instant, timeout: std::time::Duration) -> Instant {
    Instant::from_std(began) + timeout
}

fn runs_every_request(idempotency: IdempotencyMode) -> bool {
    idempotency == IdempotencyMode::None
}
