//! Limits the diagnoses and log lines of rejected requests. Requests that verify never come here.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::base::clock::to_unsigned_ms;
use crate::base::token_bucket::{SenderRateLimiter, TokenBucket};
use crate::http::budget::client_network;

/// Logged rejections per address (IPv6: per /64 network): burst, then number per second.
const PER_ADDRESS_RATE: (u32, u32) = (20, 1);
/// Logged rejections of all addresses together: burst, then number per second.
const TOTAL_RATE: (u32, u32) = (100, 20);
/// Maximum number of remembered addresses.
const MAX_ADDRESSES: usize = 1024;
/// Bodies of stale requests that are read after the response: burst, then number per second.
const BODY_READ_RATE: (u32, u32) = (10, 10);

/// Token buckets per address and in total. They use monotonic time, so setting the clock has no effect.
pub(super) struct RejectionLogLimit {
    started_at: Instant,
    state: Mutex<RejectionLogLimitState>,
}

struct RejectionLogLimitState {
    by_address: SenderRateLimiter<IpAddr>,
    body_reads: TokenBucket,
    suppressed: SuppressedRejections,
}

/// Rejected requests that were counted but neither logged nor stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SuppressedRejections {
    pub(super) count: u64,
    /// The address of the first of them.
    pub(super) first_client_ip: Option<IpAddr>,
    /// Whether some of them came from other addresses.
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

    /// Milliseconds since creation: the time base of the token buckets.
    pub(super) fn elapsed_ms(&self) -> u64 {
        to_unsigned_ms(self.started_at.elapsed())
    }

    /// Whether a rejected request from `client_ip` is logged.
    pub(super) fn try_acquire_log(&self, client_ip: Option<IpAddr>) -> bool {
        let sender = client_ip.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), client_network);
        let now_ms = self.elapsed_ms();
        self.with_state(|state| state.by_address.try_acquire(sender, now_ms))
    }

    /// Whether the body of a stale request is read after its response.
    pub(super) fn try_acquire_body_read(&self) -> bool {
        let now_ms = self.elapsed_ms();
        self.with_state(|state| state.body_reads.try_acquire(now_ms))
    }

    /// Counts a rejected request from `client_ip` that is not logged.
    pub(super) fn count_suppressed(&self, client_ip: Option<IpAddr>) {
        self.with_state(|state| {
            let suppressed = &mut state.suppressed;
            suppressed.has_other_clients |= suppressed.count > 0 && suppressed.first_client_ip != client_ip;
            if suppressed.count == 0 {
                suppressed.first_client_ip = client_ip;
            }
            suppressed.count += 1;
        });
    }

    /// Returns and resets the summary of suppressed requests.
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
    fn suppressed_requests_are_summed_up() {
        let limit = RejectionLogLimit::new();
        let (one, two) = (Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([192, 0, 2, 2])));
        assert_eq!(limit.take_suppressed(), SuppressedRejections::default());
        limit.count_suppressed(one);
        limit.count_suppressed(one);
        assert_eq!(
            limit.take_suppressed(),
            SuppressedRejections { count: 2, first_client_ip: one, has_other_clients: false }
        );
        limit.count_suppressed(two);
        limit.count_suppressed(one);
        assert_eq!(
            limit.take_suppressed(),
            SuppressedRejections { count: 2, first_client_ip: two, has_other_clients: true }
        );
        assert_eq!(limit.take_suppressed().count, 0);
    }

    #[test]
    fn a_flood_from_one_address_does_not_suppress_others() {
        let limit = RejectionLogLimit::new();
        let logged = (0..1000).filter(|_| limit.try_acquire_log(Some(IpAddr::from([192, 0, 2, 1])))).count();
        assert!((20..100).contains(&logged), "{logged}");
        assert!(limit.try_acquire_log(Some(IpAddr::from([192, 0, 2, 2]))) && limit.try_acquire_log(None));
    }
}
