//! What a handler has claimed: a queue for each company, so that one company's flood or slow calls leave room for others.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::storage::Claimed;

/// Of the places for attempts, so many in four go to one company when there are others.
const SHARE_OF_FOUR: usize = 3;

#[derive(Default)]
pub(super) struct Ready {
    companies: BTreeMap<i64, Company>,
    under_way: usize,
    held_bytes: u64,
}

#[derive(Default)]
struct Company {
    queue: VecDeque<Claimed>,
    under_way: usize,
}

impl Ready {
    pub(super) fn add(&mut self, claimed: Claimed) {
        self.held_bytes += size(&claimed);
        self.companies.entry(claimed.event.summary.company_id).or_default().queue.push_back(claimed);
    }

    /// Those `is_over` says something about, with what it says.
    pub(super) fn take_out<T>(&mut self, is_over: impl Fn(&Claimed) -> Option<T>) -> Vec<(Claimed, T)> {
        let mut out = Vec::new();
        for company in self.companies.values_mut() {
            for claimed in std::mem::take(&mut company.queue) {
                match is_over(&claimed) {
                    Some(said) => out.push((claimed, said)),
                    None => company.queue.push_back(claimed),
                }
            }
        }
        self.held_bytes -= out.iter().map(|(claimed, _)| size(claimed)).sum::<u64>();
        out
    }

    /// The next one to begin: of the company with the fewest attempts under way. It counts as under way from now on.
    pub(super) fn begin(&mut self, concurrency: usize) -> Option<Claimed> {
        if self.under_way >= concurrency {
            return None;
        }
        let most = if self.companies.len() > 1 { (concurrency * SHARE_OF_FOUR / 4).max(1) } else { concurrency };
        let waiting = self.companies.values_mut().filter(|company| !company.queue.is_empty());
        let company = waiting.min_by_key(|company| company.under_way).filter(|company| company.under_way < most)?;
        let claimed = company.queue.pop_front()?;
        company.under_way += 1;
        self.under_way += 1;
        Some(claimed)
    }

    /// An attempt has ended.
    pub(super) fn ended(&mut self, claimed: &Claimed) {
        self.held_bytes -= size(claimed);
        self.under_way -= 1;
        if let Some(company) = self.companies.get_mut(&claimed.event.summary.company_id) {
            company.under_way -= 1;
        }
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// How many wait, by company.
    pub(super) fn waiting(&self) -> BTreeMap<i64, usize> {
        self.companies.iter().map(|(id, company)| (*id, company.queue.len())).collect()
    }

    pub(super) fn nothing_waits(&self) -> bool {
        self.companies.values().all(|company| company.queue.is_empty())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way == 0 && self.nothing_waits()
    }
}

fn size(claimed: &Claimed) -> u64 {
    claimed.event.body.as_ref().map_or(0, Bytes::len) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::EventId;
    use crate::storage::{EventSummary, StoredEvent};

    fn claimed(company_id: i64, seq: i64) -> Claimed {
        let summary = EventSummary {
            seq,
            id: EventId::floor(seq),
            company_id,
            company: String::new(),
            event: None,
            call_id: None,
            agent_id: None,
            received_at_ms: 0,
            source: None,
            content_type: None,
            query: None,
            signature: None,
            key_fingerprint: None,
            state: "stored".into(),
            revision_of: None,
            duplicates: 0,
            size_bytes: 4,
        };
        let event = StoredEvent { summary, body: Ok(Bytes::from_static(b"body")) };
        Claimed { event, attempts: 0, since_ms: seq, replay: false }
    }

    fn begun(ready: &mut Ready, concurrency: usize) -> Vec<i64> {
        std::iter::from_fn(|| ready.begin(concurrency)).map(|claimed| claimed.event.summary.seq).collect()
    }

    #[test]
    fn one_company_alone_has_every_place() {
        let mut ready = Ready::default();
        (1..=6).for_each(|seq| ready.add(claimed(1, seq)));
        assert_eq!(begun(&mut ready, 4), [1, 2, 3, 4]);
        ready.ended(&claimed(1, 1));
        assert_eq!(begun(&mut ready, 4), [5]);
        assert_eq!((ready.under_way(), ready.held_bytes()), (4, 20));
    }

    #[test]
    fn a_flood_of_one_leaves_places_for_others() {
        let mut ready = Ready::default();
        (1..=9).for_each(|seq| ready.add(claimed(1, seq)));
        ready.add(claimed(2, 10));
        assert_eq!(begun(&mut ready, 4), [1, 10, 2, 3]);
        ready.ended(&claimed(2, 10));
        assert_eq!(begun(&mut ready, 4), [] as [i64; 0], "the last place is for somebody else");
        ready.add(claimed(2, 11));
        assert_eq!(begun(&mut ready, 4), [11]);
    }

    #[test]
    fn what_is_over_is_taken_out() {
        let mut ready = Ready::default();
        (1..=4).for_each(|seq| ready.add(claimed(seq % 2, seq)));
        let out = ready.take_out(|claimed| (claimed.since_ms < 3).then_some("old"));
        assert_eq!(out.len(), 2);
        assert_eq!((ready.held_bytes(), ready.waiting()), (8, BTreeMap::from([(0, 1), (1, 1)])));
        assert!(!ready.is_idle());
    }
}
