//! Requests for one invocation share one call of the function.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::key::Key;

/// Invocations under way at once. Each holds a request; more are answered with the fallback.
const MOST: usize = 8_192;

/// Calls under way, by what makes two requests one.
pub(super) struct Flights<T>(Arc<Mutex<HashMap<Key, watch::Receiver<Option<T>>>>>);

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// What a request is to do.
pub(super) enum Part<T> {
    /// Call the function, and land.
    Lead(Seat<T>),
    /// Wait for what comes.
    Follow(Follower<T>),
    /// There are too many.
    Full,
}

/// Waits for what the leader lands with.
pub(super) struct Follower<T>(watch::Receiver<Option<T>>);

/// Held by the one that calls. Dropped without landing, its followers learn that nothing came.
pub(super) struct Seat<T> {
    key: Key,
    flights: Arc<Mutex<HashMap<Key, watch::Receiver<Option<T>>>>>,
    result: watch::Sender<Option<T>>,
}

impl<T: Clone> Flights<T> {
    /// The first to come leads.
    pub(super) fn join(&self, key: Key) -> Part<T> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key) {
            return Part::Follow(Follower(flight.clone()));
        }
        if flights.len() >= MOST {
            return Part::Full;
        }
        let (result, waiting) = watch::channel(None);
        flights.insert(key, waiting);
        drop(flights);
        Part::Lead(Seat { key, flights: Arc::clone(&self.0), result })
    }
}

impl<T> Seat<T> {
    pub(super) fn follower(&self) -> Follower<T> {
        Follower(self.result.subscribe())
    }

    /// Tells everybody who waits. Whoever comes later finds the answer in the store.
    pub(super) fn land(self, result: T) {
        self.result.send_replace(Some(result));
    }
}

impl<T> Drop for Seat<T> {
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
        let Part::Lead(seat) = flights.join([1; 32]) else { panic!("the first leads") };
        let Part::Follow(second) = flights.join([1; 32]) else { panic!("the second follows") };
        let Part::Lead(other) = flights.join([2; 32]) else { panic!("another is its own") };
        let first = seat.follower();
        seat.land(7);
        assert_eq!((first.wait().await, second.wait().await), (Some(7), Some(7)));
        assert!(matches!(flights.join([1; 32]), Part::Lead(_)), "what has landed is over");
        let Part::Follow(left) = flights.join([2; 32]) else { panic!("it is under way") };
        drop(other);
        assert_eq!(left.wait().await, None);
    }
}
