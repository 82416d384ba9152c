//! Lets a request through only when a configured key signed its raw body.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use super::body::BodyRules;
use super::debug;
use crate::base::clock::Clock;
use crate::http::budget::InflightBudget;
use crate::http::{ApiError, RawEvent, Verified};
use crate::security::keys::KeyFingerprint;
use crate::security::signature::{Refusal, SIGNATURE_HEADER, Signature, Verifier};

/// A refused request, for logs and counters.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// Where it came from, when known.
    pub peer: Option<IpAddr>,
    /// Bytes of its body that were read.
    pub size_bytes: usize,
}

/// A request whose body could not be taken in: too large, too slow, cut off, or no room for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NotRead {
    /// What the sender was told.
    pub error: ApiError,
    /// Where it came from, when known.
    pub peer: Option<IpAddr>,
}

impl NotRead {
    /// A short name for counters: `too_large`, `body_timeout`, `cut_off` or `no_room`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.error {
            ApiError::TooLarge => "too_large",
            ApiError::BodyTimeout => "body_timeout",
            ApiError::Unavailable => "no_room",
            _ => "cut_off",
        }
    }
}

type OnRefusal = Arc<dyn Fn(&Refused) + Send + Sync>;
type OnNotRead = Arc<dyn Fn(&NotRead) + Send + Sync>;

/// Lets a request through only when a configured key signed its raw body.
///
/// | what | answer |
/// |---|---|
/// | header missing, malformed or stale | 401 before any of the body is read |
/// | body larger than the limit | 413, before reading when its length was declared |
/// | no room in the budget for 2 s | 503 with `Retry-After`, before reading |
/// | body not complete within the time-out | 408 |
/// | connection cut in the middle of the body | 400 |
/// | no key matches | 401 |
///
/// Whatever the reason for a 401, the body says `{"message": "Unauthorized"}` and nothing more: an attacker learns
/// neither which check failed nor which keys exist. Cost of a request that passes: one HMAC-SHA256 over the body for
/// each key up to the one that matches. Behind the layer the request carries a
/// [`Verified<RawEvent>`](Verified) and its body can still be read (axum's own extractors stop at 2 MB unless
/// `DefaultBodyLimit` says otherwise).
///
/// ```
/// use axum::{Router, routing::post};
/// use retell_webhook::{ApiKey, RawEvent, Secret, SignatureLayer, Verified, Verifier};
///
/// async fn receive(event: Verified<RawEvent>) -> String {
///     format!("{} genuine bytes", event.get().body.len())
/// }
///
/// let key = ApiKey::new(&Secret::new("key_9f27a1c4de5588b2031fa7c0"));
/// let app: Router = Router::new()
///     .route("/webhook", post(receive))
///     .layer(SignatureLayer::new(Verifier::new(vec![key])));
/// ```
#[derive(Clone)]
pub struct SignatureLayer(Arc<Rules>);

#[derive(Clone)]
struct Rules {
    /// `None`: verification is off.
    verifier: Option<Verifier>,
    clock: Clock,
    body: BodyRules,
    on_refusal: Option<OnRefusal>,
    on_not_read: Option<OnNotRead>,
}

impl SignatureLayer {
    /// Lets through what `verifier` accepts: bodies up to 16 MiB that arrive within 5 s.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self::of(Some(verifier))
    }

    /// Lets everything through. For trying things out on one's own machine only.
    #[must_use]
    pub fn without_verification() -> Self {
        Self::of(None)
    }

    fn of(verifier: Option<Verifier>) -> Self {
        let body = BodyRules { limit_bytes: 16 * 1024 * 1024, timeout: Duration::from_secs(5), budget: None };
        Self(Arc::new(Rules { verifier, clock: Clock::system(), body, on_refusal: None, on_not_read: None }))
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        self.change(|rules| rules.clock = clock)
    }

    /// Refuses larger bodies with 413.
    #[must_use]
    pub fn with_body_limit_bytes(self, limit_bytes: usize) -> Self {
        self.change(|rules| rules.body.limit_bytes = limit_bytes)
    }

    /// Gives a body this long to arrive.
    #[must_use]
    pub fn with_body_timeout(self, timeout: Duration) -> Self {
        self.change(|rules| rules.body.timeout = timeout)
    }

    /// Bounds the bytes held by all requests together.
    #[must_use]
    pub fn with_inflight_budget(self, budget: InflightBudget) -> Self {
        self.change(|rules| rules.body.budget = Some(budget))
    }

    /// Calls `on_refusal` for every request answered 401.
    #[must_use]
    pub fn on_refusal(self, on_refusal: impl Fn(&Refused) + Send + Sync + 'static) -> Self {
        self.change(|rules| rules.on_refusal = Some(Arc::new(on_refusal)))
    }

    /// Calls `on_not_read` for every request whose body could not be taken in.
    #[must_use]
    pub fn on_not_read(self, on_not_read: impl Fn(&NotRead) + Send + Sync + 'static) -> Self {
        self.change(|rules| rules.on_not_read = Some(Arc::new(on_not_read)))
    }

    fn change(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl fmt::Debug for SignatureLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureLayer").field("verifier", &self.0.verifier).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for SignatureLayer {
    type Service = SignatureService<S>;

    fn layer(&self, inner: S) -> SignatureService<S> {
        SignatureService { inner, rules: Arc::clone(&self.0) }
    }
}

/// The service [`SignatureLayer`] makes.
#[derive(Clone)]
pub struct SignatureService<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> Service<Request> for SignatureService<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (inner, rules) = (self.inner.clone(), Arc::clone(&self.rules));
        // The service that was polled ready must be the one that is called; the clone takes its place.
        let mut inner = std::mem::replace(&mut self.inner, inner);
        Box::pin(async move {
            match rules.check(request).await {
                Ok(request) => inner.call(request).await,
                Err(error) => Ok(error.into_response()),
            }
        })
    }
}

impl Rules {
    async fn check(&self, request: Request) -> Result<Request, ApiError> {
        let (mut parts, body) = request.into_parts();
        let (received_at_ms, began) = (self.clock.now_ms(), Instant::now());
        debug::log_head(&parts);
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let header = single_header(&parts.headers);
        let signature = self.check_header(header, received_at_ms).map_err(|reason| self.refuse(reason, peer, 0))?;
        // A declared length that is too large is known to fail; an undeclared one is found out while reading.
        if body.size_hint().lower() > self.body.limit_bytes as u64 {
            return Err(self.not_read(ApiError::TooLarge, peer));
        }
        let bytes = self.body.read(body, peer).await.map_err(|error| self.not_read(error, peer))?;
        let key_fingerprint =
            self.check_body(signature.as_ref(), &bytes).map_err(|reason| self.refuse(reason, peer, bytes.len()))?;
        let raw = RawEvent {
            body: bytes.clone(),
            key_fingerprint,
            received_at_ms,
            began,
            peer,
            signature: header.ok().flatten().map(str::to_owned),
            content_type: text_header(&parts.headers, header::CONTENT_TYPE),
            query: parts.uri.query().map(str::to_owned),
        };
        parts.extensions.insert(Verified::vouch(raw));
        Ok(Request::from_parts(parts, Body::from(bytes)))
    }

    fn check_header(&self, header: Result<Option<&str>, Refusal>, now_ms: i64) -> Result<Option<Signature>, Refusal> {
        match &self.verifier {
            Some(verifier) => verifier.check_header(header?, now_ms).map(Some),
            None => Ok(None),
        }
    }

    fn check_body(&self, signature: Option<&Signature>, body: &[u8]) -> Result<Option<KeyFingerprint>, Refusal> {
        match (&self.verifier, signature) {
            (Some(verifier), Some(signature)) => verifier.check_body(signature, body).map(Some),
            (Some(_), None) => Err(Refusal::Missing),
            (None, _) => Ok(None),
        }
    }

    fn not_read(&self, error: ApiError, peer: Option<IpAddr>) -> ApiError {
        if let Some(on_not_read) = &self.on_not_read {
            on_not_read(&NotRead { error: error.clone(), peer });
        }
        error
    }

    fn refuse(&self, reason: Refusal, peer: Option<IpAddr>, size_bytes: usize) -> ApiError {
        if let Some(on_refusal) = &self.on_refusal {
            on_refusal(&Refused { reason, peer, size_bytes });
        }
        ApiError::Unauthorized
    }
}

/// The signature header. Twice is malformed: two readers could disagree about which one counts.
fn single_header(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(SIGNATURE_HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Refusal::Malformed),
        (Some(_), Some(_)) => Err(Refusal::Malformed),
    }
}

fn text_header(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
