//! The signature check in front of every webhook and function route.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use super::body::BodyLimits;
use super::rejected::{RequestHead, SignatureRejection, UnreadableRequest};
use super::{client_addr, debug_log};
use crate::base::clock::Clock;
use crate::http::budget::InflightBudget;
use crate::http::{ApiError, RawEvent, Verified};
use crate::security::keys::KeyFingerprint;
use crate::security::signature::{SIGNATURE_HEADER, Signature, SignatureError, Verifier};
use crate::tenants::CurrentCompanyDirectory;

type OnRejected = Arc<dyn Fn(&SignatureRejection) + Send + Sync>;
type OnUnreadable = Arc<dyn Fn(&UnreadableRequest) + Send + Sync>;

/// Middleware that passes a request on only when a configured key signed its raw body.
///
/// | request | response |
/// |---|---|
/// | signature header missing, malformed or stale | 401, before any of the body is read |
/// | body larger than the limit | 413, before reading if its length is declared |
/// | no room in the in-flight budget for 2 s | 503 with `Retry-After`, before reading |
/// | body not complete within the timeout | 408 |
/// | connection closed in the middle of the body | 400 |
/// | no key matches | 401 |
///
/// The body of every 401 is `{"message": "Unauthorized"}`: an attacker learns neither which check failed nor which keys
/// exist. A request that passes costs one HMAC-SHA256 over the body per key, up to the key that matches.
///
/// Behind the layer a handler takes [`Verified<Event>`](Verified) or [`Verified<RawEvent>`](Verified) as an extractor.
/// The body can still be read (axum's own extractors stop at 2 MB unless `DefaultBodyLimit` is raised).
///
/// ```
/// use axum::{Router, routing::post};
/// use retell_webhook::{Event, SignatureLayer, Verified};
///
/// async fn receive(event: Verified<Event>) -> String {
///     format!("received {}", event.get().name())
/// }
///
/// let app: Router = Router::new()
///     .route("/webhook", post(receive))
///     .layer(SignatureLayer::new("key_9f27a1c4de5588b2031fa7c0"));
/// ```
#[derive(Clone)]
pub struct SignatureLayer(Arc<SignatureRules>);

/// Where the keys of a request come from.
#[derive(Clone, Debug)]
enum KeySource {
    /// The same keys for every request; `None` turns verification off.
    Fixed(Option<Verifier>),
    /// The keys of the company in the route's `{company}`.
    PerCompany(CurrentCompanyDirectory),
}

#[derive(Clone)]
struct SignatureRules {
    key_source: KeySource,
    clock: Clock,
    body_limits: BodyLimits,
    on_rejected: Option<OnRejected>,
    on_unreadable: Option<OnUnreadable>,
}

impl SignatureLayer {
    /// Accepts requests that `verifier` accepts, with bodies of up to 16 MiB that arrive within 5 s. `verifier` is an API
    /// key, several [`ApiKey`](crate::ApiKey)s, or a [`Verifier`].
    #[must_use]
    pub fn new(verifier: impl Into<Verifier>) -> Self {
        Self::from_key_source(KeySource::Fixed(Some(verifier.into())))
    }

    /// Accepts requests that the company in the route's `{company}` accepts; routes without it belong to the default
    /// company. The response for an unknown company is 404. Behind the layer the request carries its `Arc<Company>` as an
    /// extension.
    #[must_use]
    pub(crate) fn for_companies(companies: CurrentCompanyDirectory) -> Self {
        Self::from_key_source(KeySource::PerCompany(companies))
    }

    /// Accepts every request without checking it. For experiments on your own machine only.
    #[must_use]
    pub fn without_verification() -> Self {
        Self::from_key_source(KeySource::Fixed(None))
    }

    fn from_key_source(keys: KeySource) -> Self {
        let body = BodyLimits { limit_bytes: 16 * 1024 * 1024, timeout: Duration::from_secs(5), budget: None };
        Self(Arc::new(SignatureRules {
            key_source: keys,
            clock: Clock::system(),
            body_limits: body,
            on_rejected: None,
            on_unreadable: None,
        }))
    }

    /// Compares timestamps with `clock` instead of the system clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        self.with_rules(|rules| rules.clock = clock)
    }

    /// Rejects larger bodies with 413.
    #[must_use]
    pub fn with_body_limit_bytes(self, limit_bytes: usize) -> Self {
        self.with_rules(|rules| rules.body_limits.limit_bytes = limit_bytes)
    }

    /// Rejects a body that takes longer to arrive with 408.
    #[must_use]
    pub fn with_body_timeout(self, timeout: Duration) -> Self {
        self.with_rules(|rules| rules.body_limits.timeout = timeout)
    }

    /// Bounds the bytes of all bodies that are held in memory at the same time.
    #[must_use]
    pub fn with_inflight_budget(self, budget: InflightBudget) -> Self {
        self.with_rules(|rules| rules.body_limits.budget = Some(budget))
    }

    /// Calls `on_rejected` for every request that gets a 401 response.
    #[must_use]
    pub fn on_rejected(self, on_rejected: impl Fn(&SignatureRejection) + Send + Sync + 'static) -> Self {
        self.with_rules(|rules| rules.on_rejected = Some(Arc::new(on_rejected)))
    }

    /// Calls `on_unreadable` for every request whose body could not be read.
    #[must_use]
    pub fn on_unreadable(self, on_unreadable: impl Fn(&UnreadableRequest) + Send + Sync + 'static) -> Self {
        self.with_rules(|rules| rules.on_unreadable = Some(Arc::new(on_unreadable)))
    }

    fn with_rules(mut self, change: impl FnOnce(&mut SignatureRules)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl fmt::Debug for SignatureLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureLayer").field("keys", &self.0.key_source).finish_non_exhaustive()
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
    rules: Arc<SignatureRules>,
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
        let rules = Arc::clone(&self.rules);
        let inner = self.inner.clone();
        // The service that was polled ready must be the one that is called; the clone takes its place.
        let mut inner = std::mem::replace(&mut self.inner, inner);
        Box::pin(async move {
            match rules.verify_request(request).await {
                Ok(request) => inner.call(request).await,
                Err(error) => Ok(error.into_response()),
            }
        })
    }
}

impl SignatureRules {
    async fn verify_request(&self, request: Request) -> Result<Request, ApiError> {
        let (mut parts, body) = request.into_parts();
        debug_log::log_request_head(&parts);
        let received_at_ms = self.clock.now_ms();
        let received_instant = Instant::now();
        let client_ip = client_addr::client_ip(&parts.extensions);
        let verifier = self.resolve_verifier(&mut parts).await?;
        let head = RequestHead { parts, client_ip, received_at_ms, received_instant };
        let signature = match check_header(verifier.as_ref(), signature_header(&head.parts.headers), received_at_ms) {
            Ok(signature) => signature,
            Err(reason) => {
                return Err(self.reject(&SignatureRejection::without_body(reason, head, body, &self.body_limits)));
            }
        };
        // A declared length can be rejected at once; without one, the limit is enforced while reading.
        if body.size_hint().lower() > self.body_limits.limit_bytes as u64 {
            return Err(self.report_unreadable(ApiError::BodyTooLarge, client_ip));
        }
        let bytes =
            self.body_limits.read(body, client_ip).await.map_err(|error| self.report_unreadable(error, client_ip))?;
        match check_body(verifier.as_ref(), signature.as_ref(), &bytes) {
            Ok(key_fingerprint) => {
                debug_log::log_signature(key_fingerprint.as_ref());
                Ok(into_verified_request(head, bytes, key_fingerprint))
            }
            Err(reason) => Err(self.reject(&SignatureRejection::with_body(reason, head, bytes))),
        }
    }

    /// The verifier for this request; `None` if verification is off. Adds the route's company to the request.
    async fn resolve_verifier(&self, parts: &mut Parts) -> Result<Option<Verifier>, ApiError> {
        let companies = match &self.key_source {
            KeySource::Fixed(verifier) => return Ok(verifier.clone()),
            KeySource::PerCompany(companies) => companies.get(),
        };
        let params = RawPathParams::from_request_parts(parts, &()).await.ok();
        let slug = params.as_ref().and_then(|params| params.iter().find(|(name, _)| *name == "company"));
        let company = companies.find(slug.map(|(_, slug)| slug)).ok_or(ApiError::NotFound("No such company"))?;
        parts.extensions.insert(Arc::clone(company));
        Ok(company.verifier.clone())
    }

    fn report_unreadable(&self, error: ApiError, client_ip: Option<IpAddr>) -> ApiError {
        if let Some(on_unreadable) = &self.on_unreadable {
            on_unreadable(&UnreadableRequest { error: error.clone(), client_ip });
        }
        error
    }

    fn reject(&self, rejection: &SignatureRejection) -> ApiError {
        if let Some(on_rejected) = &self.on_rejected {
            on_rejected(rejection);
        }
        ApiError::Unauthorized
    }
}

fn check_header(
    verifier: Option<&Verifier>,
    header: Result<Option<&str>, SignatureError>,
    now_ms: i64,
) -> Result<Option<Signature>, SignatureError> {
    match verifier {
        Some(verifier) => verifier.check_header(header?, now_ms).map(Some),
        None => Ok(None),
    }
}

fn check_body(
    verifier: Option<&Verifier>,
    signature: Option<&Signature>,
    body: &[u8],
) -> Result<Option<KeyFingerprint>, SignatureError> {
    match (verifier, signature) {
        (Some(verifier), Some(signature)) => verifier.check_body(signature, body).map(Some),
        (Some(_), None) => Err(SignatureError::MissingHeader),
        (None, _) => Ok(None),
    }
}

/// The request with its `Verified<RawEvent>`, and with a body that can be read again.
fn into_verified_request(head: RequestHead, bytes: Bytes, key_fingerprint: Option<KeyFingerprint>) -> Request {
    let RequestHead { mut parts, client_ip, received_at_ms, received_instant } = head;
    let raw = RawEvent {
        body: bytes.clone(),
        key_fingerprint,
        received_at_ms,
        received_instant,
        client_ip,
        signature: signature_header(&parts.headers).ok().flatten().map(str::to_owned),
        content_type: text_header(&parts.headers, header::CONTENT_TYPE),
        query: parts.uri.query().map(str::to_owned),
    };
    parts.extensions.insert(Verified::new(raw));
    Request::from_parts(parts, Body::from(bytes))
}

/// The signature header. Two of them are malformed: two readers could disagree about which one counts.
fn signature_header(headers: &HeaderMap) -> Result<Option<&str>, SignatureError> {
    let mut values = headers.get_all(SIGNATURE_HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| SignatureError::MalformedHeader),
        (Some(_), Some(_)) => Err(SignatureError::MalformedHeader),
    }
}

fn text_header(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
