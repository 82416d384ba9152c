//! Limits the log lines about requests that are neither events nor function calls, so that an unauthenticated sender
//! cannot fill the log. Authenticated requests that succeed never come here.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::base::clock::to_unsigned_ms;
use crate::base::token_bucket::{SenderRateLimiter, TokenBucket};
use crate::http::budget::client_network;

/// Lines per address (IPv6: per /64 network): burst, then number per second.
const PER_ADDRESS_RATE: (u32, u32) = (20, 1);
/// Lines about all addresses together: burst, then number per second.
const TOTAL_RATE: (u32, u32) = (100, 20);
/// Maximum number of remembered addresses.
const MAX_ADDRESSES: usize = 1024;

/// Token buckets per address and in total. They use monotonic time, so setting the clock has no effect.
pub(crate) struct RefusalLogLimit {
    started_at: Instant,
    state: Mutex<RefusalLogLimitState>,
}

struct RefusalLogLimitState {
    by_address: SenderRateLimiter<IpAddr>,
    suppressed: SuppressedRequests,
}

/// Requests that were counted but not logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SuppressedRequests {
    pub(crate) count: u64,
    /// The address of the first of them.
    pub(crate) first_client_ip: Option<IpAddr>,
    /// Whether some of them came from other addresses.
    pub(crate) has_other_clients: bool,
}

impl Default for RefusalLogLimit {
    fn default() -> Self {
        let bucket = |(burst, per_second)| TokenBucket::new(burst, per_second, 0);
        let by_address = SenderRateLimiter::new(bucket(PER_ADDRESS_RATE), bucket(TOTAL_RATE), MAX_ADDRESSES);
        let state = RefusalLogLimitState { by_address, suppressed: SuppressedRequests::default() };
        Self { started_at: Instant::now(), state: Mutex::new(state) }
    }
}

impl RefusalLogLimit {
    /// Whether a request from `client_ip` is logged. If not, it counts as suppressed.
    pub(crate) fn try_acquire(&self, client_ip: Option<IpAddr>) -> bool {
        let sender = client_ip.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), client_network);
        let now_ms = to_unsigned_ms(self.started_at.elapsed());
        let is_logged = self.with_state(|state| state.by_address.try_acquire(sender, now_ms));
        if !is_logged {
            self.count_suppressed(client_ip);
        }
        is_logged
    }

    /// Counts a request from `client_ip` that is not logged for another reason.
    pub(crate) fn count_suppressed(&self, client_ip: Option<IpAddr>) {
        self.with_state(|state| {
            let suppressed = &mut state.suppressed;
            suppressed.has_other_clients |= suppressed.count > 0 && suppressed.first_client_ip != client_ip;
            if suppressed.count == 0 {
                suppressed.first_client_ip = client_ip;
            }
            suppressed.count += 1;
        });
    }

    /// Logs and resets the number of suppressed requests.
    pub(crate) fn log_suppressed(&self) {
        let suppressed = self.with_state(|state| std::mem::take(&mut state.suppressed));
        if suppressed.count > 0 {
            let client_ip = suppressed.first_client_ip.map(tracing::field::display);
            tracing::warn!(
                suppressed = suppressed.count,
                client_ip,
                other_clients = suppressed.has_other_clients,
                "request log lines suppressed"
            );
        }
    }

    fn with_state<T>(&self, work: impl FnOnce(&mut RefusalLogLimitState) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppressed_requests_are_summed_up() {
        let limit = RefusalLogLimit::default();
        let take_suppressed = || limit.with_state(|state| std::mem::take(&mut state.suppressed));
        let (one, two) = (Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([192, 0, 2, 2])));
        assert_eq!(take_suppressed(), SuppressedRequests::default());
        limit.count_suppressed(one);
        limit.count_suppressed(one);
        assert_eq!(take_suppressed(), SuppressedRequests { count: 2, first_client_ip: one, has_other_clients: false });
        limit.count_suppressed(two);
        limit.count_suppressed(one);
        assert_eq!(take_suppressed(), SuppressedRequests { count: 2, first_client_ip: two, has_other_clients: true });
        assert_eq!(take_suppressed().count, 0);
    }

    #[test]
    fn a_flood_from_one_address_does_not_suppress_others() {
        let limit = RefusalLogLimit::default();
        let logged = (0..1000).filter(|_| limit.try_acquire(Some(IpAddr::from([192, 0, 2, 1])))).count();
        assert!((20..100).contains(&logged), "{logged}");
        assert_eq!(limit.with_state(|state| state.suppressed.count), 1000 - logged as u64);
        assert!(limit.try_acquire(Some(IpAddr::from([192, 0, 2, 2]))) && limit.try_acquire(None));
    }
}
