//! The open connections of a listener, and which of them is closed when there are too many.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::policy::ConnectionPolicy;
use crate::http::budget::client_network;

/// All connections of one listener.
pub(super) struct Connections {
    pub(super) policy: ConnectionPolicy,
    state: Mutex<ConnectionsState>,
    /// Notified when a connection has ended.
    ended: Notify,
}

#[derive(Default)]
struct ConnectionsState {
    open: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Connections that wait for their client, the longest wait first: the request is not complete, or there is none.
    waiting: BTreeMap<u64, WaitingConnection>,
    next_position: u64,
}

struct WaitingConnection {
    address: IpAddr,
    close: Arc<Notify>,
}

/// Which limit a new connection has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionLimit {
    Total,
    PerAddress(IpAddr),
}

impl Connections {
    pub(super) fn new(policy: ConnectionPolicy) -> Arc<Self> {
        policy.counters.set_limit(policy.max_connections);
        Arc::new(Self { policy, state: Mutex::default(), ended: Notify::new() })
    }

    /// Adds a connection, which waits for its first request from now on.
    ///
    /// # Errors
    /// The limit that leaves no room for it.
    pub(super) fn try_add(self: &Arc<Self>, peer: IpAddr) -> Result<Arc<Connection>, ConnectionLimit> {
        let address = client_network(peer);
        let mut state = self.lock();
        if state.open >= self.policy.max_connections {
            return Err(ConnectionLimit::Total);
        }
        let of_address = state.by_address.get(&address).copied().unwrap_or_default();
        if of_address >= self.policy.max_per_address && !self.policy.is_shared_address(peer) {
            return Err(ConnectionLimit::PerAddress(address));
        }
        state.open += 1;
        self.policy.counters.set_open(state.open);
        *state.by_address.entry(address).or_default() += 1;
        let connection = Connection {
            connections: Arc::clone(self),
            address,
            close: Arc::default(),
            position: AtomicU64::new(0),
            requests_begun: AtomicU64::new(0),
            requests_answered: AtomicU64::new(0),
        };
        state.begin_waiting(&connection);
        Ok(Arc::new(connection))
    }

    /// Closes the connection that waits for its client longest: of all, or of the address that is at its limit. Requests
    /// that are complete are never interrupted. `false` when no connection waits.
    pub(super) fn close_longest_waiting(&self, limit: ConnectionLimit) -> bool {
        let mut state = self.lock();
        let chosen = match limit {
            ConnectionLimit::Total => state.waiting.first_key_value(),
            ConnectionLimit::PerAddress(address) => {
                state.waiting.iter().find(|(_, waiting)| waiting.address == address)
            }
        };
        let Some(position) = chosen.map(|(position, _)| *position) else { return false };
        if let Some(waiting) = state.waiting.remove(&position) {
            waiting.close.notify_one();
        }
        self.policy.counters.count_closed_at_limit();
        true
    }

    /// Completes when a connection has ended, possibly some time ago.
    pub(super) async fn wait_for_room(&self) {
        self.ended.notified().await;
    }

    /// The address with the most open connections, and their number.
    pub(super) fn busiest_address(&self) -> Option<(IpAddr, usize)> {
        self.lock().by_address.iter().max_by_key(|(_, count)| **count).map(|(address, count)| (*address, *count))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ConnectionsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionsState {
    fn begin_waiting(&mut self, connection: &Connection) {
        self.end_waiting(connection);
        self.next_position += 1;
        connection.position.store(self.next_position, Ordering::Relaxed);
        let waiting = WaitingConnection { address: connection.address, close: Arc::clone(&connection.close) };
        self.waiting.insert(self.next_position, waiting);
    }

    fn end_waiting(&mut self, connection: &Connection) {
        self.waiting.remove(&connection.position.load(Ordering::Relaxed));
    }
}

/// One open connection. It counts until it is dropped.
pub(super) struct Connection {
    connections: Arc<Connections>,
    address: IpAddr,
    close: Arc<Notify>,
    /// The key in `waiting` when it waited last; changed only while the state is locked.
    position: AtomicU64,
    requests_begun: AtomicU64,
    requests_answered: AtomicU64,
}

impl Connection {
    /// Completes when the connection has to make room for another one.
    pub(super) async fn wait_for_close(&self) {
        self.close.notified().await;
    }

    /// A request head is complete. Returns the number of the request.
    pub(super) fn begin_request(&self) -> u64 {
        self.requests_begun.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The request is complete with its body: from now on its client waits for the receiver. A body that is read after
    /// the response changes nothing.
    pub(super) fn complete_request(&self, number: u64) {
        let mut state = self.connections.lock();
        if self.requests_answered.load(Ordering::Relaxed) < number {
            state.end_waiting(self);
        }
    }

    /// The response is ready: the connection waits for its client to read it, and for the next request.
    pub(super) fn complete_response(&self, number: u64) {
        let mut state = self.connections.lock();
        self.requests_answered.store(number, Ordering::Relaxed);
        state.begin_waiting(self);
    }

    /// Whether no request head has arrived completely yet.
    pub(super) fn awaits_first_request(&self) -> bool {
        self.requests_begun.load(Ordering::Relaxed) == 0
    }

    /// The number of the request whose head has yet to arrive; `None` while a request is in progress.
    pub(super) fn awaited_request(&self) -> Option<u64> {
        let answered = self.requests_answered.load(Ordering::Relaxed);
        (self.requests_begun.load(Ordering::Relaxed) == answered).then_some(answered + 1)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.connections.lock();
        state.end_waiting(self);
        state.open -= 1;
        self.connections.policy.counters.set_open(state.open);
        if let Some(count) = state.by_address.get_mut(&self.address) {
            *count -= 1;
            // Removed at zero, so that the map stays as small as the number of connected addresses.
            if *count == 0 {
                state.by_address.remove(&self.address);
            }
        }
        drop(state);
        self.connections.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::budget::InflightBudget;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn connections(max_connections: usize, max_per_address: usize) -> Arc<Connections> {
        Connections::new(ConnectionPolicy {
            max_connections,
            max_per_address,
            trusted_proxies: ["10.0.0.0/8".parse().unwrap()].into_iter().collect(),
            budget: InflightBudget::new(1_000_000),
            counters: Arc::default(),
        })
    }

    async fn is_closed(connection: &Connection) -> bool {
        tokio::time::timeout(std::time::Duration::from_millis(5), connection.wait_for_close()).await.is_ok()
    }

    #[tokio::test]
    async fn the_connection_that_waits_longest_is_closed() {
        let connections = connections(3, 3);
        let [first, second, third] = [(); 3].map(|()| connections.try_add(ONE).unwrap());
        assert_eq!(connections.try_add(TWO).err(), Some(ConnectionLimit::Total));
        let number = first.begin_request();
        first.complete_request(number);
        assert!(connections.close_longest_waiting(ConnectionLimit::Total));
        assert!(is_closed(&second).await && !is_closed(&first).await && !is_closed(&third).await);
        first.complete_response(number);
        assert!(connections.close_longest_waiting(ConnectionLimit::Total));
        assert!(is_closed(&third).await, "an answered request counts as a new wait");
        assert!(connections.close_longest_waiting(ConnectionLimit::Total));
        assert!(is_closed(&first).await);
        assert!(!connections.close_longest_waiting(ConnectionLimit::Total));
        assert_eq!(connections.policy.counters.closed_at_limit(), 3);
        drop((first, second, third));
        assert!(connections.lock().by_address.is_empty() && connections.policy.counters.open() == 0);
    }

    #[tokio::test]
    async fn an_address_at_its_limit_loses_its_own_connection_and_shared_addresses_have_no_limit() {
        let connections = connections(10, 1);
        let (one, two) = (connections.try_add(ONE).unwrap(), connections.try_add(TWO).unwrap());
        let limit = connections.try_add(TWO).err().unwrap();
        assert_eq!(limit, ConnectionLimit::PerAddress(TWO));
        assert!(connections.close_longest_waiting(limit));
        assert!(is_closed(&two).await && !is_closed(&one).await);
        for shared in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3"] {
            let held = [(); 2].map(|()| connections.try_add(shared.parse().unwrap()));
            assert!(held.iter().all(Result::is_ok), "{shared}");
        }
    }

    #[test]
    fn a_body_that_is_read_after_the_response_leaves_the_connection_waiting() {
        let connections = connections(1, 1);
        let connection = connections.try_add(ONE).unwrap();
        let number = connection.begin_request();
        connection.complete_response(number);
        connection.complete_request(number);
        assert!(connections.close_longest_waiting(ConnectionLimit::Total));
    }
}
