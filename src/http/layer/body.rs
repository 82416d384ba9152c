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
/// Room that is taken before reading: the connection reads up to this much at once.
const READ_BYTES: usize = 64 * 1024;

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
            return self.read_frames(body, None).await;
        };
        let mut share = timeout(BUDGET_WAIT, budget.acquire(client_ip)).await.map_err(|_| ApiError::NoRoom)?;
        let give_way = share.must_give_way();
        let bytes = tokio::select! {
            // Reading comes first: most bodies have arrived, and are not registered for anything then.
            biased;
            bytes = self.read_frames(body, Some(&mut share)) => bytes?,
            () = give_way => return Err(ApiError::NoRoom),
        };
        share.shrink_to(bytes.len().max(1));
        Ok(share.attach(bytes))
    }

    async fn read_frames(&self, mut body: Body, mut share: Option<&mut BudgetShare>) -> Result<Bytes, ApiError> {
        let deadline = Instant::now() + self.timeout;
        let declared = body.size_hint().exact().map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        let mut collected = BodyBuffer::Empty;
        // A body that is read after the response does not end with `None` in hyper, only with its length.
        while !body.is_end_stream() {
            if let Some(share) = share.as_deref_mut() {
                let rest = declared.map_or(READ_BYTES, |size| size.saturating_sub(collected.len()).min(READ_BYTES));
                let expected = declared.unwrap_or(0).max(collected.len() + rest);
                grow_share(share, collected.len() + rest, expected).await?;
            }
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| ApiError::BodyTimeout)?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|_| ApiError::BodyCutOff)?;
            let Ok(chunk) = frame.into_data() else { continue };
            if collected.len() + chunk.len() > self.limit_bytes {
                return Err(ApiError::BodyTooLarge);
            }
            if let Some(share) = share.as_deref_mut() {
                let received = collected.len() + chunk.len();
                grow_share(share, received, received).await?;
            }
            // The declared length only sizes the buffer, and the operating system provides memory when it is written to.
            collected.push(chunk, declared.unwrap_or(0).min(self.limit_bytes));
        }
        Ok(collected.into_bytes())
    }
}

/// Waits until the share holds `bytes`; `expected` is the size of the whole body as far as it is known. Requests that
/// each hold a part of the budget and wait for more could block one another indefinitely. Giving up releases what they
/// hold.
async fn grow_share(share: &mut BudgetShare, bytes: usize, expected: usize) -> Result<(), ApiError> {
    let missing = bytes.saturating_sub(share.held_bytes());
    if missing == 0 || share.try_acquire_more(missing) {
        return Ok(());
    }
    let wait = if expected > SMALL_BODY_BYTES { LARGE_BODY_BUDGET_WAIT } else { BUDGET_WAIT };
    timeout(wait, share.acquire_more(missing)).await.map_err(|_| ApiError::NoRoom)
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
        assert!(matches!(large, Err(ApiError::NoRoom)));
    }
}
