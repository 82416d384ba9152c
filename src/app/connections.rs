//! How many connections each address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections by address, so that one cannot take every place.
#[derive(Clone)]
pub(super) struct ConnectionsPerAddress {
    max_per_address: usize,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl ConnectionsPerAddress {
    /// At most `most` connections an address.
    pub(super) fn new(most: usize) -> Self {
        Self { max_per_address: most, by_address: Arc::default() }
    }

    /// A place for one more connection of `address`, given back when it is dropped; `None` when it has too many.
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

/// One connection's place.
pub(super) struct ConnectionPermit {
    address: IpAddr,
    connections: ConnectionsPerAddress,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut by_address = self.connections.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
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
    fn an_address_has_so_many_places_and_gets_them_back() {
        let guests = ConnectionsPerAddress::new(2);
        let (one, two) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let held = [guests.try_acquire(one), guests.try_acquire(one)];
        assert!(held.iter().all(Option::is_some));
        assert!(guests.try_acquire(one).is_none());
        assert!(guests.try_acquire(two).is_some());
        drop(held);
        assert!(guests.try_acquire(one).is_some());
        assert!(guests.by_address.lock().unwrap().is_empty());
    }
}
