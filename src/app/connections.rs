//! The number of open connections per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections by address, so that a single client cannot use all connections of the listener.
#[derive(Clone)]
pub(super) struct ConnectionsPerAddress {
    max_per_address: usize,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl ConnectionsPerAddress {
    pub(super) fn new(max_per_address: usize) -> Self {
        Self { max_per_address, by_address: Arc::default() }
    }

    /// Counts one more connection from `address` until the permit is dropped; `None` when the address is at its limit.
    pub(super) fn try_acquire(&self, address: IpAddr) -> Option<ConnectionPermit> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        if *count >= self.max_per_address {
            return None;
        }
        *count += 1;
        Some(ConnectionPermit { address, connections: self.clone() })
    }
}

/// Counts as one connection until it is dropped.
pub(super) struct ConnectionPermit {
    address: IpAddr,
    connections: ConnectionsPerAddress,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut by_address = self.connections.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            // Removed at zero, so that the map stays as small as the number of connected addresses.
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_per_address_are_limited_and_released() {
        let connections = ConnectionsPerAddress::new(2);
        let (one, two) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let held = [connections.try_acquire(one), connections.try_acquire(one)];
        assert!(held.iter().all(Option::is_some));
        assert!(connections.try_acquire(one).is_none());
        assert!(connections.try_acquire(two).is_some());
        drop(held);
        assert!(connections.try_acquire(one).is_some());
        assert!(connections.by_address.lock().unwrap().is_empty());
    }
}
