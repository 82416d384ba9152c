//! Posting for the sake of the answer.

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;

use super::destination::{Destination, Post, Undelivered};

/// An answer with as much of its body as was wanted.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The body, or its beginning.
    pub body: Bytes,
    /// Whether there was more of it.
    pub more: bool,
}

impl Destination {
    /// Posts, follows redirects as [`Destination::post`] does, and reads the answer up to `limit` bytes. All of it within the
    /// post's time. `query` is appended to the one of the destination's URL.
    ///
    /// # Errors
    /// [`Undelivered`]; also when the answer broke off.
    pub async fn ask_beginning(&self, post: Post, query: Option<&str>, limit: usize) -> Result<Reply, Undelivered> {
        let late = || Undelivered::NoAnswer("no answer in time".to_owned());
        let whole = async {
            let (mut response, _) = self.follow(self.url(query), post.headers, post.private, post.body).await?;
            let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let (status, content_type) = (response.status().as_u16(), content_type.map(str::to_owned));
            let mut read = Vec::new();
            let broke_off = |_| Undelivered::NoAnswer("the answer broke off".to_owned());
            while let Some(chunk) = response.chunk().await.map_err(broke_off)? {
                read.extend_from_slice(&chunk[..chunk.len().min(limit + 1 - read.len())]);
                if read.len() > limit {
                    break;
                }
            }
            let more = read.len() > limit;
            read.truncate(limit);
            Ok(Reply { status, content_type, body: read.into(), more })
        };
        tokio::time::timeout(post.within, whole).await.unwrap_or_else(|_| Err(late()))
    }
}
