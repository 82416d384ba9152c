//! Who among senders that fail is worth a diagnosis and a line in the log. Requests that verify never come here.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::http::budget::client_network;
use crate::security::rate_limit::{SenderRateLimiter, TokenBucket};

/// Failed requests of one address (of one network with IPv6) that are shown: so many at once, then so many a second.
const PER_ADDRESS_RATE: (u32, u32) = (20, 1);
/// The same for everybody together.
const TOTAL_RATE: (u32, u32) = (100, 20);
/// Addresses remembered.
const MAX_ADDRESSES: usize = 1024;
/// Bodies of stale requests read after the answer, a second.
const BODY_READ_RATE: (u32, u32) = (10, 10);

/// Decides by rate. Monotonic time, so that a clock that is set changes nothing.
pub(super) struct RejectionLogLimit {
    started_at: Instant,
    state: Mutex<RejectionLogLimitState>,
}

struct RejectionLogLimitState {
    by_address: SenderRateLimiter<IpAddr>,
    body_reads: TokenBucket,
    suppressed: SuppressedRejections,
}

/// Requests that were counted and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SuppressedRejections {
    pub(super) count: u64,
    /// Where the first of them came from.
    pub(super) first_client_ip: Option<IpAddr>,
    /// Some came from elsewhere.
    pub(super) has_other_clients: bool,
}

impl RejectionLogLimit {
    pub(super) fn new() -> Self {
        let bucket = |(burst, per_second)| TokenBucket::new(burst, per_second, 0);
        let senders = SenderRateLimiter::new(bucket(PER_ADDRESS_RATE), bucket(TOTAL_RATE), MAX_ADDRESSES);
        let state = RejectionLogLimitState {
            by_address: senders,
            body_reads: bucket(BODY_READ_RATE),
            suppressed: SuppressedRejections::default(),
        };
        Self { started_at: Instant::now(), state: Mutex::new(state) }
    }

    /// Milliseconds since it was made, for buckets.
    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a failed request of `peer` is shown.
    pub(super) fn try_acquire_log(&self, peer: Option<IpAddr>) -> bool {
        let sender = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), client_network);
        let now_ms = self.elapsed_ms();
        self.with_state(|state| state.by_address.try_acquire(sender, now_ms))
    }

    /// Whether the body of a stale request is worth reading.
    pub(super) fn try_acquire_body_read(&self) -> bool {
        let now_ms = self.elapsed_ms();
        self.with_state(|state| state.body_reads.try_acquire(now_ms))
    }

    /// A refused request of `peer` is not shown.
    pub(super) fn count_suppressed(&self, peer: Option<IpAddr>) {
        self.with_state(|state| {
            let hidden = &mut state.suppressed;
            hidden.has_other_clients |= hidden.count > 0 && hidden.first_client_ip != peer;
            if hidden.count == 0 {
                hidden.first_client_ip = peer;
            }
            hidden.count += 1;
        });
    }

    /// What was not shown since the last time this was asked.
    pub(super) fn take_suppressed(&self) -> SuppressedRejections {
        self.with_state(|state| std::mem::take(&mut state.suppressed))
    }

    fn with_state<T>(&self, work: impl FnOnce(&mut RejectionLogLimitState) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_is_summed_up() {
        let gate = RejectionLogLimit::new();
        let (one, two) = (Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([192, 0, 2, 2])));
        assert_eq!(gate.take_suppressed(), SuppressedRejections::default());
        gate.count_suppressed(one);
        gate.count_suppressed(one);
        assert_eq!(
            gate.take_suppressed(),
            SuppressedRejections { count: 2, first_client_ip: one, has_other_clients: false }
        );
        gate.count_suppressed(two);
        gate.count_suppressed(one);
        assert_eq!(
            gate.take_suppressed(),
            SuppressedRejections { count: 2, first_client_ip: two, has_other_clients: true }
        );
        assert_eq!(gate.take_suppressed().count, 0);
    }

    #[test]
    fn a_flood_of_one_leaves_room_for_others() {
        let gate = RejectionLogLimit::new();
        let shown = (0..1000).filter(|_| gate.try_acquire_log(Some(IpAddr::from([192, 0, 2, 1])))).count();
        assert!((20..100).contains(&shown), "{shown}");
        assert!(gate.try_acquire_log(Some(IpAddr::from([192, 0, 2, 2]))) && gate.try_acquire_log(None));
    }
}
