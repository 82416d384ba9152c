//! One destination of POST requests: a connection pool, the SSRF guard, and redirects that are followed here rather
//! than by the HTTP client, so that the guard checks each of them.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Response};
use tokio::net::TcpStream;
use url::{Host, Position, Url};

use super::guard::{BlockedAddress, ResolveError, SsrfGuard};
use super::{ClientBuildError, client_builder, tls_config};
use crate::config::EgressSettings;

/// Timeout for establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the five seconds after which common servers (uvicorn, Node) close an idle connection: a request fails
/// when its connection is closed while it is being written.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How much of a response body is read, and for how long once the response headers are there.
const BODY_PREFIX_BYTES: usize = 2048;
const BODY_PREFIX_TIMEOUT: Duration = Duration::from_secs(1);

/// Creates destinations that follow the `[egress]` settings.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    policy: Arc<EgressSettings>,
    tls: Arc<OnceLock<rustls::ClientConfig>>,
}

/// A URL that passed the guard, as far as it can be checked before its host name is resolved.
#[derive(Clone)]
pub struct DestinationUrl {
    pub(super) url: Url,
    guard: SsrfGuard,
}

/// A destination with its connection pool.
pub struct Destination {
    pub(super) url: DestinationUrl,
    max_redirects: u8,
    client: Client,
}

pub struct PostRequest {
    /// Headers that are sent wherever redirects lead.
    pub headers: HeaderMap,
    /// Headers that only the destination's own origin receives: credentials and signatures.
    pub same_origin_headers: HeaderMap,
    pub body: Bytes,
    /// Timeout for the whole exchange, redirects included.
    pub timeout: Duration,
}

/// What is kept of a response.
#[derive(Debug, Default)]
pub struct ResponseSummary {
    /// The HTTP status code of the last response.
    pub status: u16,
    /// The value of the `Retry-After` header.
    pub retry_after: Option<String>,
    /// Origin of a redirect that was not followed, without its path.
    pub redirect_origin: Option<String>,
    /// The first bytes of the body, at most 2048.
    pub body_prefix: String,
}

/// The value of the `Content-Type` header.
pub(super) fn response_content_type(response: &Response) -> Option<String> {
    let value = response.headers().get(CONTENT_TYPE)?;
    value.to_str().ok().map(str::to_owned)
}

/// Why a request got no response. The text contains host and port only: paths and queries may hold tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The guard blocks the address. A retry may succeed, because settings and DNS records change.
    #[error("{0}")]
    Blocked(String),
    /// A redirect points to a blocked address, or from https to http.
    #[error("{0}")]
    BlockedRedirect(String),
    /// No connection, no response within the timeout, or an incomplete response.
    #[error("{0}")]
    NoResponse(String),
}

impl Egress {
    pub fn new(settings: &EgressSettings) -> Self {
        Self { policy: Arc::new(settings.clone()), tls: Arc::default() }
    }

    /// Parses a URL from the settings and checks it with the guard.
    ///
    /// # Errors
    /// Why it cannot be a destination. The text does not contain the path.
    pub fn parse_url(&self, text: &str) -> Result<DestinationUrl, String> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else {
            return Err("it is not an http or https URL; expected a URL such as https://example.com/hook".to_owned());
        };
        let guard = SsrfGuard::new(&self.policy, &url);
        guard.check(&url).map_err(|blocked| blocked.to_string())?;
        Ok(DestinationUrl { url, guard })
    }

    /// Creates a destination with a separate connection pool that follows at most `max_redirects` redirects.
    ///
    /// # Errors
    /// The machine's certificates cannot be used, or the client cannot be built.
    pub fn destination(&self, url: DestinationUrl, max_redirects: u8) -> Result<Destination, ClientBuildError> {
        // Reading the machine's certificates is slow, so all destinations share the result.
        let tls = if let Some(config) = self.tls.get() {
            config.clone()
        } else {
            let config = tls_config()?;
            self.tls.get_or_init(|| config).clone()
        };
        let client = client_builder(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .dns_resolver(Arc::new(url.guard.clone()))
            .build()?;
        Ok(Destination { url, max_redirects, client })
    }
}

impl DestinationUrl {
    /// Opens a connection and sends nothing, to find out whether the destination can be reached.
    ///
    /// # Errors
    /// Blocked by the guard, or no connection within the timeout.
    pub async fn check_reachable(&self, connect_timeout: Duration) -> Result<(), RequestError> {
        let port = self.url.port_or_known_default().unwrap_or_default();
        let connect = async {
            match self.url.host() {
                Some(Host::Ipv4(v4)) => Ok(TcpStream::connect((v4, port)).await.is_ok()),
                Some(Host::Ipv6(v6)) => Ok(TcpStream::connect((v6, port)).await.is_ok()),
                Some(Host::Domain(name)) => {
                    let addresses = self.guard.resolve_host(name, port).await?;
                    Ok(TcpStream::connect(&*addresses).await.is_ok())
                }
                None => Ok(false),
            }
        };
        let no_response = |why: &dyn fmt::Display| Err(RequestError::NoResponse(format!("{self}: {why}")));
        match tokio::time::timeout(connect_timeout, connect).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => no_response(&"no connection"),
            Ok(Err(ResolveError::Blocked(blocked))) => Err(RequestError::Blocked(blocked.to_string())),
            Ok(Err(error @ ResolveError::LookupFailed(_))) => no_response(&error),
            Err(_) => no_response(&"no connection within the timeout"),
        }
    }
}

impl Destination {
    /// Posts, and follows redirects with the same body. Only 301, 302, 307 and 308 are followed, never from https to
    /// http. After a redirect to another origin, `same_origin_headers` are no longer sent, not even to the first
    /// origin.
    ///
    /// # Errors
    /// See [`RequestError`] for the cases.
    pub async fn post(&self, post: PostRequest) -> Result<ResponseSummary, RequestError> {
        let timed_out = || RequestError::NoResponse("no response within the timeout".to_owned());
        let posted = async {
            let (response, redirect_origin) = self
                .send_following_redirects(self.url_with_query(None), post.headers, post.same_origin_headers, post.body)
                .await?;
            Ok(summarize_response(response, redirect_origin).await)
        };
        tokio::time::timeout(post.timeout, posted).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// The destination's URL with `query` appended to its own query.
    pub(super) fn url_with_query(&self, query: Option<&str>) -> Url {
        let mut url = self.url.url.clone();
        if let Some(query) = query.filter(|query| !query.is_empty()) {
            let joined = match url.query() {
                Some(own) if !own.is_empty() => format!("{own}&{query}"),
                _ => query.to_owned(),
            };
            url.set_query(Some(&joined));
        }
        url
    }

    /// The last response, and the origin of its redirect if that was not followed.
    pub(super) async fn send_following_redirects(
        &self,
        mut url: Url,
        mut headers: HeaderMap,
        same_origin_headers: HeaderMap,
        body: Bytes,
    ) -> Result<(Response, Option<String>), RequestError> {
        let headers_for_other_origins = headers.clone();
        headers.extend(same_origin_headers);
        let mut redirects_left = self.max_redirects;
        loop {
            let response = self.send(Method::POST, &url, headers.clone(), body.clone()).await?;
            let Some(next) = redirect_location(&url, &response) else { return Ok((response, None)) };
            if redirects_left == 0 {
                return Ok((response, Some(display_origin(&next))));
            }
            redirects_left -= 1;
            self.check_redirect(&url, &next)?;
            if next.origin() != self.url.url.origin() {
                // From here on: the other origin must not be able to send credentials anywhere by redirecting back.
                headers.clone_from(&headers_for_other_origins);
            }
            url = next;
        }
    }

    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, RequestError> {
        // Checked for each request, because the guard's DNS resolver sees host names only, not literal addresses.
        self.url.guard.check(url).map_err(|blocked| RequestError::Blocked(blocked.to_string()))?;
        let request = self.client.request(method, url.clone()).headers(headers).body(body);
        request.send().await.map_err(|error| to_request_error(url, &error))
    }

    fn check_redirect(&self, from: &Url, to: &Url) -> Result<(), RequestError> {
        let blocked = |why: &str| {
            Err(RequestError::BlockedRedirect(format!("a redirect points to {}: {why}", display_origin(to))))
        };
        match (from.scheme(), to.scheme()) {
            ("https", "http") => blocked("redirects from https to http are never followed"),
            (_, "http" | "https") => self.url.guard.check(to).or_else(|why| blocked(&why.to_string())),
            _ => blocked("it is not an http or https URL"),
        }
    }
}

/// The target of a redirect. 303 is not one: it means that the body was accepted, and asks for a GET.
fn redirect_location(from: &Url, response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 307 | 308) {
        return None;
    }
    from.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

async fn summarize_response(response: Response, redirect_origin: Option<String>) -> ResponseSummary {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body_prefix = read_body_prefix(response).await;
    ResponseSummary { status, retry_after, redirect_origin, body_prefix }
}

/// Reads the part of the body that is kept. Bounded in time as well: an endless body must not hold the attempt.
async fn read_body_prefix(mut response: Response) -> String {
    let mut read = Vec::new();
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            read.extend_from_slice(&chunk[..chunk.len().min(BODY_PREFIX_BYTES - read.len())]);
            if read.len() == BODY_PREFIX_BYTES {
                break;
            }
        }
    };
    // After a timeout, what was read so far is kept.
    let _ = tokio::time::timeout(BODY_PREFIX_TIMEOUT, reading).await;
    String::from_utf8_lossy(&read).into_owned()
}

fn to_request_error(url: &Url, error: &reqwest::Error) -> RequestError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(blocked) = error.downcast_ref::<BlockedAddress>() {
            return RequestError::Blocked(blocked.to_string());
        }
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return RequestError::NoResponse(format!("{}: no connection: {tls}", display_origin(url)));
        }
        // `source()` of an I/O error skips the error that it wraps, which may be the one to find.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    let why = if error.is_dns() { "the name cannot be resolved" } else { super::failure_reason(error) };
    RequestError::NoResponse(format!("{}: {why}", display_origin(url)))
}

/// `https://example.com:8443`, without user name, path and query, which may hold secrets.
fn display_origin(url: &Url) -> String {
    format!("{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPort])
}

impl fmt::Display for DestinationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display_origin(&self.url))
    }
}

impl fmt::Debug for DestinationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}
