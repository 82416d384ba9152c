//! Keys of recent events, in memory: what the index on disk does not know yet.

use std::collections::{HashMap, VecDeque};

/// Bounded by the indexing task: it writes keys out past a threshold, see `index.rs`.
#[derive(Default)]
pub(super) struct RecentKeys {
    /// Key and seq, in the order of seq.
    entries: VecDeque<(i64, i64)>,
    /// The first seq of each key.
    first_seqs: HashMap<i64, i64>,
    /// Entries before this one are committed.
    committed_len: usize,
}

impl RecentKeys {
    /// How many keys wait to be indexed.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The first event with this key. Keys are parts of hashes: whoever asks compares the event itself.
    pub(super) fn first_seq(&self, key: i64) -> Option<i64> {
        self.first_seqs.get(&key).copied()
    }

    pub(super) fn insert(&mut self, key: i64, seq: i64) {
        self.first_seqs.entry(key).or_insert(seq);
        self.entries.push_back((key, seq));
    }

    /// Lets the event that comes next be the first with this key: the one before it is gone from the store.
    pub(super) fn remove(&mut self, key: i64) {
        self.first_seqs.remove(&key);
    }

    /// What was inserted so far is committed; what is inserted from here on can still be taken back.
    pub(super) fn mark_committed(&mut self) {
        self.committed_len = self.entries.len();
    }

    /// Forgets what came since [`RecentKeys::begin`]: the transaction failed.
    pub(super) fn roll_back(&mut self) {
        for (key, seq) in self.entries.split_off(self.committed_len) {
            self.evict(key, seq);
        }
    }

    /// Committed keys, to be written to the index.
    pub(super) fn committed_keys(&self) -> Vec<(i64, i64)> {
        self.entries.iter().take(self.committed_len).copied().collect()
    }

    /// The index on disk knows everything up to `through`: lets go of at most so many of them, and says whether any is left.
    pub(super) fn evict_through(&mut self, through: i64, most: usize) -> bool {
        let known = self.entries.partition_point(|(_, seq)| *seq <= through);
        for (key, seq) in self.entries.drain(..known.min(most)).collect::<Vec<_>>() {
            self.evict(key, seq);
        }
        self.committed_len = self.committed_len.saturating_sub(known.min(most));
        if self.entries.is_empty() {
            self.entries.shrink_to(1024);
            self.first_seqs.shrink_to(1024);
        }
        known > most
    }

    fn evict(&mut self, key: i64, seq: i64) {
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
        recent.insert(7, 1);
        recent.mark_committed();
        recent.insert(7, 2);
        recent.insert(8, 3);
        recent.roll_back();
        assert_eq!(recent.len(), 1);
        assert_eq!(recent.first_seq(7), Some(1));
        assert_eq!(recent.first_seq(8), None);
    }

    #[test]
    fn what_is_indexed_is_forgotten() {
        let mut recent = RecentKeys::default();
        for seq in 1..=4 {
            recent.insert(seq * 10, seq);
        }
        recent.mark_committed();
        assert!(recent.evict_through(3, 2));
        assert_eq!((recent.first_seq(20), recent.first_seq(30)), (None, Some(3)));
        assert!(!recent.evict_through(3, 2));
        assert_eq!(recent.len(), 1);
        assert_eq!(recent.first_seq(30), None);
        assert_eq!(recent.first_seq(40), Some(4));
        assert_eq!(recent.committed_keys(), [(40, 4)]);
    }
}
