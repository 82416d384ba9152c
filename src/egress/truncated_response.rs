//! Requests whose response body is needed, up to a limit.

use bytes::Bytes;

use super::destination::{Destination, PostRequest, RequestError, response_content_type};

/// A response with its body up to a limit.
#[derive(Debug)]
pub struct TruncatedResponse {
    /// The HTTP status code of the response.
    pub status: u16,
    /// The value of the `Content-Type` header.
    pub content_type: Option<String>,
    /// The body, or its first bytes up to the limit.
    pub body: Bytes,
    /// Whether the body was longer than the limit.
    pub is_truncated: bool,
}

impl Destination {
    /// Posts, follows redirects as [`Destination::post`] does, and reads the response up to `limit` bytes, all within
    /// the request's timeout. `query` is appended to the query of the destination's URL.
    ///
    /// # Errors
    /// See [`RequestError`]; also an incomplete response.
    pub async fn post_and_read_up_to(
        &self,
        post: PostRequest,
        query: Option<&str>,
        limit: usize,
    ) -> Result<TruncatedResponse, RequestError> {
        let timed_out = || RequestError::NoResponse("no response within the timeout".to_owned());
        let exchange = async {
            let (mut response, _) = self
                .send_following_redirects(self.url_with_query(query), post.headers, post.same_origin_headers, post.body)
                .await?;
            let status = response.status().as_u16();
            let content_type = response_content_type(&response);
            let mut read = Vec::new();
            let incomplete = |_| RequestError::NoResponse("the response is incomplete".to_owned());
            while let Some(chunk) = response.chunk().await.map_err(incomplete)? {
                // One byte more than the limit shows that the response is longer.
                read.extend_from_slice(&chunk[..chunk.len().min(limit + 1 - read.len())]);
                if read.len() > limit {
                    break;
                }
            }
            let is_truncated = read.len() > limit;
            read.truncate(limit);
            Ok(TruncatedResponse { status, content_type, body: read.into(), is_truncated })
        };
        tokio::time::timeout(post.timeout, exchange).await.unwrap_or_else(|_| Err(timed_out()))
    }
}
