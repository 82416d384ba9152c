//! The in-flight budget: a limit on the memory held by requests.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};

/// Number of known addresses above which those that hold no bytes are removed.
const ADDRESS_PRUNE_THRESHOLD: usize = 256;
/// A body that has been arriving for longer gives way to one that finds no room: an honest sender's body takes a fraction
/// of this, while a sender who holds bytes back could keep the budget used up.
const STALLED_AFTER: Duration = Duration::from_millis(500);
/// How often a request that waits for room looks for stalled bodies.
const STALLED_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Limits how many bytes of requests are held at the same time: in total, and half of that per client address.
///
/// The bytes of a body count from just before they are received, so announcing a large body reserves no more than what is
/// read at once. They are released when the last clone of the body is dropped, wherever it is held by then. Request heads
/// count from a certain size, and may hold a quarter of the budget.
#[derive(Clone, Debug)]
pub struct InflightBudget(Arc<BudgetInner>);

#[derive(Debug)]
struct BudgetInner {
    total: Arc<Semaphore>,
    limit_bytes: usize,
    per_address_bytes: usize,
    heads: Arc<Semaphore>,
    by_address: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    arriving: Mutex<ArrivingBodies>,
}

/// Bodies that are not complete, the oldest first.
#[derive(Debug, Default)]
struct ArrivingBodies {
    by_number: BTreeMap<u64, ArrivingBody>,
    next_number: u64,
}

#[derive(Debug)]
struct ArrivingBody {
    address: IpAddr,
    /// Since when the client keeps the receiver waiting; `None` while the body waits for room.
    waiting_since: Option<Instant>,
    give_way: Arc<Notify>,
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
            heads: Arc::new(Semaphore::new(limit / 4)),
            by_address: Mutex::default(),
            arriving: Mutex::default(),
        }))
    }

    /// Waits until at least one byte is available for `address`. Requests without an address share one half.
    pub async fn acquire(&self, address: Option<IpAddr>) -> BudgetShare {
        let address = address.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), client_network);
        let mut share = BudgetShare {
            per_address: self.address_semaphore(address),
            arrival: BodyArrival::begin(self, address),
            permits: None,
        };
        share.acquire_more(1).await;
        share
    }

    /// Takes `bytes` for a request head; `None` when heads hold their quarter of the budget, or nothing is left.
    pub(crate) fn try_acquire_head(&self, bytes: usize) -> Option<HeadShare> {
        let bytes = to_permits(bytes);
        let head = Arc::clone(&self.0.heads).try_acquire_many_owned(bytes).ok()?;
        let total = Arc::clone(&self.0.total).try_acquire_many_owned(bytes).ok()?;
        Some(HeadShare { _permits: (head, total) })
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

    /// Makes the oldest stalled body give way: of all, or of an address.
    fn end_stalled_body(&self, address: Option<IpAddr>) {
        let mut arriving = self.arriving();
        let is_stalled = |body: &ArrivingBody| {
            body.waiting_since.is_some_and(|since| since.elapsed() > STALLED_AFTER)
                && address.is_none_or(|address| body.address == address)
        };
        let stalled = arriving.by_number.iter().find(|(_, body)| is_stalled(body)).map(|(number, _)| *number);
        if let Some(body) = stalled.and_then(|number| arriving.by_number.remove(&number)) {
            body.give_way.notify_one();
        }
    }

    fn arriving(&self) -> MutexGuard<'_, ArrivingBodies> {
        self.0.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address_semaphore(&self, address: IpAddr) -> Arc<Semaphore> {
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

/// The part of the budget that the body of one request holds; dropping it releases the bytes.
#[derive(Debug)]
pub struct BudgetShare {
    per_address: Arc<Semaphore>,
    arrival: BodyArrival,
    permits: Option<Permits>,
}

/// Permits of the address and of all addresses.
type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// The part of the budget that a request head holds.
#[derive(Debug)]
pub(crate) struct HeadShare {
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl BudgetShare {
    /// Waits until it holds `bytes` more.
    pub async fn acquire_more(&mut self, bytes: usize) {
        if self.try_acquire_more(bytes) {
            return;
        }
        self.arrival.set_waiting_since(None);
        // Boxed, so that the future of every request stays small: few have to wait.
        if let Ok(permits) = Box::pin(self.wait_for(bytes)).await {
            self.add(permits);
        }
        self.arrival.set_waiting_since(Some(Instant::now()));
    }

    /// Takes `bytes` more if they are available at once.
    pub(crate) fn try_acquire_more(&mut self, bytes: usize) -> bool {
        let bytes = to_permits(bytes);
        let Ok(of_address) = Arc::clone(&self.per_address).try_acquire_many_owned(bytes) else { return false };
        let Ok(of_total) = Arc::clone(&self.arrival.budget.0.total).try_acquire_many_owned(bytes) else { return false };
        self.add((of_address, of_total));
        true
    }

    /// The address's semaphore comes first: a request that waits for the limit of its address must not hold bytes that
    /// other addresses could use. The semaphores are never closed, so the result is always `Ok`.
    async fn wait_for(&self, bytes: usize) -> Result<Permits, AcquireError> {
        let bytes = to_permits(bytes);
        let BodyArrival { budget, address, .. } = &self.arrival;
        let of_address = acquire_many(budget, &self.per_address, bytes, Some(*address)).await?;
        let of_total = acquire_many(budget, &budget.0.total, bytes, None).await?;
        Ok((of_address, of_total))
    }

    fn add(&mut self, (of_address, of_total): Permits) {
        match &mut self.permits {
            Some((held_of_address, held_of_total)) => {
                held_of_address.merge(of_address);
                held_of_total.merge(of_total);
            }
            None => self.permits = Some((of_address, of_total)),
        }
    }

    /// The number of bytes that it holds.
    pub(crate) fn held_bytes(&self) -> usize {
        self.permits.as_ref().map_or(0, |(permit, _)| permit.num_permits())
    }

    /// Keeps `bytes` of the reservation and releases the rest.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let excess = self.held_bytes().saturating_sub(bytes);
        if let Some((address_permit, total_permit)) = &mut self.permits {
            drop((address_permit.split(excess), total_permit.split(excess)));
        }
    }

    /// Completes when the body has been arriving for too long and others wait for room.
    pub(crate) fn must_give_way(&self) -> impl Future<Output = ()> + use<> {
        let give_way = Arc::clone(&self.arrival.give_way);
        async move { give_way.notified().await }
    }

    /// Attaches the share to its bytes: dropping the last clone of the result releases the share.
    #[must_use]
    pub fn attach(self, bytes: Bytes) -> Bytes {
        self.arrival.end();
        Bytes::from_owner(BudgetedBytes { bytes, _share: self })
    }
}

/// One permit is one byte.
fn to_permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Waits for `bytes` of a semaphore, while stalled bodies (of `address`) make room.
async fn acquire_many(
    budget: &InflightBudget,
    semaphore: &Arc<Semaphore>,
    bytes: u32,
    address: Option<IpAddr>,
) -> Result<OwnedSemaphorePermit, AcquireError> {
    let mut acquiring = std::pin::pin!(Arc::clone(semaphore).acquire_many_owned(bytes));
    loop {
        // The same future all the time, so that the request keeps its place in the queue.
        match tokio::time::timeout(STALLED_CHECK_INTERVAL, &mut acquiring).await {
            Ok(permit) => return permit,
            Err(_) => budget.end_stalled_body(address),
        }
    }
}

/// Lists a body among those that are not complete, until it is dropped.
#[derive(Debug)]
struct BodyArrival {
    budget: InflightBudget,
    address: IpAddr,
    number: u64,
    give_way: Arc<Notify>,
}

impl BodyArrival {
    fn begin(budget: &InflightBudget, address: IpAddr) -> Self {
        let give_way = Arc::new(Notify::new());
        let mut arriving = budget.arriving();
        arriving.next_number += 1;
        let number = arriving.next_number;
        let body = ArrivingBody { address, waiting_since: Some(Instant::now()), give_way: Arc::clone(&give_way) };
        arriving.by_number.insert(number, body);
        drop(arriving);
        Self { budget: budget.clone(), address, number, give_way }
    }

    fn set_waiting_since(&self, since: Option<Instant>) {
        if let Some(body) = self.budget.arriving().by_number.get_mut(&self.number) {
            body.waiting_since = since;
        }
    }

    fn end(&self) {
        self.budget.arriving().by_number.remove(&self.number);
    }
}

impl Drop for BodyArrival {
    fn drop(&mut self) {
        self.end();
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
    async fn a_stalled_body_gives_way_and_a_complete_one_does_not() {
        let budget = InflightBudget::new(1000);
        let mut stalled = budget.acquire(Some(address(1))).await;
        stalled.acquire_more(99).await;
        let mut complete = budget.acquire(Some(address(1))).await;
        complete.acquire_more(399).await;
        let complete = complete.attach(Bytes::from_static(b"body"));
        let give_way = stalled.must_give_way();
        let waiting = tokio::time::timeout(Duration::from_secs(5), budget.acquire(Some(address(1))));
        let (acquired, ()) = tokio::join!(waiting, async {
            give_way.await;
            drop(stalled);
        });
        assert!(acquired.is_ok() && complete == b"body"[..]);
        assert_eq!(budget.arriving().by_number.len(), 1, "only the last one is arriving");
    }

    #[test]
    fn heads_hold_a_quarter_at_most() {
        let budget = InflightBudget::new(1000);
        let held: Vec<_> = (0..10).map_while(|_| budget.try_acquire_head(100)).collect();
        assert_eq!((held.len(), budget.available_bytes()), (2, 800));
        drop(held);
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
