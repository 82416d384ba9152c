//! Deliveries that a worker has claimed: one queue per company, so that neither a flood nor slow attempts of one
//! company take all permits from the others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::base::id::CompanyId;
use crate::storage::{ClaimedDelivery, LeaseToken};

/// Share of the concurrency, in quarters, that one company may use while other companies are known. The last quarter
/// stays free, because attempts cannot be interrupted: a company that becomes active must find a permit at once.
const MAX_COMPANY_QUARTERS: usize = 3;

#[derive(Default)]
pub(super) struct PrefetchQueue {
    companies: BTreeMap<CompanyId, CompanyQueue>,
    running: BTreeSet<LeaseToken>,
    /// Body bytes of all queued and running deliveries.
    held_bytes: u64,
}

#[derive(Default)]
struct CompanyQueue {
    queue: VecDeque<ClaimedDelivery>,
    running: usize,
}

impl PrefetchQueue {
    pub(super) fn push(&mut self, claimed: ClaimedDelivery) {
        self.held_bytes += body_size(&claimed);
        self.companies.entry(claimed.event.summary.company_id).or_default().queue.push_back(claimed);
    }

    /// Removes the queued deliveries for which `check` returns a value, and returns both.
    pub(super) fn remove_matching<T>(
        &mut self,
        check: impl Fn(&ClaimedDelivery) -> Option<T>,
    ) -> Vec<(ClaimedDelivery, T)> {
        let mut removed = Vec::new();
        for company in self.companies.values_mut() {
            for claimed in std::mem::take(&mut company.queue) {
                match check(&claimed) {
                    Some(value) => removed.push((claimed, value)),
                    None => company.queue.push_back(claimed),
                }
            }
        }
        self.held_bytes -= removed.iter().map(|(claimed, _)| body_size(claimed)).sum::<u64>();
        removed
    }

    /// Takes the next delivery to attempt, of the company with the fewest running attempts, and counts it as running.
    pub(super) fn start_next(&mut self, concurrency: usize) -> Option<ClaimedDelivery> {
        if self.running.len() >= concurrency {
            return None;
        }
        // Companies stay in the map after their last delivery, so with a second company the limit holds from then on.
        let has_other_companies = self.companies.len() > 1;
        let limit = if has_other_companies { (concurrency * MAX_COMPANY_QUARTERS / 4).max(1) } else { concurrency };
        let with_queued = self.companies.values_mut().filter(|company| !company.queue.is_empty());
        let company = with_queued.min_by_key(|company| company.running)?;
        if company.running >= limit {
            return None;
        }
        let claimed = company.queue.pop_front()?;
        company.running += 1;
        self.running.insert(claimed.lease);
        Some(claimed)
    }

    pub(super) fn finish_attempt(&mut self, claimed: &ClaimedDelivery) {
        self.held_bytes -= body_size(claimed);
        self.running.remove(&claimed.lease);
        if let Some(company) = self.companies.get_mut(&claimed.event.summary.company_id) {
            company.running -= 1;
        }
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// The leases of all queued and running deliveries.
    pub(super) fn leases(&self) -> impl Iterator<Item = LeaseToken> {
        let queued = self.companies.values().flat_map(|company| company.queue.iter().map(|claimed| claimed.lease));
        queued.chain(self.running.iter().copied())
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Number of queued deliveries by company id.
    pub(super) fn queued_by_company(&self) -> BTreeMap<CompanyId, usize> {
        self.companies.iter().map(|(id, company)| (*id, company.queue.len())).collect()
    }

    pub(super) fn has_no_queued(&self) -> bool {
        self.companies.values().all(|company| company.queue.is_empty())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.has_no_queued()
    }
}

fn body_size(claimed: &ClaimedDelivery) -> u64 {
    claimed.event.body.as_ref().map_or(0, Bytes::len) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::EventId;
    use crate::storage::{EventOrigin, EventState, EventSummary, Seq, StoredEvent};

    fn claimed(company_id: CompanyId, number: i64) -> ClaimedDelivery {
        let summary = EventSummary {
            seq: Seq(number),
            id: EventId::lower_bound_at(number),
            company_id,
            company: String::new(),
            kind: None,
            call_id: None,
            agent_id: None,
            received_at_ms: 0,
            source: None,
            content_type: None,
            query: None,
            signature: None,
            key_fingerprint: None,
            origin: EventOrigin::Retell,
            state: EventState::Stored,
            revision_of: None,
            duplicate_count: 0,
            size_bytes: 4,
        };
        let event = StoredEvent { summary, body: Ok(Bytes::from_static(b"body")) };
        let lease = LeaseToken::for_test(Seq(number));
        ClaimedDelivery {
            event,
            lease,
            previous_attempts: 0,
            queued_at_ms: number,
            is_replay: false,
            body_unread: false,
            is_untried: true,
            has_followers: false,
        }
    }

    fn start_all(ready: &mut PrefetchQueue, concurrency: usize) -> Vec<i64> {
        std::iter::from_fn(|| ready.start_next(concurrency)).map(|claimed| claimed.event.summary.seq.0).collect()
    }

    #[test]
    fn one_company_alone_uses_all_permits() {
        let mut ready = PrefetchQueue::default();
        (1..=6).for_each(|seq| ready.push(claimed(CompanyId::new(1), seq)));
        assert_eq!(start_all(&mut ready, 4), [1, 2, 3, 4]);
        ready.finish_attempt(&claimed(CompanyId::new(1), 1));
        assert_eq!(start_all(&mut ready, 4), [5]);
        assert_eq!((ready.running(), ready.held_bytes()), (4, 20));
    }

    #[test]
    fn a_flood_of_one_company_leaves_permits_for_others() {
        let mut ready = PrefetchQueue::default();
        (1..=9).for_each(|seq| ready.push(claimed(CompanyId::new(1), seq)));
        ready.push(claimed(CompanyId::new(2), 10));
        assert_eq!(start_all(&mut ready, 4), [1, 10, 2, 3]);
        ready.finish_attempt(&claimed(CompanyId::new(2), 10));
        assert_eq!(start_all(&mut ready, 4), [] as [i64; 0], "the last permit is for another company");
        ready.push(claimed(CompanyId::new(2), 11));
        assert_eq!(start_all(&mut ready, 4), [11]);
    }

    #[test]
    fn matching_deliveries_are_removed() {
        let mut ready = PrefetchQueue::default();
        (1..=4).for_each(|seq| ready.push(claimed(CompanyId::new(seq % 2), seq)));
        assert_eq!(ready.start_next(1).map(|claimed| claimed.event.summary.seq.0), Some(2));
        let removed = ready.remove_matching(|claimed| (claimed.queued_at_ms < 3).then_some("old"));
        assert_eq!(removed.len(), 1);
        assert_eq!(
            ready.leases().collect::<BTreeSet<_>>(),
            BTreeSet::from([2, 3, 4].map(|number| LeaseToken::for_test(Seq(number))))
        );
        ready.finish_attempt(&claimed(CompanyId::new(0), 2));
        assert_eq!(
            (ready.held_bytes(), ready.queued_by_company()),
            (8, BTreeMap::from([(CompanyId::new(0), 1), (CompanyId::new(1), 1)]))
        );
        assert!(!ready.is_idle());
    }
}
