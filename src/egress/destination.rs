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

use super::guard::{Guard, LookUp, Policy, Refused};
use super::{EgressError, builder, tls};
use crate::config::{ConfigError, EgressSettings};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Shorter than the five seconds after which common servers (uvicorn, Node) close an idle connection: one that is
/// closed while a request is written to it fails that request.
const IDLE: Duration = Duration::from_secs(4);
/// How much of an answer is read, and how long it is waited for once its head is there.
const ANSWER_BYTES: usize = 2048;
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Makes destinations under the rules of `[egress]`.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    policy: Arc<Policy>,
    tls: Arc<OnceLock<rustls::ClientConfig>>,
}

/// A URL that may be posted to as far as can be told before a name is looked up.
#[derive(Clone)]
pub struct Target {
    url: Url,
    guard: Guard,
}

/// Where to post to.
pub struct Destination {
    target: Target,
    redirects: u8,
    client: Client,
}

/// What is posted.
pub struct Post {
    /// Sent wherever redirects lead.
    pub headers: HeaderMap,
    /// Sent to the destination itself only: what gives access to it, and what proves something to it.
    pub private: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How long it may take altogether.
    pub within: Duration,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The `Retry-After` header.
    pub retry_after: Option<String>,
    /// Where a redirect that was not followed leads, without its path.
    pub leads_to: Option<String>,
    /// The beginning of the body.
    pub beginning: String,
}

/// A whole answer.
pub struct Whole {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer. The text names host and port at most: paths and queries carry tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The guard refuses the address; settings or the name's addresses may change.
    #[error("{0}")]
    Refused(String),
    /// A redirect leads where it must not.
    #[error("{0}")]
    Redirect(String),
    /// Nobody answered.
    #[error("{0}")]
    NoAnswer(String),
}

impl Egress {
    /// Under these rules.
    ///
    /// # Errors
    /// An entry of `egress.allow` that is refused.
    pub fn new(settings: &EgressSettings) -> Result<Self, ConfigError> {
        Ok(Self { policy: Arc::new(Policy::new(settings)?), tls: Arc::default() })
    }

    /// Reads a URL from the settings.
    ///
    /// # Errors
    /// Why it cannot be posted to, without its path.
    pub fn target(&self, text: &str) -> Result<Target, String> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else {
            return Err("it is no http or https URL; expected such as https://example.com/hook".to_owned());
        };
        let guard = Guard::new(&self.policy, &url);
        guard.check(&url).map_err(|refused| refused.to_string())?;
        Ok(Target { url, guard })
    }

    /// A destination with connections of its own, that follows so many redirects.
    ///
    /// # Errors
    /// [`EgressError`].
    pub fn destination(&self, target: Target, redirects: u8) -> Result<Destination, EgressError> {
        // Reading the machine's certificates takes a while: once for all destinations.
        let tls = if let Some(made) = self.tls.get() {
            made.clone()
        } else {
            let made = tls()?;
            self.tls.get_or_init(|| made).clone()
        };
        let client = builder(tls)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .dns_resolver(Arc::new(target.guard.clone()))
            .build()?;
        Ok(Destination { target, redirects, client })
    }
}

impl Target {
    /// Makes a connection and sends nothing: whether posting could work.
    ///
    /// # Errors
    /// [`Undelivered`].
    pub async fn reach(&self, within: Duration) -> Result<(), Undelivered> {
        let port = self.url.port_or_known_default().unwrap_or_default();
        let connect = async {
            match self.url.host() {
                Some(Host::Ipv4(v4)) => Ok(TcpStream::connect((v4, port)).await.is_ok()),
                Some(Host::Ipv6(v6)) => Ok(TcpStream::connect((v6, port)).await.is_ok()),
                Some(Host::Domain(name)) => {
                    let addresses = self.guard.look_up(name, port).await?;
                    Ok(TcpStream::connect(&*addresses).await.is_ok())
                }
                None => Ok(false),
            }
        };
        let no_answer = |why: &dyn fmt::Display| Err(Undelivered::NoAnswer(format!("{self}: {why}")));
        match tokio::time::timeout(within, connect).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => no_answer(&"no connection"),
            Ok(Err(LookUp::Refused(refused))) => Err(Undelivered::Refused(refused.to_string())),
            Ok(Err(unknown @ LookUp::Unknown(_))) => no_answer(&unknown),
            Err(_) => no_answer(&"no connection in time"),
        }
    }
}

impl Destination {
    /// Posts, and follows redirects with the same body. Only 301, 302, 307 and 308 are followed, never from https to
    /// http; to another origin the private headers are not taken along, and not from there on either.
    ///
    /// # Errors
    /// [`Undelivered`].
    pub async fn post(&self, post: Post) -> Result<Answer, Undelivered> {
        let late = || Undelivered::NoAnswer("no answer in time".to_owned());
        let posted = async {
            let (response, leads_to) = self.follow(self.url(None), post.headers, post.private, post.body).await?;
            Ok(answer(response, leads_to).await)
        };
        tokio::time::timeout(post.within, posted).await.unwrap_or_else(|_| Err(late()))
    }

    /// Posts and reads the whole answer, of at most so many bytes. Redirects are not followed.
    ///
    /// # Errors
    /// [`Undelivered`], also for an answer that is longer or breaks off.
    pub async fn ask(&self, post: Post, limit_bytes: usize) -> Result<Whole, Undelivered> {
        let Post { mut headers, private, body, within } = post;
        headers.extend(private);
        let failed = |why: &str| Undelivered::NoAnswer(format!("{self}: {why}"));
        let asked = async {
            let mut response = self.send(&self.target.url, headers, body).await?;
            let (status, mut read) = (response.status().as_u16(), BytesMut::new());
            while let Some(chunk) = response.chunk().await.map_err(|error| failed(super::reason(&error)))? {
                if read.len() + chunk.len() > limit_bytes {
                    return Err(failed(&format!("the answer is longer than {limit_bytes} bytes")));
                }
                read.extend_from_slice(&chunk);
            }
            Ok(Whole { status, body: read.freeze() })
        };
        tokio::time::timeout(within, asked).await.unwrap_or_else(|_| Err(failed("no answer in time")))
    }

    /// Its URL, with more for its query.
    pub(super) fn url(&self, more: Option<&str>) -> Url {
        let mut url = self.target.url.clone();
        if let Some(more) = more.filter(|more| !more.is_empty()) {
            let own = url.query().filter(|own| !own.is_empty());
            url.set_query(Some(&own.map_or_else(|| more.to_owned(), |own| format!("{own}&{more}"))));
        }
        url
    }

    /// The last answer, and where it leads if that is not followed.
    pub(super) async fn follow(
        &self,
        mut url: Url,
        mut headers: HeaderMap,
        private: HeaderMap,
        body: Bytes,
    ) -> Result<(Response, Option<String>), Undelivered> {
        let kept = headers.clone();
        headers.extend(private);
        let mut left = self.redirects;
        loop {
            let response = self.send(&url, headers.clone(), body.clone()).await?;
            let Some(next) = location(&url, &response) else { return Ok((response, None)) };
            if left == 0 {
                return Ok((response, Some(shown(&next))));
            }
            left -= 1;
            self.check_hop(&url, &next)?;
            if next.origin() != self.target.url.origin() {
                headers.clone_from(&kept);
            }
            url = next;
        }
    }

    async fn send(&self, url: &Url, headers: HeaderMap, body: Bytes) -> Result<Response, Undelivered> {
        // Checked at each hop, although the settings' own URL was: no resolver is asked about an address.
        self.target.guard.check(url).map_err(|refused| Undelivered::Refused(refused.to_string()))?;
        let request = self.client.post(url.clone()).headers(headers).body(body);
        request.send().await.map_err(|error| undelivered(url, &error))
    }

    fn check_hop(&self, from: &Url, to: &Url) -> Result<(), Undelivered> {
        let refused = |why: &str| Err(Undelivered::Redirect(format!("a redirect leads to {}: {why}", shown(to))));
        match (from.scheme(), to.scheme()) {
            ("https", "http") => refused("from https to http, which is never followed"),
            (_, "http" | "https") => self.target.guard.check(to).or_else(|why| refused(&why.to_string())),
            _ => refused("no http or https URL"),
        }
    }
}

/// Where a redirect leads. 303 is none: it says that the body was taken, and asks for a GET.
fn location(from: &Url, response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 307 | 308) {
        return None;
    }
    from.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

async fn answer(response: Response, leads_to: Option<String>) -> Answer {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, retry_after) = (response.status().as_u16(), text(RETRY_AFTER));
    Answer { status, retry_after, leads_to, beginning: beginning(response).await }
}

/// Reads no further than what is kept, and waits for it no longer than it deserves.
async fn beginning(mut response: Response) -> String {
    let mut read = Vec::new();
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            read.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES - read.len())]);
            if read.len() == ANSWER_BYTES {
                break;
            }
        }
    };
    // What was read so far is kept either way.
    let _ = tokio::time::timeout(ANSWER_WAIT, reading).await;
    String::from_utf8_lossy(&read).into_owned()
}

fn undelivered(url: &Url, error: &reqwest::Error) -> Undelivered {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Undelivered::Refused(refused.to_string());
        }
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Undelivered::NoAnswer(format!("{}: no connection: {tls}", shown(url)));
        }
        // What an I/O error wraps is not its source: its source is that of what it wraps.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    let why = if error.is_dns() { "the name cannot be looked up" } else { super::reason(error) };
    Undelivered::NoAnswer(format!("{}: {why}", shown(url)))
}

/// `https://example.com:8443`, without a user's name, path and query.
fn shown(url: &Url) -> String {
    format!("{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPort])
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.url))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.target, f)
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}
