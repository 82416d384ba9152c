//! Recent keys: the keys of events that the identity index on disk does not hold yet, in memory.

use crate::storage::Seq;
use std::collections::{HashMap, VecDeque};

/// Bounded by the index task, which flushes keys to disk above a threshold, see `index.rs`.
#[derive(Default)]
pub(in crate::storage::sqlite) struct RecentKeys {
    /// Key and seq in the order of seq, so that the index task can remove a prefix.
    entries: VecDeque<(i64, Seq)>,
    /// The first seq of each key. Several events of a call share a key; revisions refer to the first.
    first_seqs: HashMap<i64, Seq>,
    /// Number of entries, from the front, whose transactions have committed.
    committed_len: usize,
}

impl RecentKeys {
    pub(in crate::storage::sqlite) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The first event with this key. A key is part of a hash, so the caller has to compare the event itself.
    pub(in crate::storage::sqlite) fn first_seq(&self, key: i64) -> Option<Seq> {
        self.first_seqs.get(&key).copied()
    }

    pub(in crate::storage::sqlite) fn insert(&mut self, key: i64, seq: Seq) {
        self.first_seqs.entry(key).or_insert(seq);
        self.entries.push_back((key, seq));
    }

    /// Makes the next inserted event the first with this key, because the current first is no longer in the store.
    pub(in crate::storage::sqlite) fn remove(&mut self, key: i64) {
        // Its entry stays until it is flushed or evicted; to find it in the queue would take a scan. An index row for
        // a removed event is harmless, because every match is compared with the event itself.
        self.first_seqs.remove(&key);
    }

    /// Call between two transactions: keys inserted from now on can be rolled back, earlier ones cannot.
    pub(in crate::storage::sqlite) fn mark_committed(&mut self) {
        self.committed_len = self.entries.len();
    }

    /// Removes the keys inserted since [`RecentKeys::mark_committed`], because their transaction failed.
    pub(in crate::storage::sqlite) fn roll_back(&mut self) {
        for (key, seq) in self.entries.split_off(self.committed_len) {
            self.evict(key, seq);
        }
    }

    /// The keys to be written to the index. Keys of the open transaction are excluded: it can still fail, and the
    /// index would then name events that do not exist.
    pub(in crate::storage::sqlite) fn committed_keys(&self) -> Vec<(i64, Seq)> {
        self.entries.iter().take(self.committed_len).copied().collect()
    }

    /// Removes keys of events up to `through`, which the index on disk holds by now, at most `limit` of them. Returns
    /// whether some are left.
    pub(in crate::storage::sqlite) fn evict_through(&mut self, through: Seq, limit: usize) -> bool {
        let indexed = self.entries.partition_point(|(_, seq)| *seq <= through);
        let evicted = indexed.min(limit);
        for (key, seq) in self.entries.drain(..evicted).collect::<Vec<_>>() {
            self.evict(key, seq);
        }
        self.committed_len = self.committed_len.saturating_sub(evicted);
        if self.entries.is_empty() {
            // After a burst, return the memory instead of keeping the largest size ever needed.
            self.entries.shrink_to(1024);
            self.first_seqs.shrink_to(1024);
        }
        indexed > limit
    }

    fn evict(&mut self, key: i64, seq: Seq) {
        // A later event may be the first with this key by now, see `remove`; its entry stays.
        if self.first_seqs.get(&key) == Some(&seq) {
            self.first_seqs.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_transaction_leaves_nothing_behind() {
        let mut recent = RecentKeys::default();
        recent.insert(7, Seq(1));
        recent.mark_committed();
        recent.insert(7, Seq(2));
        recent.insert(8, Seq(3));
        recent.roll_back();
        assert_eq!(recent.len(), 1);
        assert_eq!(recent.first_seq(7), Some(Seq(1)));
        assert_eq!(recent.first_seq(8), None);
    }

    #[test]
    fn indexed_keys_are_evicted() {
        let mut recent = RecentKeys::default();
        for seq in 1..=4 {
            recent.insert(seq * 10, Seq(seq));
        }
        recent.mark_committed();
        assert!(recent.evict_through(Seq(3), 2));
        assert_eq!((recent.first_seq(20), recent.first_seq(30)), (None, Some(Seq(3))));
        assert!(!recent.evict_through(Seq(3), 2));
        assert_eq!(recent.len(), 1);
        assert_eq!(recent.first_seq(30), None);
        assert_eq!(recent.first_seq(40), Some(Seq(4)));
        assert_eq!(recent.committed_keys(), [(40, Seq(4))]);
    }
}
