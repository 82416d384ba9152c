//! What one API key may do: Retell publishes no rate limits, so requests are few enough to stay below any.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::breaker::ApiBreaker;
use super::error::RetellErrorKind;
use crate::base::clock::to_unsigned_ms;
use crate::base::token_bucket::TokenBucket;

const REQUESTS_PER_SECOND: u32 = 5;
const MAX_CONCURRENT: usize = 4;
/// Time after which the bucket has another token.
const TOKEN_INTERVAL: Duration = Duration::from_millis(1_000 / REQUESTS_PER_SECOND as u64);

pub(super) struct KeyLimits {
    started: Instant,
    /// Holds a single token: a burst followed by refilled tokens would be more requests within one second.
    bucket: Mutex<TokenBucket>,
    concurrent: Semaphore,
    breaker: Mutex<ApiBreaker>,
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            bucket: Mutex::new(TokenBucket::new(1, REQUESTS_PER_SECOND, 0)),
            concurrent: Semaphore::new(MAX_CONCURRENT),
            breaker: Mutex::default(),
        }
    }
}

impl KeyLimits {
    /// Waits until a request may be sent; the permit is held until its response is there. The wait is bounded, because the
    /// requests before it end by their time-outs.
    ///
    /// # Errors
    /// [`RetellErrorKind::Paused`] while the circuit breaker is open.
    pub(super) async fn acquire(&self) -> Result<SemaphorePermit<'_>, RetellErrorKind> {
        let closed = |_| RetellErrorKind::NoResponse("the client is closed".to_owned());
        let permit = self.concurrent.acquire().await.map_err(closed)?;
        let paused = |left_ms| RetellErrorKind::Paused(Duration::from_millis(left_ms));
        lock(&self.breaker).check(self.now_ms()).map_err(paused)?;
        while !lock(&self.bucket).try_acquire(self.now_ms()) {
            tokio::time::sleep(TOKEN_INTERVAL / 4).await;
        }
        Ok(permit)
    }

    pub(super) fn record(&self, has_succeeded: bool) {
        lock(&self.breaker).record(has_succeeded, self.now_ms());
    }

    fn now_ms(&self) -> u64 {
        to_unsigned_ms(self.started.elapsed())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_requests_per_second_are_sent() {
        let limits = KeyLimits::default();
        for _ in 0..11 {
            drop(limits.acquire().await.unwrap());
        }
        assert!(
            limits.started.elapsed() >= Duration::from_secs(2),
            "the first one at once, and ten more in two seconds"
        );
    }
}
