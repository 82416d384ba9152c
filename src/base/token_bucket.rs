//! Token buckets that limit the work for senders whose requests fail. The caller passes the time, in milliseconds of
//! any monotonic clock.

use std::collections::HashMap;
use std::hash::Hash;

/// A bucket that holds up to `burst` tokens and gains `per_second` tokens per second. Each action takes one.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    burst: u32,
    per_second: u32,
    /// Thousandths of a token, so that a fraction of a second adds a fraction of a token.
    millitokens: u64,
    refilled_at_ms: u64,
}

impl TokenBucket {
    #[must_use]
    pub(crate) fn new(burst: u32, per_second: u32, now_ms: u64) -> Self {
        Self { burst, per_second, millitokens: u64::from(burst) * 1000, refilled_at_ms: now_ms }
    }

    /// Takes a token; `false` when the bucket is empty. A time before the last one adds no tokens.
    pub(crate) fn try_acquire(&mut self, now_ms: u64) -> bool {
        self.refill(now_ms);
        if self.millitokens < 1000 {
            return false;
        }
        self.millitokens -= 1000;
        true
    }

    fn is_full(&mut self, now_ms: u64) -> bool {
        self.refill(now_ms);
        self.millitokens == u64::from(self.burst) * 1000
    }

    fn refill(&mut self, now_ms: u64) {
        // Tokens per second times milliseconds are thousandths of a token.
        let added = now_ms.saturating_sub(self.refilled_at_ms).saturating_mul(u64::from(self.per_second));
        self.millitokens = self.millitokens.saturating_add(added).min(u64::from(self.burst) * 1000);
        self.refilled_at_ms = now_ms;
    }
}

/// One bucket per sender and one for all senders together. At most `max_senders` have a bucket: when the limit is
/// reached, senders whose bucket is full again are removed. While no bucket is full, new senders use only the shared
/// bucket.
#[derive(Debug)]
pub(crate) struct SenderRateLimiter<K> {
    sender_template: TokenBucket,
    shared_bucket: TokenBucket,
    max_senders: usize,
    by_sender: HashMap<K, TokenBucket>,
}

impl<K: Eq + Hash> SenderRateLimiter<K> {
    /// Every sender gets a copy of `sender_template`; `shared_bucket` limits all senders together.
    #[must_use]
    pub(crate) fn new(sender_template: TokenBucket, shared_bucket: TokenBucket, max_senders: usize) -> Self {
        Self { sender_template, shared_bucket, max_senders, by_sender: HashMap::new() }
    }

    /// Takes one token from the sender's bucket and one from the shared bucket; `false` when either is empty. The
    /// sender's bucket is checked first, so that a sender without tokens does not use up the shared ones.
    pub(crate) fn try_acquire(&mut self, sender: K, now_ms: u64) -> bool {
        if self.by_sender.len() >= self.max_senders && !self.by_sender.contains_key(&sender) {
            self.by_sender.retain(|_, bucket| !bucket.is_full(now_ms));
        }
        let is_known = self.by_sender.contains_key(&sender);
        if is_known || self.by_sender.len() < self.max_senders {
            let sender_bucket = self.by_sender.entry(sender).or_insert_with(|| self.sender_template.clone());
            if !sender_bucket.try_acquire(now_ms) {
                return false;
            }
        }
        self.shared_bucket.try_acquire(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquire_all(bucket: &mut TokenBucket, now_ms: u64) -> usize {
        (0..1000).take_while(|_| bucket.try_acquire(now_ms)).count()
    }

    #[test]
    fn a_burst_is_followed_by_the_rate_per_second() {
        let mut bucket = TokenBucket::new(20, 2, 5_000);
        assert_eq!(acquire_all(&mut bucket, 5_000), 20);
        assert_eq!(acquire_all(&mut bucket, 5_499), 0);
        assert_eq!(acquire_all(&mut bucket, 5_500), 1);
        assert_eq!(acquire_all(&mut bucket, 7_500), 4);
        assert_eq!(acquire_all(&mut bucket, u64::MAX), 20, "never more tokens than the burst");
    }

    #[test]
    fn a_clock_that_goes_backwards_adds_no_tokens() {
        let mut bucket = TokenBucket::new(2, 1, 10_000);
        assert_eq!(acquire_all(&mut bucket, 10_000), 2);
        assert_eq!(acquire_all(&mut bucket, 1_000), 0);
        assert_eq!(acquire_all(&mut bucket, 2_000), 1);
    }

    #[test]
    fn senders_have_separate_buckets_and_share_one() {
        let mut buckets = SenderRateLimiter::new(TokenBucket::new(3, 1, 0), TokenBucket::new(10, 1, 0), 100);
        let mut acquired = |sender: u32| (0..100).filter(|_| buckets.try_acquire(sender, 0)).count();
        assert_eq!([acquired(1), acquired(2), acquired(3)], [3, 3, 3]);
        assert_eq!([acquired(4), acquired(5)], [1, 0], "the shared bucket is empty");
    }

    #[test]
    fn the_number_of_senders_is_bounded() {
        let mut buckets = SenderRateLimiter::new(TokenBucket::new(1, 1, 0), TokenBucket::new(100_000, 1, 0), 8);
        for sender in 0..1000_u32 {
            assert!(buckets.try_acquire(sender, 0), "new senders are limited by the shared bucket");
        }
        assert_eq!(buckets.by_sender.len(), 8);
        assert!(!buckets.try_acquire(0, 0), "a known sender is still limited");
        assert!(
            buckets.try_acquire(2_000, 5_000) && buckets.by_sender.len() == 1,
            "senders with a full bucket are removed"
        );
    }
}
