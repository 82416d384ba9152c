//! Posting for the sake of the answer.

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;

use super::destination::{Destination, PostRequest, RequestError};

/// An answer with as much of its body as was wanted.
#[derive(Debug)]
pub struct TruncatedResponse {
    /// The status code.
    pub status: u16,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The body, or its beginning.
    pub body: Bytes,
    /// Whether there was more of it.
    pub is_truncated: bool,
}

impl Destination {
    /// Posts, follows redirects as [`Destination::post`] does, and reads the answer up to `limit` bytes. All of it within the
    /// post's time. `query` is appended to the one of the destination's URL.
    ///
    /// # Errors
    /// [`RequestError`]; also when the answer broke off.
    pub async fn post_and_read_up_to(
        &self,
        post: PostRequest,
        query: Option<&str>,
        limit: usize,
    ) -> Result<TruncatedResponse, RequestError> {
        let late = || RequestError::NoResponse("no answer in time".to_owned());
        let whole = async {
            let (mut response, _) = self
                .send_following_redirects(self.url_with_query(query), post.headers, post.same_origin_headers, post.body)
                .await?;
            let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let (status, content_type) = (response.status().as_u16(), content_type.map(str::to_owned));
            let mut read = Vec::new();
            let broke_off = |_| RequestError::NoResponse("the answer broke off".to_owned());
            while let Some(chunk) = response.chunk().await.map_err(broke_off)? {
                read.extend_from_slice(&chunk[..chunk.len().min(limit + 1 - read.len())]);
                if read.len() > limit {
                    break;
                }
            }
            let more = read.len() > limit;
            read.truncate(limit);
            Ok(TruncatedResponse { status, content_type, body: read.into(), is_truncated: more })
        };
        tokio::time::timeout(post.timeout, whole).await.unwrap_or_else(|_| Err(late()))
    }
}
