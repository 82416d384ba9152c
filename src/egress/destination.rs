//! One address that is posted to: with a pool of connections, the guard, and redirects followed by hand.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response};
use tokio::net::TcpStream;
use url::{Host, Position, Url};

use super::guard::{BlockedAddress, EgressPolicy, ResolveError, SsrfGuard};
use super::{ClientBuildError, client_builder, tls_config};
use crate::config::{ConfigError, EgressSettings};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the five seconds after which common servers (uvicorn, Node) close an idle connection: one that is
/// closed while a request is written to it fails that request.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How much of an answer is read, and how long it is waited for once its head is there.
const BODY_PREFIX_BYTES: usize = 2048;
const BODY_PREFIX_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes destinations under the rules of `[egress]`.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    policy: Arc<EgressPolicy>,
    tls: Arc<OnceLock<rustls::ClientConfig>>,
}

/// A URL that may be posted to as far as can be told before a name is looked up.
#[derive(Clone)]
pub struct DestinationUrl {
    url: Url,
    guard: SsrfGuard,
}

/// Where to post to.
pub struct Destination {
    url: DestinationUrl,
    max_redirects: u8,
    client: Client,
}

/// What is posted.
pub struct PostRequest {
    /// Sent wherever redirects lead.
    pub headers: HeaderMap,
    /// Sent to the destination itself only: what gives access to it, and what proves something to it.
    pub same_origin_headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How long it may take altogether.
    pub timeout: Duration,
}

/// What came back.
#[derive(Debug)]
pub struct ResponseSummary {
    /// The status code.
    pub status: u16,
    /// The `DeliveriesRetryArgs-After` header.
    pub retry_after: Option<String>,
    /// Where a redirect that was not followed leads, without its path.
    pub redirect_origin: Option<String>,
    /// The beginning of the body.
    pub body_prefix: String,
}

/// A whole answer.
pub struct FullResponse {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer. The text names host and port at most: paths and queries carry tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The guard refuses the address; settings or the name's addresses may change.
    #[error("{0}")]
    Blocked(String),
    /// A redirect leads where it must not.
    #[error("{0}")]
    BlockedRedirect(String),
    /// Nobody answered.
    #[error("{0}")]
    NoResponse(String),
}

impl Egress {
    /// Under these rules.
    ///
    /// # Errors
    /// An entry of `egress.allowlist` that is refused.
    pub fn new(settings: &EgressSettings) -> Result<Self, ConfigError> {
        Ok(Self { policy: Arc::new(EgressPolicy::new(settings)?), tls: Arc::default() })
    }

    /// Reads a URL from the settings.
    ///
    /// # Errors
    /// Why it cannot be posted to, without its path.
    pub fn parse_url(&self, text: &str) -> Result<DestinationUrl, String> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else {
            return Err("it is no http or https URL; expected such as https://example.com/hook".to_owned());
        };
        let guard = SsrfGuard::new(&self.policy, &url);
        guard.check(&url).map_err(|refused| refused.to_string())?;
        Ok(DestinationUrl { url, guard })
    }

    /// A destination with connections of its own, that follows so many redirects.
    ///
    /// # Errors
    /// [`ClientBuildError`].
    pub fn destination(&self, target: DestinationUrl, redirects: u8) -> Result<Destination, ClientBuildError> {
        // Reading the machine's certificates takes a while: once for all destinations.
        let tls = if let Some(made) = self.tls.get() {
            made.clone()
        } else {
            let made = tls_config()?;
            self.tls.get_or_init(|| made).clone()
        };
        let client = client_builder(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .dns_resolver(Arc::new(target.guard.clone()))
            .build()?;
        Ok(Destination { url: target, max_redirects: redirects, client })
    }
}

impl DestinationUrl {
    /// Makes a connection and sends nothing: whether posting could work.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn check_reachable(&self, within: Duration) -> Result<(), RequestError> {
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
        let no_answer = |why: &dyn fmt::Display| Err(RequestError::NoResponse(format!("{self}: {why}")));
        match tokio::time::timeout(within, connect).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => no_answer(&"no connection"),
            Ok(Err(ResolveError::Blocked(refused))) => Err(RequestError::Blocked(refused.to_string())),
            Ok(Err(unknown @ ResolveError::LookupFailed(_))) => no_answer(&unknown),
            Err(_) => no_answer(&"no connection in time"),
        }
    }
}

impl Destination {
    /// Posts, and follows redirects with the same body. Only 301, 302, 307 and 308 are followed, never from https to
    /// http; to another origin the private headers are not taken along, and not from there on either.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn post(&self, post: PostRequest) -> Result<ResponseSummary, RequestError> {
        let late = || RequestError::NoResponse("no answer in time".to_owned());
        let posted = async {
            let (response, leads_to) = self
                .send_following_redirects(self.url_with_query(None), post.headers, post.same_origin_headers, post.body)
                .await?;
            Ok(summarize_response(response, leads_to).await)
        };
        tokio::time::timeout(post.timeout, posted).await.unwrap_or_else(|_| Err(late()))
    }

    /// Posts and reads the whole answer, of at most so many bytes. Redirects are not followed.
    ///
    /// # Errors
    /// [`RequestError`], also for an answer that is longer or breaks off.
    pub async fn post_and_read_all(&self, post: PostRequest, limit_bytes: usize) -> Result<FullResponse, RequestError> {
        let PostRequest { mut headers, same_origin_headers: private, body, timeout: within } = post;
        headers.extend(private);
        let failed = |why: &str| RequestError::NoResponse(format!("{self}: {why}"));
        let asked = async {
            let mut response = self.send(&self.url.url, headers, body).await?;
            let (status, mut read) = (response.status().as_u16(), BytesMut::new());
            while let Some(chunk) = response.chunk().await.map_err(|error| failed(super::failure_reason(&error)))? {
                if read.len() + chunk.len() > limit_bytes {
                    return Err(failed(&format!("the answer is longer than {limit_bytes} bytes")));
                }
                read.extend_from_slice(&chunk);
            }
            Ok(FullResponse { status, body: read.freeze() })
        };
        tokio::time::timeout(within, asked).await.unwrap_or_else(|_| Err(failed("no answer in time")))
    }

    /// Its URL, with more for its query.
    pub(super) fn url_with_query(&self, more: Option<&str>) -> Url {
        let mut url = self.url.url.clone();
        if let Some(more) = more.filter(|more| !more.is_empty()) {
            let own = url.query().filter(|own| !own.is_empty());
            url.set_query(Some(&own.map_or_else(|| more.to_owned(), |own| format!("{own}&{more}"))));
        }
        url
    }

    /// The last answer, and where it leads if that is not followed.
    pub(super) async fn send_following_redirects(
        &self,
        mut url: Url,
        mut headers: HeaderMap,
        private: HeaderMap,
        body: Bytes,
    ) -> Result<(Response, Option<String>), RequestError> {
        let kept = headers.clone();
        headers.extend(private);
        let mut left = self.max_redirects;
        loop {
            let response = self.send(&url, headers.clone(), body.clone()).await?;
            let Some(next) = redirect_location(&url, &response) else { return Ok((response, None)) };
            if left == 0 {
                return Ok((response, Some(display_origin(&next))));
            }
            left -= 1;
            self.check_redirect(&url, &next)?;
            if next.origin() != self.url.url.origin() {
                headers.clone_from(&kept);
            }
            url = next;
        }
    }

    async fn send(&self, url: &Url, headers: HeaderMap, body: Bytes) -> Result<Response, RequestError> {
        // Checked at each hop, although the settings' own URL was: no resolver is asked about an address.
        self.url.guard.check(url).map_err(|refused| RequestError::Blocked(refused.to_string()))?;
        let request = self.client.post(url.clone()).headers(headers).body(body);
        request.send().await.map_err(|error| to_request_error(url, &error))
    }

    fn check_redirect(&self, from: &Url, to: &Url) -> Result<(), RequestError> {
        let refused = |why: &str| {
            Err(RequestError::BlockedRedirect(format!("a redirect leads to {}: {why}", display_origin(to))))
        };
        match (from.scheme(), to.scheme()) {
            ("https", "http") => refused("from https to http, which is never followed"),
            (_, "http" | "https") => self.url.guard.check(to).or_else(|why| refused(&why.to_string())),
            _ => refused("no http or https URL"),
        }
    }
}

/// Where a redirect leads. 303 is none: it says that the body was taken, and asks for a GET.
fn redirect_location(from: &Url, response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 307 | 308) {
        return None;
    }
    from.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

async fn summarize_response(response: Response, leads_to: Option<String>) -> ResponseSummary {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, retry_after) = (response.status().as_u16(), text(RETRY_AFTER));
    ResponseSummary { status, retry_after, redirect_origin: leads_to, body_prefix: read_body_prefix(response).await }
}

/// Reads no further than what is kept, and waits for it no longer than it deserves.
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
    // What was read so far is kept either way.
    let _ = tokio::time::timeout(BODY_PREFIX_TIMEOUT, reading).await;
    String::from_utf8_lossy(&read).into_owned()
}

fn to_request_error(url: &Url, error: &reqwest::Error) -> RequestError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<BlockedAddress>() {
            return RequestError::Blocked(refused.to_string());
        }
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return RequestError::NoResponse(format!("{}: no connection: {tls}", display_origin(url)));
        }
        // What an I/O error wraps is not its source: its source is that of what it wraps.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    let why = if error.is_dns() { "the name cannot be looked up" } else { super::failure_reason(error) };
    RequestError::NoResponse(format!("{}: {why}", display_origin(url)))
}

/// `https://example.com:8443`, without a user's name, path and query.
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
