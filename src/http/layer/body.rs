//! Reads request bodies within a size limit, a time limit and the in-flight budget.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::http::ApiError;
use crate::http::budget::{BudgetShare, InflightBudget};

/// How long a request waits for the in-flight budget before it is answered 503.
const BUDGET_WAIT: Duration = Duration::from_secs(2);
/// A body larger than [`SMALL_BODY_BYTES`] gives up sooner. The semaphore is fair, so a large request at its front
/// blocks the small ones behind it, which would otherwise time out together with it.
const LARGE_BODY_BUDGET_WAIT: Duration = Duration::from_secs(1);
const SMALL_BODY_BYTES: usize = 64 * 1024;

/// The limits for reading a body.
#[derive(Clone, Debug)]
pub(super) struct BodyLimits {
    pub(super) limit_bytes: usize,
    pub(super) timeout: Duration,
    pub(super) budget: Option<InflightBudget>,
}

impl BodyLimits {
    /// Reads the whole body. Waits for the budget first; the bytes count against it until they are dropped.
    pub(super) async fn read(&self, body: Body, client_ip: Option<IpAddr>) -> Result<Bytes, ApiError> {
        let Some(budget) = &self.budget else {
            return self.read_frames(body, None).await.map(|(bytes, _)| bytes);
        };
        let share = timeout(BUDGET_WAIT, budget.acquire(client_ip)).await.map_err(|_| ApiError::Unavailable)?;
        let (bytes, share) = self.read_frames(body, Some(share)).await?;
        Ok(match share {
            Some(share) => share.attach(bytes),
            None => bytes,
        })
    }

    async fn read_frames(
        &self,
        mut body: Body,
        mut share: Option<BudgetShare>,
    ) -> Result<(Bytes, Option<BudgetShare>), ApiError> {
        let deadline = Instant::now() + self.timeout;
        // The declared length reserves nothing in the budget. It only sizes the buffer, and the operating system
        // provides memory when it is written to.
        let declared = usize::try_from(body.size_hint().exact().unwrap_or(0)).unwrap_or(0);
        let mut collected = BodyBuffer::Empty;
        // A body that is read after the response does not end with `None` in hyper, only with its length.
        while !body.is_end_stream() {
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| ApiError::BodyTimeout)?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|_| ApiError::BadRequest("The body was cut off"))?;
            let Ok(chunk) = frame.into_data() else { continue };
            if collected.len() + chunk.len() > self.limit_bytes {
                return Err(ApiError::BodyTooLarge);
            }
            if let Some(share) = &mut share {
                // Requests that each hold a part of the budget and wait for more could block one another indefinitely.
                // Giving up releases what they hold.
                let wait =
                    if collected.len() + chunk.len() > SMALL_BODY_BYTES { LARGE_BODY_BUDGET_WAIT } else { BUDGET_WAIT };
                timeout(wait, share.acquire_more(chunk.len())).await.map_err(|_| ApiError::Unavailable)?;
            }
            collected.push(chunk, declared.min(self.limit_bytes));
        }
        Ok((collected.into_bytes(), share))
    }
}

/// The bytes read so far. Most bodies arrive in a single chunk, which is not copied.
#[derive(Default)]
enum BodyBuffer {
    #[default]
    Empty,
    Single(Bytes),
    Joined(BytesMut),
}

impl BodyBuffer {
    fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Single(bytes) => bytes.len(),
            Self::Joined(bytes) => bytes.len(),
        }
    }

    /// Appends a chunk. `declared` is the declared length of the whole body, or 0: with it the buffer need not grow.
    fn push(&mut self, chunk: Bytes, declared: usize) {
        *self = match std::mem::take(self) {
            Self::Empty => Self::Single(chunk),
            Self::Single(first) => {
                let mut all = BytesMut::with_capacity(declared.max((first.len() + chunk.len()) * 2));
                all.extend_from_slice(&first);
                all.extend_from_slice(&chunk);
                Self::Joined(all)
            }
            Self::Joined(mut all) => {
                all.extend_from_slice(&chunk);
                Self::Joined(all)
            }
        };
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::Single(bytes) => bytes,
            Self::Joined(bytes) => bytes.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_large_body_gives_up_before_the_small_ones_behind_it() {
        let budget = InflightBudget::new(400_000);
        let mut held = budget.acquire(None).await;
        held.acquire_more(150_000).await;
        let limits = BodyLimits { limit_bytes: 1_000_000, timeout: Duration::from_secs(10), budget: Some(budget) };
        let large = limits.read(Body::from(vec![b' '; 100_000]), None);
        // The small one comes second and is polled first: with the same time limit it would give up together with the
        // large one.
        let small = async {
            tokio::task::yield_now().await;
            limits.read(Body::from("small"), None).await
        };
        let (small, large) = tokio::join!(biased; small, large);
        assert_eq!(small.unwrap(), "small");
        assert!(matches!(large, Err(ApiError::Unavailable)));
    }
}
