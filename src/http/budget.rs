//! The in-flight budget: a limit on the memory held by request bodies.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Number of known addresses above which those that hold no bytes are removed.
const ADDRESS_PRUNE_THRESHOLD: usize = 256;

/// Limits how many bytes of request bodies are held at the same time: in total, and half of that per client address.
///
/// Bytes count when they are received, not when they are declared, so announcing a large body reserves nothing. They
/// are released when the last clone of the body is dropped, wherever it is held by then.
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
    /// Creates a budget of `limit_bytes`, clamped to the range from 2 to `u32::MAX`.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        // At least 2, so that the half of one address is not 0; at most what `acquire_many_owned` can count.
        let limit = limit_bytes.clamp(2, u32::MAX as usize);
        Self(Arc::new(BudgetInner {
            total: Arc::new(Semaphore::new(limit)),
            limit_bytes: limit,
            per_address_bytes: limit / 2,
            by_address: Mutex::new(HashMap::new()),
        }))
    }

    /// Waits until at least one byte is available for `address`. Requests without an address share one half.
    pub async fn acquire(&self, address: Option<IpAddr>) -> BudgetShare {
        let per_address = self.address_semaphore(address);
        let mut share = BudgetShare { total: Arc::clone(&self.0.total), per_address, permits: None };
        share.acquire_more(1).await;
        share
    }

    /// The number of bytes that are not held at the moment.
    #[must_use]
    pub fn available_bytes(&self) -> usize {
        self.0.total.available_permits()
    }

    /// The number of bytes that may be held at the same time.
    #[must_use]
    pub fn limit_bytes(&self) -> usize {
        self.0.limit_bytes
    }

    fn address_semaphore(&self, address: Option<IpAddr>) -> Arc<Semaphore> {
        let address = address.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), client_network);
        let mut by_address = self.0.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if by_address.len() >= ADDRESS_PRUNE_THRESHOLD && !by_address.contains_key(&address) {
            // A semaphore that only the map refers to has no holder and no waiter.
            by_address.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        Arc::clone(by_address.entry(address).or_insert_with(|| Arc::new(Semaphore::new(self.0.per_address_bytes))))
    }
}

/// The network that counts as one client: an IPv4 address, or an IPv6 /64, which a single household has to itself.
#[must_use]
pub(crate) fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// The part of the budget that one request holds; dropping it releases the bytes.
#[derive(Debug)]
pub struct BudgetShare {
    total: Arc<Semaphore>,
    per_address: Arc<Semaphore>,
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl BudgetShare {
    /// Waits for `bytes` more. The address's semaphore comes first: a request that waits for the limit of its address
    /// must not hold bytes that other addresses could use.
    pub async fn acquire_more(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let address_permit = Arc::clone(&self.per_address).acquire_many_owned(bytes).await;
        let total_permit = Arc::clone(&self.total).acquire_many_owned(bytes).await;
        // The semaphores are never closed, so both are always `Ok`.
        if let (Ok(address_permit), Ok(total_permit)) = (address_permit, total_permit) {
            match &mut self.permits {
                Some((held_address_permit, held_total_permit)) => {
                    held_address_permit.merge(address_permit);
                    held_total_permit.merge(total_permit);
                }
                None => self.permits = Some((address_permit, total_permit)),
            }
        }
    }

    /// Attaches the share to its bytes: dropping the last clone of the result releases the share.
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
    async fn bytes_are_released_with_the_last_clone_of_the_body() {
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
    async fn an_ipv6_network_shares_its_half_and_the_map_stays_small() {
        let budget = InflightBudget::new(1_000_000);
        for host in 0..2000_u16 {
            drop(budget.acquire(Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]))).await);
            drop(budget.acquire(Some(IpAddr::from([0x2001, 0xdb8, 1, host, 0, 0, 0, 1]))).await);
        }
        assert!(budget.0.by_address.lock().unwrap().len() <= ADDRESS_PRUNE_THRESHOLD);
    }
}
