//! Requests whose whole response is read.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response};
use url::Url;

use super::destination::{Destination, PostRequest, RequestError};

/// A request to a path below the destination's URL.
pub struct ApiRequest<'a> {
    pub method: Method,
    /// Begins with a slash; appended to the destination's URL.
    pub path_and_query: &'a str,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Timeout for the whole exchange.
    pub timeout: Duration,
}

/// A response with its whole body.
pub struct FullResponse {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl FullResponse {
    /// The value of the `Content-Type` header.
    pub fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE)?.to_str().ok()
    }
}

impl Destination {
    /// Posts and reads the whole response of at most `limit_bytes`. Redirects are not followed.
    ///
    /// # Errors
    /// See [`RequestError`]; also a response that is longer or incomplete.
    pub async fn post_and_read_all(&self, post: PostRequest, limit_bytes: usize) -> Result<FullResponse, RequestError> {
        let PostRequest { mut headers, same_origin_headers, body, timeout } = post;
        headers.extend(same_origin_headers);
        let exchange = self.send(Method::POST, &self.url.url, headers, body);
        self.read_all(exchange, timeout, limit_bytes).await
    }

    /// Sends a request to a path below the destination's URL and reads the whole response of at most `limit_bytes`.
    /// Redirects are not followed.
    ///
    /// # Errors
    /// See [`RequestError`]; also a response that is longer or incomplete.
    pub async fn request(&self, request: ApiRequest<'_>, limit_bytes: usize) -> Result<FullResponse, RequestError> {
        let ApiRequest { method, path_and_query, headers, body, timeout } = request;
        let text = format!("{}{path_and_query}", self.url.url.as_str().trim_end_matches('/'));
        // Parsed again, because the path is part of it, and a path must not lead to another host.
        let url = Url::parse(&text).ok().filter(|url| url.origin() == self.url.url.origin());
        let Some(url) = url else {
            return Err(RequestError::NoResponse(format!("{self}: not a path that can be requested")));
        };
        self.read_all(self.send(method, &url, headers, body), timeout, limit_bytes).await
    }

    async fn read_all(
        &self,
        exchange: impl Future<Output = Result<Response, RequestError>>,
        timeout: Duration,
        limit_bytes: usize,
    ) -> Result<FullResponse, RequestError> {
        let failed = |why: &str| RequestError::NoResponse(format!("{self}: {why}"));
        let exchange = async {
            let mut response = exchange.await?;
            let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
            let mut read = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| failed(super::failure_reason(&error)))? {
                if read.len() + chunk.len() > limit_bytes {
                    return Err(failed(&format!("the response is longer than {limit_bytes} bytes")));
                }
                read.extend_from_slice(&chunk);
            }
            Ok(FullResponse { status, headers, body: read.freeze() })
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err(failed("no response within the timeout")))
    }
}
