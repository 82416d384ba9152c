//! Lets a request through only when a configured key signed its raw body.

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
use crate::http::company::CurrentCompanyDirectory;
use crate::http::{ApiError, RawEvent, Verified};
use crate::security::keys::KeyFingerprint;
use crate::security::signature::{SIGNATURE_HEADER, Signature, SignatureError, Verifier};

type OnRejected = Arc<dyn Fn(&SignatureRejection) + Send + Sync>;
type OnUnreadable = Arc<dyn Fn(&UnreadableRequest) + Send + Sync>;

/// Lets a request through only when a configured key signed its raw body.
///
/// | what | answer |
/// |---|---|
/// | header missing, malformed or stale | 401 before any of the body is read |
/// | body larger than the limit | 413, before reading when its length was declared |
/// | no room in the budget for 2 s | 503 with `DeliveriesRetryArgs-After`, before reading |
/// | body not complete within the time-out | 408 |
/// | connection cut in the middle of the body | 400 |
/// | no key matches | 401 |
///
/// Whatever the reason for a 401, the body says `{"message": "Unauthorized"}` and nothing more: an attacker learns
/// neither which check failed nor which keys exist. (The small body of a stale request can be looked at after the
/// answer, see [`SignatureRejection::take_unread`].) Cost of a request that passes: one HMAC-SHA256 over the body for
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
pub struct SignatureLayer(Arc<SignatureRules>);

/// Where the keys come from.
#[derive(Clone, Debug)]
enum KeySource {
    /// The same for every request; `None`: verification is off.
    Fixed(Option<Verifier>),
    /// From the company that the route's `{company}` names.
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
    /// Lets through what `verifier` accepts: bodies up to 16 MiB that arrive within 5 s.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self::from_key_source(KeySource::Fixed(Some(verifier)))
    }

    /// Lets through what the company that the route's `{company}` names accepts, on a route without one the plain route's.
    /// An unknown one is answered 404. Behind the layer the request carries its [`Arc<Company>`](crate::http::company::Company) as an extension.
    #[must_use]
    pub fn for_companies(companies: CurrentCompanyDirectory) -> Self {
        Self::from_key_source(KeySource::PerCompany(companies))
    }

    /// Lets everything through. For trying things out on one's own machine only.
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

    /// Takes the time from `clock`.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        self.with_rules(|rules| rules.clock = clock)
    }

    /// Refuses larger bodies with 413.
    #[must_use]
    pub fn with_body_limit_bytes(self, limit_bytes: usize) -> Self {
        self.with_rules(|rules| rules.body_limits.limit_bytes = limit_bytes)
    }

    /// Gives a body this long to arrive.
    #[must_use]
    pub fn with_body_timeout(self, timeout: Duration) -> Self {
        self.with_rules(|rules| rules.body_limits.timeout = timeout)
    }

    /// Bounds the bytes held by all requests together.
    #[must_use]
    pub fn with_inflight_budget(self, budget: InflightBudget) -> Self {
        self.with_rules(|rules| rules.body_limits.budget = Some(budget))
    }

    /// Calls `on_refusal` for every request answered 401.
    #[must_use]
    pub fn on_rejected(self, on_refusal: impl Fn(&SignatureRejection) + Send + Sync + 'static) -> Self {
        self.with_rules(|rules| rules.on_rejected = Some(Arc::new(on_refusal)))
    }

    /// Calls `on_not_read` for every request whose body could not be taken in.
    #[must_use]
    pub fn on_unreadable(self, on_not_read: impl Fn(&UnreadableRequest) + Send + Sync + 'static) -> Self {
        self.with_rules(|rules| rules.on_unreadable = Some(Arc::new(on_not_read)))
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
        let (inner, rules) = (self.inner.clone(), Arc::clone(&self.rules));
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
        let (received_at_ms, began) = (self.clock.now_ms(), Instant::now());
        let peer = client_addr::client_ip(&parts.extensions);
        let verifier = self.resolve_verifier(&mut parts).await?;
        let head = RequestHead { parts, client_ip: peer, received_at_ms, received_instant: began };
        let signature = match check_header(verifier.as_ref(), signature_header(&head.parts.headers), received_at_ms) {
            Ok(signature) => signature,
            Err(reason) => {
                return Err(self.reject(&SignatureRejection::without_body(reason, head, body, &self.body_limits)));
            }
        };
        // A declared length that is too large is known to fail; an undeclared one is found out while reading.
        if body.size_hint().lower() > self.body_limits.limit_bytes as u64 {
            return Err(self.report_unreadable(ApiError::BodyTooLarge, peer));
        }
        let bytes = self.body_limits.read(body, peer).await.map_err(|error| self.report_unreadable(error, peer))?;
        match check_body(verifier.as_ref(), signature.as_ref(), &bytes) {
            Ok(key_fingerprint) => Ok(into_verified_request(head, bytes, key_fingerprint)),
            Err(reason) => Err(self.reject(&SignatureRejection::with_body(reason, head, bytes))),
        }
    }

    /// The verifier of the route's company, which is put into the request; `None`: verification is off.
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

    fn report_unreadable(&self, error: ApiError, peer: Option<IpAddr>) -> ApiError {
        if let Some(on_not_read) = &self.on_unreadable {
            on_not_read(&UnreadableRequest { error: error.clone(), client_ip: peer });
        }
        error
    }

    fn reject(&self, refused: &SignatureRejection) -> ApiError {
        if let Some(on_refusal) = &self.on_rejected {
            on_refusal(refused);
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

/// The request with its proof, and with a body that can be read again.
fn into_verified_request(head: RequestHead, bytes: Bytes, key_fingerprint: Option<KeyFingerprint>) -> Request {
    let RequestHead { mut parts, client_ip: peer, received_at_ms, received_instant: began } = head;
    let raw = RawEvent {
        body: bytes.clone(),
        key_fingerprint,
        received_at_ms,
        received_instant: began,
        client_ip: peer,
        signature: signature_header(&parts.headers).ok().flatten().map(str::to_owned),
        content_type: text_header(&parts.headers, header::CONTENT_TYPE),
        query: parts.uri.query().map(str::to_owned),
    };
    parts.extensions.insert(Verified::new(raw));
    Request::from_parts(parts, Body::from(bytes))
}

/// The signature header. Twice is malformed: two readers could disagree about which one counts.
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
