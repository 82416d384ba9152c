//! Requests for the same thing share what comes of it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// What is under way at once. Each holds a request.
const MOST: usize = 8_192;

type Under<K, T> = Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>;

/// What is under way, by what makes two requests one.
pub(super) struct Flights<K, T>(Under<K, T>);

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// What a request is to do.
pub(super) enum Part<K: Eq + Hash, T> {
    /// Do it, and land.
    Lead(Seat<K, T>),
    /// Wait for what comes.
    Follow(Follower<T>),
    /// There are too many.
    Full,
}

/// Waits for what the leader lands with.
pub(super) struct Follower<T>(watch::Receiver<Option<T>>);

/// Held by the one that leads. Dropped without landing, its followers learn that nothing came.
pub(super) struct Seat<K: Eq + Hash, T> {
    key: K,
    flights: Under<K, T>,
    result: watch::Sender<Option<T>>,
}

impl<K: Clone + Eq + Hash, T: Clone> Flights<K, T> {
    /// The first to come leads.
    pub(super) fn join(&self, key: K) -> Part<K, T> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key) {
            return Part::Follow(Follower(flight.clone()));
        }
        if flights.len() >= MOST {
            return Part::Full;
        }
        let (result, waiting) = watch::channel(None);
        flights.insert(key.clone(), waiting);
        drop(flights);
        Part::Lead(Seat { key, flights: Arc::clone(&self.0), result })
    }
}

impl<K: Eq + Hash, T> Seat<K, T> {
    pub(super) fn follower(&self) -> Follower<T> {
        Follower(self.result.subscribe())
    }

    /// Tells everybody who waits, and who comes until this is dropped. Whoever comes later finds it in the store.
    pub(super) fn land(&self, result: T) {
        self.result.send_replace(Some(result));
    }
}

impl<K: Eq + Hash, T> Drop for Seat<K, T> {
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl<T: Clone> Follower<T> {
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
        let flights = Flights::default();
        let Part::Lead(seat) = flights.join(1) else { panic!("the first leads") };
        let Part::Follow(second) = flights.join(1) else { panic!("the second follows") };
        let Part::Lead(other) = flights.join(2) else { panic!("another is its own") };
        let first = seat.follower();
        seat.land(7);
        let Part::Follow(third) = flights.join(1) else { panic!("it has not left its seat") };
        drop(seat);
        assert_eq!((first.wait().await, second.wait().await, third.wait().await), (Some(7), Some(7), Some(7)));
        assert!(matches!(flights.join(1), Part::Lead(_)), "what has landed is over");
        let Part::Follow(left) = flights.join(2) else { panic!("it is under way") };
        drop(other);
        assert_eq!(left.wait().await, None);
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let flights = Flights::<usize, ()>::default();
        let mut seats: Vec<_> = (0..MOST).map(|number| flights.join(number)).collect();
        assert!(seats.iter().all(|part| matches!(part, Part::Lead(_))));
        assert!(matches!(flights.join(MOST), Part::Full));
        assert!(matches!(flights.join(0), Part::Follow(_)), "those under way are joined all the same");
        seats.pop();
        assert!(matches!(flights.join(MOST), Part::Lead(_)));
    }
}
