//! Requests for the same thing share what comes of it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// What is under way at once. Each holds a request.
const MAX_FLIGHTS: usize = 8_192;

type FlightMap<K, T> = Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>;

/// What is under way, by what makes two requests one.
pub(super) struct SingleFlight<K, T>(FlightMap<K, T>);

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// What a request is to do.
pub(super) enum FlightRole<K: Eq + Hash, T> {
    /// Do it, and land.
    Leader(FlightLeader<K, T>),
    /// Wait for what comes.
    Follower(FlightFollower<T>),
    /// There are too many.
    Full,
}

/// Waits for what the leader lands with.
pub(super) struct FlightFollower<T>(watch::Receiver<Option<T>>);

/// Held by the one that leads. Dropped without landing, its followers learn that nothing came.
pub(super) struct FlightLeader<K: Eq + Hash, T> {
    key: K,
    flights: FlightMap<K, T>,
    result: watch::Sender<Option<T>>,
}

impl<K: Clone + Eq + Hash, T: Clone> SingleFlight<K, T> {
    /// The first to come leads.
    pub(super) fn join(&self, key: K) -> FlightRole<K, T> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key) {
            return FlightRole::Follower(FlightFollower(flight.clone()));
        }
        if flights.len() >= MAX_FLIGHTS {
            return FlightRole::Full;
        }
        let (result, waiting) = watch::channel(None);
        flights.insert(key.clone(), waiting);
        drop(flights);
        FlightRole::Leader(FlightLeader { key, flights: Arc::clone(&self.0), result })
    }
}

impl<K: Eq + Hash, T> FlightLeader<K, T> {
    pub(super) fn follower(&self) -> FlightFollower<T> {
        FlightFollower(self.result.subscribe())
    }

    /// Tells everybody who waits, and who comes until this is dropped. Whoever comes later finds it in the store.
    pub(super) fn complete(&self, result: T) {
        self.result.send_replace(Some(result));
    }
}

impl<K: Eq + Hash, T> Drop for FlightLeader<K, T> {
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl<T: Clone> FlightFollower<T> {
    /// `None` when the leader is gone without a result.
    pub(super) async fn wait(mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|result| result.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_leads_and_all_land() {
        let flights = SingleFlight::default();
        let FlightRole::Leader(seat) = flights.join(1) else { panic!("the first leads") };
        let FlightRole::Follower(second) = flights.join(1) else { panic!("the second follows") };
        let FlightRole::Leader(other) = flights.join(2) else { panic!("another is its own") };
        let first = seat.follower();
        seat.complete(7);
        let FlightRole::Follower(third) = flights.join(1) else { panic!("it has not left its seat") };
        drop(seat);
        assert_eq!((first.wait().await, second.wait().await, third.wait().await), (Some(7), Some(7), Some(7)));
        assert!(matches!(flights.join(1), FlightRole::Leader(_)), "what has landed is over");
        let FlightRole::Follower(left) = flights.join(2) else { panic!("it is under way") };
        drop(other);
        assert_eq!(left.wait().await, None);
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let flights = SingleFlight::<usize, ()>::default();
        let mut seats: Vec<_> = (0..MAX_FLIGHTS).map(|number| flights.join(number)).collect();
        assert!(seats.iter().all(|part| matches!(part, FlightRole::Leader(_))));
        assert!(matches!(flights.join(MAX_FLIGHTS), FlightRole::Full));
        assert!(matches!(flights.join(0), FlightRole::Follower(_)), "those under way are joined all the same");
        seats.pop();
        assert!(matches!(flights.join(MAX_FLIGHTS), FlightRole::Leader(_)));
    }
}
