//! Who among senders that fail is worth a diagnosis and a line in the log. Requests that verify never come here.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::http::budget::network_of;
use crate::security::bucket::{Bucket, Buckets};

/// Failed requests of one address (of one network with IPv6) that are shown: so many at once, then so many a second.
const OF_ONE: (u32, u32) = (20, 1);
/// The same for everybody together.
const OF_ALL: (u32, u32) = (100, 20);
/// Addresses remembered.
const ADDRESSES: usize = 1024;
/// Bodies of stale requests read after the answer, a second.
const READS: (u32, u32) = (10, 10);

/// Decides by rate. Monotonic time, so that a clock that is set changes nothing.
pub(super) struct Gate {
    started: Instant,
    state: Mutex<State>,
}

struct State {
    senders: Buckets<IpAddr>,
    reads: Bucket,
    hidden: Hidden,
}

/// Requests that were counted and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hidden {
    pub(super) count: u64,
    /// Where the first of them came from.
    pub(super) first: Option<IpAddr>,
    /// Some came from elsewhere.
    pub(super) others: bool,
}

impl Gate {
    pub(super) fn new() -> Self {
        let bucket = |(burst, per_second)| Bucket::new(burst, per_second, 0);
        let senders = Buckets::new(bucket(OF_ONE), bucket(OF_ALL), ADDRESSES);
        let state = State { senders, reads: bucket(READS), hidden: Hidden::default() };
        Self { started: Instant::now(), state: Mutex::new(state) }
    }

    /// Milliseconds since it was made, for buckets.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a failed request of `peer` is shown.
    pub(super) fn admits(&self, peer: Option<IpAddr>) -> bool {
        let sender = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network_of);
        let now_ms = self.now_ms();
        self.with(|state| state.senders.take(sender, now_ms))
    }

    /// Whether the body of a stale request is worth reading.
    pub(super) fn admits_reading(&self) -> bool {
        let now_ms = self.now_ms();
        self.with(|state| state.reads.take(now_ms))
    }

    /// A refused request of `peer` is not shown.
    pub(super) fn hide(&self, peer: Option<IpAddr>) {
        self.with(|state| {
            let hidden = &mut state.hidden;
            hidden.others |= hidden.count > 0 && hidden.first != peer;
            if hidden.count == 0 {
                hidden.first = peer;
            }
            hidden.count += 1;
        });
    }

    /// What was not shown since the last time this was asked.
    pub(super) fn take_hidden(&self) -> Hidden {
        self.with(|state| std::mem::take(&mut state.hidden))
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_is_summed_up() {
        let gate = Gate::new();
        let (one, two) = (Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([192, 0, 2, 2])));
        assert_eq!(gate.take_hidden(), Hidden::default());
        gate.hide(one);
        gate.hide(one);
        assert_eq!(gate.take_hidden(), Hidden { count: 2, first: one, others: false });
        gate.hide(two);
        gate.hide(one);
        assert_eq!(gate.take_hidden(), Hidden { count: 2, first: two, others: true });
        assert_eq!(gate.take_hidden().count, 0);
    }

    #[test]
    fn a_flood_of_one_leaves_room_for_others() {
        let gate = Gate::new();
        let shown = (0..1000).filter(|_| gate.admits(Some(IpAddr::from([192, 0, 2, 1])))).count();
        assert!((20..100).contains(&shown), "{shown}");
        assert!(gate.admits(Some(IpAddr::from([192, 0, 2, 2]))) && gate.admits(None));
    }
}
