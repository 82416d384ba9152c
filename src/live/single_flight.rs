//! Single flight: the first of several equal requests does the work, and all of them share its result.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Keys in flight at the same time. Each holds the body of a request in memory, also after that request was answered
/// with a fallback, so the number is bounded.
const MAX_FLIGHTS: usize = 8_192;

type FlightMap<K, T> = Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>;

/// The keys in flight, each with the channel that will carry its result.
pub(super) struct SingleFlight<K, T>(FlightMap<K, T>);

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// The part that a request plays for its key.
pub(super) enum FlightRole<K: Eq + Hash, T> {
    /// The first request: it does the work and calls [`FlightLeader::complete`].
    Leader(FlightLeader<K, T>),
    /// A later request: it waits for the leader's result.
    Follower(FlightFollower<T>),
    /// The key is new, and [`MAX_FLIGHTS`] other keys are in flight.
    Full,
}

/// Waits for the result of a leader.
pub(super) struct FlightFollower<T>(watch::Receiver<Option<T>>);

/// Held by the leader while its key is in flight. When it is dropped without a result, its followers get `None`.
pub(super) struct FlightLeader<K: Eq + Hash, T> {
    key: K,
    flights: FlightMap<K, T>,
    result: watch::Sender<Option<T>>,
}

impl<K: Clone + Eq + Hash, T: Clone> SingleFlight<K, T> {
    /// Makes the caller the leader of `key`, or a follower when the key is in flight already.
    pub(super) fn join(&self, key: K) -> FlightRole<K, T> {
        // The map is consistent after every statement below, so the lock of a thread that panicked can be taken over.
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Look-up and insertion happen under one lock: two requests can never both become leaders of a key.
        if let Some(flight) = flights.get(&key) {
            return FlightRole::Follower(FlightFollower(flight.clone()));
        }
        if flights.len() >= MAX_FLIGHTS {
            return FlightRole::Full;
        }
        // A watch channel keeps the last value: a follower that joins after `complete` still sees the result.
        let (result, receiver) = watch::channel(None);
        flights.insert(key.clone(), receiver);
        drop(flights);
        FlightRole::Leader(FlightLeader { key, flights: Arc::clone(&self.0), result })
    }
}

impl<K: Eq + Hash, T> FlightLeader<K, T> {
    /// Lets the leader's own request wait for the result when the work is done by another task.
    pub(super) fn follower(&self) -> FlightFollower<T> {
        FlightFollower(self.result.subscribe())
    }

    /// Hands the result to all followers, including those that join before this leader is dropped. A request that
    /// comes after the drop leads again, so the result has to be in the store by then.
    pub(super) fn complete(&self, result: T) {
        self.result.send_replace(Some(result));
    }
}

impl<K: Eq + Hash, T> Drop for FlightLeader<K, T> {
    // Runs as well when the work panics or is canceled, so that a key is never left in flight without a leader. The
    // sender is a field and is dropped after this: followers see a closed channel only once the key can have a new
    // leader.
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl<T: Clone> FlightFollower<T> {
    /// The leader's result. `None` when the leader was dropped without one.
    pub(super) async fn wait(mut self) -> Option<T> {
        let result = self.0.wait_for(Option::is_some).await.ok()?;
        result.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_requests_for_a_key_share_the_leaders_result() {
        let flights = SingleFlight::default();
        let FlightRole::Leader(leader) = flights.join(1) else { panic!("the first request leads") };
        let FlightRole::Follower(second) = flights.join(1) else { panic!("the second request follows") };
        let FlightRole::Leader(other) = flights.join(2) else { panic!("another key has its own leader") };
        let first = leader.follower();
        leader.complete(7);
        let FlightRole::Follower(third) = flights.join(1) else { panic!("the leader still exists") };
        drop(leader);
        assert_eq!((first.wait().await, second.wait().await, third.wait().await), (Some(7), Some(7), Some(7)));
        assert!(matches!(flights.join(1), FlightRole::Leader(_)), "the key is free again");
        let FlightRole::Follower(orphan) = flights.join(2) else { panic!("the other leader still exists") };
        drop(other);
        assert_eq!(orphan.wait().await, None);
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let flights = SingleFlight::<usize, ()>::default();
        let mut roles: Vec<_> = (0..MAX_FLIGHTS).map(|number| flights.join(number)).collect();
        assert!(roles.iter().all(|role| matches!(role, FlightRole::Leader(_))));
        assert!(matches!(flights.join(MAX_FLIGHTS), FlightRole::Full));
        assert!(matches!(flights.join(0), FlightRole::Follower(_)), "a key in flight can still be joined");
        roles.pop();
        assert!(matches!(flights.join(MAX_FLIGHTS), FlightRole::Leader(_)));
    }
}
