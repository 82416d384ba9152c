//! Recent events by identity, in memory: what the index on disk does not know yet.

use std::collections::HashMap;
use std::sync::Arc;

use crate::storage::Identity;

/// Names an event of a call, for finding revisions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CallKey {
    pub(super) company_id: i64,
    pub(super) call_id: Box<str>,
    pub(super) event: Box<str>,
}

/// An event the index on disk does not know yet.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) seq: i64,
    pub(super) identity: Identity,
    pub(super) call: Option<Arc<CallKey>>,
}

/// Bounded by the indexing task: it writes entries out past a threshold, see `index.rs`.
#[derive(Default)]
pub(super) struct Recent {
    entries: Vec<Entry>,
    by_identity: HashMap<Identity, i64>,
    /// The first event of that name and call.
    by_call: HashMap<Arc<CallKey>, i64>,
    /// Entries before this one are committed.
    committed: usize,
}

impl Recent {
    /// How many events wait to be indexed.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn by_identity(&self, identity: &Identity) -> Option<i64> {
        self.by_identity.get(identity).copied()
    }

    pub(super) fn by_call(&self, call: &CallKey) -> Option<i64> {
        self.by_call.get(call).copied()
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        self.by_identity.insert(entry.identity, entry.seq);
        if let Some(call) = &entry.call {
            self.by_call.entry(Arc::clone(call)).or_insert(entry.seq);
        }
        self.entries.push(entry);
    }

    /// What was inserted so far is committed; what is inserted from here on can still be taken back.
    pub(super) fn begin(&mut self) {
        self.committed = self.entries.len();
    }

    /// Forgets what came since [`Recent::begin`]: the transaction failed.
    pub(super) fn roll_back(&mut self) {
        for entry in self.entries.split_off(self.committed) {
            self.forget(&entry);
        }
    }

    /// Committed entries, to be written to the index.
    pub(super) fn to_index(&self) -> Vec<Entry> {
        self.entries[..self.committed].to_vec()
    }

    /// The index on disk knows everything up to `seq`.
    pub(super) fn forget_through(&mut self, seq: i64) {
        let known = self.entries.partition_point(|entry| entry.seq <= seq);
        for entry in self.entries.drain(..known).collect::<Vec<_>>() {
            self.forget(&entry);
        }
        self.committed = self.committed.saturating_sub(known);
        if self.entries.is_empty() {
            self.by_identity.shrink_to(1024);
            self.by_call.shrink_to(1024);
        }
    }

    fn forget(&mut self, entry: &Entry) {
        self.by_identity.remove(&entry.identity);
        if let Some(call) = &entry.call
            && self.by_call.get(call) == Some(&entry.seq)
        {
            self.by_call.remove(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: i64, identity: u8, call_id: &str) -> Entry {
        let call = CallKey { company_id: 1, call_id: call_id.into(), event: "call_ended".into() };
        Entry { seq, identity: Identity([identity; 16]), call: Some(Arc::new(call)) }
    }

    #[test]
    fn a_failed_transaction_leaves_nothing_behind() {
        let mut recent = Recent::default();
        recent.insert(entry(1, 1, "a"));
        recent.begin();
        recent.insert(entry(2, 2, "a"));
        recent.insert(entry(3, 3, "b"));
        recent.roll_back();
        assert_eq!(recent.len(), 1);
        assert_eq!(recent.by_identity(&Identity([2; 16])), None);
        assert_eq!(recent.by_call(&entry(0, 0, "a").call.unwrap()), Some(1));
        assert_eq!(recent.by_call(&entry(0, 0, "b").call.unwrap()), None);
    }

    #[test]
    fn what_is_indexed_is_forgotten() {
        let mut recent = Recent::default();
        recent.begin();
        for seq in 1..=4 {
            recent.insert(entry(seq, u8::try_from(seq).unwrap(), "a"));
        }
        recent.begin();
        recent.forget_through(3);
        assert_eq!(recent.len(), 1);
        assert_eq!(recent.by_identity(&Identity([3; 16])), None);
        assert_eq!(recent.by_identity(&Identity([4; 16])), Some(4));
        assert_eq!(recent.to_index().len(), 1);
    }
}
