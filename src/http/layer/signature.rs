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

use super::body::BodyRules;
use super::refused::{Head, NotRead, Refused};
use super::{client, debug};
use crate::base::clock::Clock;
use crate::http::budget::InflightBudget;
use crate::http::company::CurrentCompanies;
use crate::http::{ApiError, RawEvent, Verified};
use crate::security::keys::KeyFingerprint;
use crate::security::signature::{Refusal, SIGNATURE_HEADER, Signature, Verifier};

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
/// neither which check failed nor which keys exist. (The small body of a stale request can be looked at after the
/// answer, see [`Refused::take_unread`].) Cost of a request that passes: one HMAC-SHA256 over the body for
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

/// Where the keys come from.
#[derive(Clone, Debug)]
enum Keys {
    /// The same for every request; `None`: verification is off.
    Fixed(Option<Verifier>),
    /// From the company that the route's `{company}` names.
    OfCompany(CurrentCompanies),
}

#[derive(Clone)]
struct Rules {
    keys: Keys,
    clock: Clock,
    body: BodyRules,
    on_refusal: Option<OnRefusal>,
    on_not_read: Option<OnNotRead>,
}

impl SignatureLayer {
    /// Lets through what `verifier` accepts: bodies up to 16 MiB that arrive within 5 s.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self::of(Keys::Fixed(Some(verifier)))
    }

    /// Lets through what the company that the route's `{company}` names accepts, on a route without one the plain route's.
    /// An unknown one is answered 404. Behind the layer the request carries its [`Arc<Company>`](crate::http::company::Company) as an extension.
    #[must_use]
    pub fn for_companies(companies: CurrentCompanies) -> Self {
        Self::of(Keys::OfCompany(companies))
    }

    /// Lets everything through. For trying things out on one's own machine only.
    #[must_use]
    pub fn without_verification() -> Self {
        Self::of(Keys::Fixed(None))
    }

    fn of(keys: Keys) -> Self {
        let body = BodyRules { limit_bytes: 16 * 1024 * 1024, timeout: Duration::from_secs(5), budget: None };
        Self(Arc::new(Rules { keys, clock: Clock::system(), body, on_refusal: None, on_not_read: None }))
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
        f.debug_struct("SignatureLayer").field("keys", &self.0.keys).finish_non_exhaustive()
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
        debug::log_head(&parts);
        let (received_at_ms, began) = (self.clock.now_ms(), Instant::now());
        let peer = client::of_request(&parts.extensions);
        let verifier = self.verifier(&mut parts).await?;
        let head = Head { parts, peer, received_at_ms, began };
        let signature = match check_header(verifier.as_ref(), single_header(&head.parts.headers), received_at_ms) {
            Ok(signature) => signature,
            Err(reason) => return Err(self.refuse(&Refused::by_head(reason, head, body, &self.body))),
        };
        // A declared length that is too large is known to fail; an undeclared one is found out while reading.
        if body.size_hint().lower() > self.body.limit_bytes as u64 {
            return Err(self.not_read(ApiError::TooLarge, peer));
        }
        let bytes = self.body.read(body, peer).await.map_err(|error| self.not_read(error, peer))?;
        match check_body(verifier.as_ref(), signature.as_ref(), &bytes) {
            Ok(key_fingerprint) => Ok(vouch(head, bytes, key_fingerprint)),
            Err(reason) => Err(self.refuse(&Refused::by_body(reason, head, bytes))),
        }
    }

    /// The verifier of the route's company, which is put into the request; `None`: verification is off.
    async fn verifier(&self, parts: &mut Parts) -> Result<Option<Verifier>, ApiError> {
        let companies = match &self.keys {
            Keys::Fixed(verifier) => return Ok(verifier.clone()),
            Keys::OfCompany(companies) => companies.get(),
        };
        let params = RawPathParams::from_request_parts(parts, &()).await.ok();
        let slug = params.as_ref().and_then(|params| params.iter().find(|(name, _)| *name == "company"));
        let company = companies.find(slug.map(|(_, slug)| slug)).ok_or(ApiError::NotFound("No such company"))?;
        parts.extensions.insert(Arc::clone(company));
        Ok(company.verifier.clone())
    }

    fn not_read(&self, error: ApiError, peer: Option<IpAddr>) -> ApiError {
        if let Some(on_not_read) = &self.on_not_read {
            on_not_read(&NotRead { error: error.clone(), peer });
        }
        error
    }

    fn refuse(&self, refused: &Refused) -> ApiError {
        if let Some(on_refusal) = &self.on_refusal {
            on_refusal(refused);
        }
        ApiError::Unauthorized
    }
}

fn check_header(
    verifier: Option<&Verifier>,
    header: Result<Option<&str>, Refusal>,
    now_ms: i64,
) -> Result<Option<Signature>, Refusal> {
    match verifier {
        Some(verifier) => verifier.check_header(header?, now_ms).map(Some),
        None => Ok(None),
    }
}

fn check_body(
    verifier: Option<&Verifier>,
    signature: Option<&Signature>,
    body: &[u8],
) -> Result<Option<KeyFingerprint>, Refusal> {
    match (verifier, signature) {
        (Some(verifier), Some(signature)) => verifier.check_body(signature, body).map(Some),
        (Some(_), None) => Err(Refusal::Missing),
        (None, _) => Ok(None),
    }
}

/// The request with its proof, and with a body that can be read again.
fn vouch(head: Head, bytes: Bytes, key_fingerprint: Option<KeyFingerprint>) -> Request {
    let Head { mut parts, peer, received_at_ms, began } = head;
    let raw = RawEvent {
        body: bytes.clone(),
        key_fingerprint,
        received_at_ms,
        began,
        peer,
        signature: single_header(&parts.headers).ok().flatten().map(str::to_owned),
        content_type: text_header(&parts.headers, header::CONTENT_TYPE),
        query: parts.uri.query().map(str::to_owned),
    };
    parts.extensions.insert(Verified::vouch(raw));
    Request::from_parts(parts, Body::from(bytes))
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
