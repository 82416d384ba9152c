//! A single HTTP/1.1 connection, without pool, redirects and retries. It is for load generators, which share the machine
//! with the receiver that they measure: the client of this module takes several times the processor time for a request.
//! No guard is applied, because the operator names the URL.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, InvalidHeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

use super::{ClientBuildError, NO_CONNECTION, NO_RESPONSE, PRODUCT, TRUNCATED_RESPONSE, tls_config};

/// A body in two parts that are sent without copying them into one buffer.
pub type SplitBody = Full<Chain<Bytes, Bytes>>;

/// Why a request got no response. The text contains no URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The name cannot be resolved, or the server accepts no connection or no TLS session.
    #[error("{NO_CONNECTION}")]
    NotConnected,
    /// The server closed the connection, or sent something that is not an HTTP/1.1 response.
    #[error("{TRUNCATED_RESPONSE}")]
    Closed,
    /// No response came before the caller stopped waiting.
    #[error("{NO_RESPONSE}")]
    TimedOut,
}

/// A URL to which many requests are sent, and what they have in common.
#[derive(Clone)]
pub struct RequestTarget {
    url: Url,
    uri: Uri,
    tls: Option<TlsConnector>,
    headers: HeaderMap,
}

/// A connection with at most one request in flight. The task that sends a request also drives the connection: another
/// task for it would cost more than the request.
pub struct HttpConnection {
    sender: SendRequest<SplitBody>,
    /// Reads and writes; `None` when the connection has ended.
    driver: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl RequestTarget {
    /// The target of an `http` or `https` URL.
    ///
    /// # Errors
    /// The machine's certificates cannot be used, or the URL cannot be part of a request.
    pub fn new(url: &Url) -> Result<Self, ClientBuildError> {
        let is_tls = url.scheme() == "https";
        let tls = if is_tls { Some(TlsConnector::from(Arc::new(tls_config()?))) } else { None };
        let uri = url[Position::BeforePath..Position::AfterQuery].parse()?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, url[Position::BeforeHost..Position::AfterPort].parse()?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(PRODUCT));
        headers.extend(credentials(url)?.map(|value| (AUTHORIZATION, value)));
        Ok(Self { url: url.clone(), uri, tls, headers })
    }

    /// A POST request whose body is `start` followed by `end`.
    pub fn post(&self, start: Bytes, end: Bytes) -> Request<SplitBody> {
        let mut request = Request::new(Full::new(start.chain(end)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().clone_from(&self.headers);
        request
    }

    /// A GET request without a body.
    pub fn get(&self) -> Request<SplitBody> {
        let mut request = self.post(Bytes::new(), Bytes::new());
        *request.method_mut() = Method::GET;
        request
    }

    /// Opens a new connection.
    ///
    /// # Errors
    /// [`ConnectionError::NotConnected`].
    pub async fn connect(&self) -> Result<HttpConnection, ConnectionError> {
        self.open().await.map_err(|_| ConnectionError::NotConnected)
    }

    async fn open(&self) -> io::Result<HttpConnection> {
        let host = self.url.host().ok_or(io::ErrorKind::InvalidInput)?;
        let port = self.url.port_or_known_default().ok_or(io::ErrorKind::InvalidInput)?;
        let stream = match host {
            Host::Domain(name) => TcpStream::connect((name, port)).await?,
            Host::Ipv4(address) => TcpStream::connect((address, port)).await?,
            Host::Ipv6(address) => TcpStream::connect((address, port)).await?,
        };
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return HttpConnection::start(stream).await };
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(io::Error::other)?,
            Host::Ipv4(address) => ServerName::from(std::net::IpAddr::from(address)),
            Host::Ipv6(address) => ServerName::from(std::net::IpAddr::from(address)),
        };
        HttpConnection::start(tls.connect(name, stream).await?).await
    }
}

impl HttpConnection {
    async fn start(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        Ok(Self { sender, driver: Some(Box::pin(async { drop(connection.await) })) })
    }

    /// Whether a request can be sent. It cannot after an error, or when the server has closed the connection.
    pub async fn is_ready(&mut self) -> bool {
        let Self { sender, driver } = self;
        drive(driver, async { sender.ready().await.is_ok() }).await
    }

    /// Sends a request on a connection that [is ready](Self::is_ready), reads the whole response and returns its status. Use the connection no further when this fails or
    /// is dropped.
    ///
    /// # Errors
    /// [`ConnectionError::Closed`].
    pub async fn send(&mut self, request: Request<SplitBody>) -> Result<u16, ConnectionError> {
        let Self { sender, driver } = self;
        let exchange = async {
            let mut response = sender.send_request(request).await?;
            while let Some(frame) = response.body_mut().frame().await {
                frame?;
            }
            Ok(response.status().as_u16())
        };
        drive(driver, exchange).await.map_err(|_: hyper::Error| ConnectionError::Closed)
    }
}

/// Runs `exchange` and the driver of its connection.
async fn drive<T>(
    driver: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    exchange: impl Future<Output = T>,
) -> T {
    let mut exchange = pin!(exchange);
    poll_fn(|context: &mut Context<'_>| {
        if let Poll::Ready(result) = exchange.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
            *driver = None;
        }
        // The driver may have received what the exchange waits for.
        exchange.as_mut().poll(context)
    })
    .await
}

/// The header for the user name and password of a URL.
fn credentials(url: &Url) -> Result<Option<HeaderValue>, InvalidHeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let pair = [url.username(), url.password().unwrap_or_default()].map(percent_decoded).join(":");
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn percent_decoded(text: &str) -> String {
    // The parser of forms decodes percent signs once the separators of forms are encoded.
    let escaped = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(escaped.as_bytes()).map(|(name, _)| name.into_owned()).collect()
}
