//! Requests with one API key.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde::de::DeserializeOwned;

use super::error::{RetellError, RetellErrorKind};
use super::limits::KeyLimits;
use crate::base::secret::Secret;
use crate::egress::{ApiRequest, ClientBuildError, Destination, Egress, FullResponse};

/// Timeout for one request. Long, because a list of calls with many filters takes seconds.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Largest response. A page of 1,000 calls without transcripts is a few megabytes.
const MAX_RESPONSE_BYTES: usize = 32 * 1024 * 1024;
/// How often a reading request is sent at most.
const MAX_ATTEMPTS: u32 = 3;
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(500);
/// The longest delay that Retell may ask for; with a longer one the request fails at once.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// A client for one API key. Its requests share a rate limit and a circuit breaker.
pub(crate) struct RetellClient {
    destination: Destination,
    headers: HeaderMap,
    limits: KeyLimits,
}

/// A request that changes nothing at Retell, so it can be repeated. Retell's lists are POST requests.
pub(super) struct ReadRequest {
    /// Its name in errors, such as `GET /get-agent`.
    pub(super) endpoint: &'static str,
    pub(super) path_and_query: String,
    /// With a body it is a POST request, otherwise GET.
    pub(super) body: Option<String>,
}

/// Why a client cannot be created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("retell.base_url: {0}")]
    BaseUrl(String),
    #[error("the API key cannot be part of a header; check retell.api_key")]
    Key,
    #[error(transparent)]
    Build(#[from] ClientBuildError),
}

impl RetellClient {
    /// # Errors
    /// The URL is blocked, the key cannot be sent, or TLS cannot be set up.
    pub(crate) fn new(base_url: &str, key: &Secret, egress: &Egress) -> Result<Self, ClientError> {
        let url = egress.parse_url(base_url).map_err(ClientError::BaseUrl)?;
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(|_| ClientError::Key)?;
        authorization.set_sensitive(true);
        let json = HeaderValue::from_static("application/json");
        let headers = [(AUTHORIZATION, authorization), (ACCEPT, json.clone()), (CONTENT_TYPE, json)];
        Ok(Self {
            destination: egress.destination(url, 0)?,
            headers: headers.into_iter().collect(),
            limits: KeyLimits::default(),
        })
    }

    /// Sends a reading request, several times if it fails for a passing reason, and parses the response.
    ///
    /// # Errors
    /// What the last attempt failed with.
    pub(super) async fn read<T: DeserializeOwned>(&self, request: ReadRequest) -> Result<T, RetellError> {
        let endpoint = request.endpoint;
        let response = self.read_response(&request).await.map_err(|kind| RetellError { endpoint, kind })?;
        // The library's message may quote the document.
        serde_json::from_slice(&response.body).map_err(|error| {
            let what = if error.is_data() { "has other fields or types" } else { "is not JSON" };
            RetellError::invalid_response(endpoint, format!("the response {what}"))
        })
    }

    async fn read_response(&self, request: &ReadRequest) -> Result<FullResponse, RetellErrorKind> {
        let mut delay = FIRST_RETRY_DELAY;
        let mut attempt = 1;
        loop {
            let (error, asked) = match self.send(request).await {
                Ok(response) if (200..300).contains(&response.status) => return Ok(response),
                Ok(response) => (RetellErrorKind::of_response(&response), retry_delay(&response.headers)),
                Err(error) => (error, None),
            };
            let wait = asked.unwrap_or(delay).max(delay);
            if !error.is_transient() || attempt == MAX_ATTEMPTS || wait > MAX_RETRY_DELAY {
                return Err(error);
            }
            // Not at the same instant as other programs that met the same failure.
            tokio::time::sleep(wait.mul_f64(1.0 + fastrand::f64() / 4.0)).await;
            (attempt, delay) = (attempt + 1, delay * 2);
        }
    }

    async fn send(&self, request: &ReadRequest) -> Result<FullResponse, RetellErrorKind> {
        let permit = self.limits.acquire().await?;
        let request = ApiRequest {
            method: if request.body.is_some() { Method::POST } else { Method::GET },
            path_and_query: &request.path_and_query,
            headers: self.headers.clone(),
            body: request.body.clone().map_or_else(Bytes::new, Bytes::from),
            timeout: TIMEOUT,
        };
        let response = self.destination.request(request, MAX_RESPONSE_BYTES).await;
        drop(permit);
        self.limits.record(response.as_ref().is_ok_and(|response| response.status < 500 && response.status != 429));
        response.map_err(|error| RetellErrorKind::NoResponse(error.to_string()))
    }
}

/// How long Retell asks to wait.
fn retry_delay(headers: &HeaderMap) -> Option<Duration> {
    let number = |name| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    number(RETRY_AFTER_MS).map(Duration::from_millis).or_else(|| number(RETRY_AFTER).map(Duration::from_secs))
}
