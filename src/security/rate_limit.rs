//! Token buckets: how much may be done for senders that fail. The time is passed in, in milliseconds of any clock.

use std::collections::HashMap;
use std::hash::Hash;

/// Holds up to `burst` tokens, gets `per_second` new ones a second, and gives one for each thing done.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    burst: u32,
    per_second: u32,
    /// In thousandths, so that a fraction of a second brings a fraction of a token.
    millitokens: u64,
    refilled_at_ms: u64,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub(crate) fn new(burst: u32, per_second: u32, now_ms: u64) -> Self {
        Self { burst, per_second, millitokens: u64::from(burst) * 1000, refilled_at_ms: now_ms }
    }

    /// Takes a token; `false` when there is none. A time before the last one brings nothing.
    pub(crate) fn try_acquire(&mut self, now_ms: u64) -> bool {
        self.refill(now_ms);
        let there = self.millitokens >= 1000;
        if there {
            self.millitokens -= 1000;
        }
        there
    }

    fn is_full(&mut self, now_ms: u64) -> bool {
        self.refill(now_ms);
        self.millitokens == u64::from(self.burst) * 1000
    }

    fn refill(&mut self, now_ms: u64) {
        let brought = now_ms.saturating_sub(self.refilled_at_ms).saturating_mul(u64::from(self.per_second));
        self.millitokens = self.millitokens.saturating_add(brought).min(u64::from(self.burst) * 1000);
        self.refilled_at_ms = now_ms;
    }
}

/// A bucket for each sender, and one for all together. Holds at most `most` senders: those whose bucket is full again are
/// forgotten first; while everybody held is busy, newcomers share the bucket for all and have none of their own.
#[derive(Debug)]
pub(crate) struct SenderRateLimiter<K> {
    sender_template: TokenBucket,
    shared_bucket: TokenBucket,
    max_senders: usize,
    by_sender: HashMap<K, TokenBucket>,
}

impl<K: Eq + Hash> SenderRateLimiter<K> {
    /// Every sender gets a copy of `each`; `all` is for everybody together.
    #[must_use]
    pub(crate) fn new(each: TokenBucket, all: TokenBucket, most: usize) -> Self {
        Self { sender_template: each, shared_bucket: all, max_senders: most, by_sender: HashMap::new() }
    }

    /// Takes a token of the sender's and one of everybody's; `false` when either is missing. A sender without tokens uses
    /// up none of the others'.
    pub(crate) fn try_acquire(&mut self, sender: K, now_ms: u64) -> bool {
        if self.by_sender.len() >= self.max_senders && !self.by_sender.contains_key(&sender) {
            self.by_sender.retain(|_, bucket| !bucket.is_full(now_ms));
        }
        let known = self.by_sender.contains_key(&sender);
        if known || self.by_sender.len() < self.max_senders {
            let own = self.by_sender.entry(sender).or_insert_with(|| self.sender_template.clone());
            if !own.try_acquire(now_ms) {
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
    fn a_burst_then_so_many_a_second() {
        let mut bucket = TokenBucket::new(20, 2, 5_000);
        assert_eq!(acquire_all(&mut bucket, 5_000), 20);
        assert_eq!(acquire_all(&mut bucket, 5_499), 0);
        assert_eq!(acquire_all(&mut bucket, 5_500), 1);
        assert_eq!(acquire_all(&mut bucket, 7_500), 4);
        assert_eq!(acquire_all(&mut bucket, u64::MAX), 20, "never more than the burst");
    }

    #[test]
    fn a_clock_that_goes_back_brings_nothing() {
        let mut bucket = TokenBucket::new(2, 1, 10_000);
        assert_eq!(acquire_all(&mut bucket, 10_000), 2);
        assert_eq!(acquire_all(&mut bucket, 1_000), 0);
        assert_eq!(acquire_all(&mut bucket, 2_000), 1);
    }

    #[test]
    fn senders_are_apart_and_bounded_together() {
        let mut buckets = SenderRateLimiter::new(TokenBucket::new(3, 1, 0), TokenBucket::new(10, 1, 0), 100);
        let mut given = |sender: u32| (0..100).filter(|_| buckets.try_acquire(sender, 0)).count();
        assert_eq!([given(1), given(2), given(3)], [3, 3, 3]);
        assert_eq!([given(4), given(5)], [1, 0], "nothing left for all together");
    }

    #[test]
    fn few_senders_are_remembered() {
        let mut buckets = SenderRateLimiter::new(TokenBucket::new(1, 1, 0), TokenBucket::new(100_000, 1, 0), 8);
        for sender in 0..1000_u32 {
            assert!(buckets.try_acquire(sender, 0), "newcomers are bounded by the bucket for all");
        }
        assert_eq!(buckets.by_sender.len(), 8);
        assert!(!buckets.try_acquire(0, 0), "one that is known stays bounded");
        assert!(buckets.try_acquire(2_000, 5_000) && buckets.by_sender.len() == 1, "those at rest are forgotten");
    }
}
