//! Circuit breaker of one API key: while Retell or the network is down, requests fail at once instead of waiting for their
//! time-outs one by one.

/// Failed requests in a row that open the breaker.
const MAX_FAILURES: u32 = 5;
/// How long it stays open before one request is tried.
const OPEN_MS: u64 = 30_000;

/// The caller passes the time, in milliseconds of any monotonic clock.
#[derive(Debug, Default)]
pub(super) struct ApiBreaker {
    failures: u32,
    open_until_ms: Option<u64>,
}

impl ApiBreaker {
    /// Whether a request may be sent.
    ///
    /// # Errors
    /// The time to wait, in milliseconds.
    pub(super) fn check(&mut self, now_ms: u64) -> Result<(), u64> {
        match self.open_until_ms {
            Some(until) if now_ms < until => Err(until - now_ms),
            Some(_) => {
                // One request tries; the others wait for its result, or for the same time again.
                self.open_until_ms = Some(now_ms + OPEN_MS);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Records whether a request got a response that shows that Retell works.
    pub(super) fn record(&mut self, has_succeeded: bool, now_ms: u64) {
        if has_succeeded {
            *self = Self::default();
            return;
        }
        self.failures += 1;
        if self.failures >= MAX_FAILURES {
            self.open_until_ms = Some(now_ms + OPEN_MS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_tries_one_request_at_a_time() {
        let mut breaker = ApiBreaker::default();
        for _ in 1..MAX_FAILURES {
            breaker.record(false, 0);
        }
        breaker.record(true, 0);
        for _ in 0..MAX_FAILURES {
            assert_eq!(breaker.check(1_000), Ok(()));
            breaker.record(false, 1_000);
        }
        assert_eq!(breaker.check(2_000), Err(29_000));
        assert_eq!(breaker.check(31_000), Ok(()), "one request is tried");
        assert_eq!(breaker.check(31_000), Err(30_000), "and no other meanwhile");
        breaker.record(false, 32_000);
        assert_eq!(breaker.check(33_000), Err(29_000));
        assert_eq!(breaker.check(62_000), Ok(()));
        breaker.record(true, 62_000);
        assert_eq!(breaker.check(62_000), Ok(()));
    }
}
