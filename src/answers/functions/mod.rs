//! Custom functions: each invocation runs once, however often Retell sends it, and somebody on the line gets an answer in
//! time whatever goes wrong.
//!
//! An invocation is written down before its function is called, and its answer before it is sent: that survives the death of
//! the process, and a power cut once it is on disk, a tenth of a second later. A request for
//! one under way waits for the same answer; one for an invocation that was answered gets that answer. After a crash in
//! between, or when the function failed, it is called again under the same idempotency key.

mod closure;
mod envelope;
mod invocation;
mod key;
mod registry;
mod reply;
mod routes;
mod schema;
mod target;
mod tidy;
mod words;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::Method;
use axum::response::Response;
use tokio::time::Instant;

pub use registry::{FunctionError, FunctionRegistry, all_tables, parameters};
pub use routes::{OUTCOME_HEADER, function_path, router};

use self::invocation::{Invocation, Landed};
use self::key::Key;
use super::flight::{self, Flights, Part};
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::base::supervise::Supervisor;
use crate::config::Idempotency;
use crate::http::company::Company;
use crate::http::layer::Taken;
use crate::http::{ApiError, RawEvent, Verified};
use crate::security::redact;
use crate::storage::{Invocations, SignatureUse};
use crate::telemetry::counters::Counters;
use crate::telemetry::functions::FunctionMetrics;

/// What the signature of an event is used for; no hash of a function's parts is one of this.
const EVENT: &[u8] = b"event";
/// How long a signature is looked up for an event that may be none.
const LOOK_UP: Duration = Duration::from_millis(500);

/// How long requests wait for their functions when the service stops: shorter than the web waits for requests.
const STOPPING: Duration = Duration::from_secs(6);

/// The functions of a receiver. A handle; clones are the same.
#[derive(Clone)]
pub struct Functions(Arc<Inner>);

struct Inner {
    registry: RwLock<Arc<FunctionRegistry>>,
    flights: Flights<Key, Arc<Landed>>,
    parts: Parts,
}

/// What functions are run with.
pub struct Parts {
    /// Where invocations are written down.
    pub ledger: Arc<dyn Invocations>,
    /// What time it is.
    pub clock: Clock,
    /// Runs invocations, which do not end with their requests.
    pub supervisor: Supervisor,
    /// Where they are counted.
    pub metrics: FunctionMetrics,
    /// Where refused requests are counted.
    pub counters: Arc<Counters>,
}

/// A request for a function, as its route took it in.
pub struct Request {
    /// The route's method.
    pub method: Method,
    /// The function's name in the route; `None` where only the body says it.
    pub name: Option<String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Whose it is.
    pub company: Arc<Company>,
    /// What came.
    pub verified: Verified<RawEvent>,
}

impl Functions {
    /// Begins with these, and removes old rows from the ledger from now on.
    #[must_use]
    pub fn start(registry: FunctionRegistry, parts: Parts) -> Self {
        let functions =
            Self(Arc::new(Inner { registry: RwLock::new(Arc::new(registry)), flights: Flights::default(), parts }));
        tidy::start(&functions.0.parts);
        functions
    }

    /// Requests that begin from here on find these.
    pub fn replace(&self, registry: FunctionRegistry) {
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
    pub async fn answer(&self, request: Request) -> Result<Response, ApiError> {
        let raw = request.verified.into_inner();
        let asked = envelope::read(&raw.body, raw.query.as_deref(), None);
        let in_body = || asked.as_ref().ok().and_then(|asked| asked.name.clone());
        let Some(name) = request.name.or_else(in_body) else { return Ok(self.unknown("", &request.company)) };
        let registry = self.registry();
        let Some(entry) = registry.find(&name, &request.company.slug) else {
            return Ok(self.unknown(&name, &request.company));
        };
        if !entry.rules.methods.iter().any(|method| method == request.method.as_str()) {
            return Err(ApiError::MethodNotAllowed);
        }
        if raw.key_fingerprint.is_some() && asked.as_ref().is_ok_and(|asked| asked.is_event) {
            return Err(self.reused(&name));
        }
        let call_id = request.headers.get(&entry.rules.call_id_header).and_then(|value| value.to_str().ok());
        let asked = asked.and_then(|asked| match call_id {
            Some(_) if asked.call_id.is_none() || asked.name.is_none() => {
                envelope::read(&raw.body, raw.query.as_deref(), call_id)
            }
            _ => Ok(asked),
        });
        let invocation = Invocation::new(entry, &request.company, raw, asked, &request.method);
        self.run(invocation).await
    }

    async fn run(&self, invocation: Invocation) -> Result<Response, ApiError> {
        let parts = &self.0.parts;
        let entry = Arc::clone(&invocation.entry);
        let (began, call_id, size_bytes) = (invocation.began, invocation.call_id(), invocation.body.len());
        let (landed, outcome) = self.land(invocation).await;
        parts.metrics.record(began.elapsed());
        entry.counts.count(outcome);
        let Some(answer) = landed.answer() else {
            return Err(self.reused(&entry.rules.name));
        };
        let taken = Taken { event: "custom_function", call_id, outcome, size_bytes };
        Ok(routes::answered(answer, taken))
    }

    /// What becomes of it, and how that is counted.
    async fn land(&self, invocation: Invocation) -> (Arc<Landed>, &'static str) {
        let (deadline, signature) = (invocation.deadline(), invocation.signature.clone());
        let entry = Arc::clone(&invocation.entry);
        let fallback = || Arc::new(Landed::fallback(&entry, "failed"));
        let mut invocation = Some(invocation);
        loop {
            let Some(key) = invocation.as_ref().map(|invocation| invocation.key) else { return (fallback(), "failed") };
            let (follower, leads) = match self.0.flights.join(key) {
                Part::Full => return (fallback(), "failed"),
                Part::Lead(seat) => {
                    let follower = seat.follower();
                    self.take_off(seat, invocation.take());
                    (follower, true)
                }
                Part::Follow(follower) => (follower, false),
            };
            let waiting = async {
                if leads || self.may_follow(signature.as_ref()).await {
                    Ok(follower.wait().await)
                } else {
                    Err(Foreign)
                }
            };
            match self.in_time(deadline, waiting).await {
                Ok(Err(Foreign)) => return (Arc::new(Landed::Foreign), "reused_signature"),
                // The other one was refused, this one need not be.
                Ok(Ok(Some(landed))) if !leads && landed.answer().is_none() => {}
                Ok(Ok(Some(landed))) => {
                    let outcome = if leads { landed.outcome() } else { "shared" };
                    return (landed, outcome);
                }
                Ok(Ok(None)) => return (fallback(), "failed"),
                Err(outcome) => {
                    let function = entry.rules.name.as_str();
                    tracing::warn!(function, outcome, "a function has not answered in time; its fallback is sent");
                    return (fallback(), outcome);
                }
            }
        }
    }

    /// It goes on when the connection breaks and when its time is over: the function has been called by then.
    fn take_off(&self, seat: flight::Seat<Key, Arc<Landed>>, led: Option<Invocation>) {
        let functions = Arc::clone(&self.0);
        self.0.parts.supervisor.spawn_detached(async move {
            if let Some(led) = led {
                seat.land(Arc::new(led.run(&functions.parts).await));
            }
        });
    }

    /// Nobody waits beyond the deadline, nor for longer than the web when the service stops.
    async fn in_time<T>(&self, deadline: Instant, waiting: impl Future<Output = T>) -> Result<T, &'static str> {
        tokio::select! {
            biased;
            came = waiting => Ok(came),
            () = tokio::time::sleep_until(deadline) => Err("late"),
            () = stopped(&self.0.parts.supervisor, STOPPING) => Err("failed"),
        }
    }

    /// Another's signature is not to fetch this one's answer.
    async fn may_follow(&self, signature: Option<&SignatureUse>) -> bool {
        let Some(signature) = signature else { return true };
        let used = self.0.parts.ledger.use_signature(signature.clone()).await;
        // While the store is away nothing can be told; what is answered then was asked for by a signed request all the same.
        used.unwrap_or(true)
    }

    /// Leaves this signature to an event, unless a request for a function had it. What cannot be found out in time is taken
    /// for an event: one too many is better than one that is lost.
    pub async fn leave(&self, signature: &str, at_ms: i64) -> bool {
        if self.registry().is_empty() {
            return true;
        }
        let (signature, used_for) = (key::hash(&[signature.as_bytes()]), key::hash(&[EVENT]));
        let used = self.0.parts.ledger.use_signature(SignatureUse { signature, used_for, seen_at_ms: at_ms });
        let free = !matches!(tokio::time::timeout(LOOK_UP, used).await, Ok(Ok(false)));
        if !free {
            self.0.parts.counters.count("signature_reused");
            tracing::warn!("a webhook carries the signature of a request for a function (401)");
        }
        free
    }

    fn reused(&self, function: &str) -> ApiError {
        self.0.parts.counters.count("signature_reused");
        tracing::warn!(function, "a function's request carries the signature of another's, or of an event (401)");
        ApiError::Unauthorized
    }

    fn unknown(&self, name: &str, company: &Company) -> Response {
        self.0.parts.metrics.count_unknown();
        let function = redact::path(name);
        tracing::warn!(function, company = %company.slug, "a function was called that there is not (404)");
        routes::unknown()
    }
}

/// The signature was used for something else before.
struct Foreign;

/// Resolves so long after the service was told to stop.
async fn stopped(supervisor: &Supervisor, since: Duration) {
    supervisor.stopping().await;
    tokio::time::sleep(since).await;
}

/// Made once, for what is like no other.
fn unique() -> Vec<u8> {
    random_hex().into_bytes()
}

fn deadline(began: std::time::Instant, timeout: std::time::Duration) -> Instant {
    Instant::from_std(began) + timeout
}

fn is_told_apart(idempotency: Idempotency) -> bool {
    idempotency == Idempotency::None
}
