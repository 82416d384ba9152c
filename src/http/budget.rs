//! A bound on the bytes of bodies held at once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Past so many addresses, those that hold nothing are forgotten.
const ADDRESS_PRUNE_THRESHOLD: usize = 256;

/// How many bytes of bodies may be held at once, in all and by one address (half of it).
///
/// Bytes count when they are received, not when they are declared: announcing a large body reserves nothing. They are
/// given back when the body is dropped, wherever it has travelled by then.
#[derive(Clone, Debug)]
pub struct InflightBudget(Arc<BudgetInner>);

#[derive(Debug)]
struct BudgetInner {
    total: Arc<Semaphore>,
    limit_bytes: usize,
    per_address_bytes: usize,
    by_address: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

impl InflightBudget {
    /// A budget of `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        let limit = limit_bytes.clamp(2, u32::MAX as usize);
        Self(Arc::new(BudgetInner {
            total: Arc::new(Semaphore::new(limit)),
            limit_bytes: limit,
            per_address_bytes: limit / 2,
            by_address: Mutex::new(HashMap::new()),
        }))
    }

    /// Waits until there is any room at all for this address.
    pub async fn acquire(&self, address: Option<IpAddr>) -> BudgetShare {
        let of_address = self.address_semaphore(address);
        let mut share = BudgetShare { total: Arc::clone(&self.0.total), per_address: of_address, permits: None };
        share.acquire_more(1).await;
        share
    }

    /// Bytes not held by anybody.
    #[must_use]
    pub fn available_bytes(&self) -> usize {
        self.0.total.available_permits()
    }

    /// Bytes that may be held at once.
    #[must_use]
    pub fn limit_bytes(&self) -> usize {
        self.0.limit_bytes
    }

    fn address_semaphore(&self, address: Option<IpAddr>) -> Arc<Semaphore> {
        let address = address.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), client_network);
        let mut known = self.0.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ADDRESS_PRUNE_THRESHOLD && !known.contains_key(&address) {
            known.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        Arc::clone(known.entry(address).or_insert_with(|| Arc::new(Semaphore::new(self.0.per_address_bytes))))
    }
}

/// One household of IPv6 has 2^64 addresses; they count as one.
#[must_use]
pub(crate) fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// What one request holds of the budget.
#[derive(Debug)]
pub struct BudgetShare {
    total: Arc<Semaphore>,
    per_address: Arc<Semaphore>,
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl BudgetShare {
    /// Waits for room for `bytes` more, the address's own first: one that waits holds no room of others.
    pub async fn acquire_more(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let own = Arc::clone(&self.per_address).acquire_many_owned(bytes).await;
        let all = Arc::clone(&self.total).acquire_many_owned(bytes).await;
        // The semaphores are never closed, so both are always `Ok`.
        if let (Ok(own), Ok(all)) = (own, all) {
            match &mut self.permits {
                Some((held_own, held_all)) => {
                    held_own.merge(own);
                    held_all.merge(all);
                }
                None => self.permits = Some((own, all)),
            }
        }
    }

    /// Ties the share to the bytes it was taken for: dropping the last clone gives it back.
    #[must_use]
    pub fn attach(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(BudgetedBytes { bytes, _share: self })
    }
}

struct BudgetedBytes {
    bytes: Bytes,
    _share: BudgetShare,
}

impl AsRef<[u8]> for BudgetedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    async fn would_wait(work: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(Duration::from_millis(20), work).await.is_err()
    }

    #[tokio::test]
    async fn one_address_gets_at_most_half() {
        let budget = InflightBudget::new(1000);
        let mut greedy = budget.acquire(Some(address(1))).await;
        greedy.acquire_more(499).await;
        assert!(would_wait(async { drop(budget.acquire(Some(address(1))).await) }).await);
        let mut other = budget.acquire(Some(address(2))).await;
        other.acquire_more(499).await;
        assert!(would_wait(async { drop(budget.acquire(Some(address(3))).await) }).await);
        drop(greedy);
        budget.acquire(Some(address(3))).await;
    }

    #[tokio::test]
    async fn bytes_are_given_back_with_the_last_clone_of_the_body() {
        let budget = InflightBudget::new(1000);
        let mut share = budget.acquire(Some(address(1))).await;
        share.acquire_more(99).await;
        let body = share.attach(Bytes::from_static(b"body"));
        let clone = body.clone();
        drop(body);
        assert_eq!(budget.available_bytes(), 900);
        drop(clone);
        assert_eq!(budget.available_bytes(), 1000);
    }

    #[tokio::test]
    async fn neighbours_in_an_ipv6_network_share_and_the_map_stays_small() {
        let budget = InflightBudget::new(1_000_000);
        for host in 0..2000_u16 {
            drop(budget.acquire(Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]))).await);
            drop(budget.acquire(Some(IpAddr::from([0x2001, 0xdb8, 1, host, 0, 0, 0, 1]))).await);
        }
        assert!(budget.0.by_address.lock().unwrap().len() <= ADDRESS_PRUNE_THRESHOLD);
    }
}
