//! Keys of recent events, in memory: what the index on disk does not know yet.

use std::collections::{HashMap, VecDeque};

/// Bounded by the indexing task: it writes keys out past a threshold, see `index.rs`.
#[derive(Default)]
pub(super) struct Recent {
    /// Key and seq, in the order of seq.
    entries: VecDeque<(i64, i64)>,
    /// The first seq of each key.
    first: HashMap<i64, i64>,
    /// Entries before this one are committed.
    committed: usize,
}

impl Recent {
    /// How many keys wait to be indexed.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The first event with this key. Keys are parts of hashes: whoever asks compares the event itself.
    pub(super) fn first(&self, key: i64) -> Option<i64> {
        self.first.get(&key).copied()
    }

    pub(super) fn insert(&mut self, key: i64, seq: i64) {
        self.first.entry(key).or_insert(seq);
        self.entries.push_back((key, seq));
    }

    /// Lets the event that comes next be the first with this key: the one before it is gone from the store.
    pub(super) fn let_go(&mut self, key: i64) {
        self.first.remove(&key);
    }

    /// What was inserted so far is committed; what is inserted from here on can still be taken back.
    pub(super) fn begin(&mut self) {
        self.committed = self.entries.len();
    }

    /// Forgets what came since [`Recent::begin`]: the transaction failed.
    pub(super) fn roll_back(&mut self) {
        for (key, seq) in self.entries.split_off(self.committed) {
            self.forget(key, seq);
        }
    }

    /// Committed keys, to be written to the index.
    pub(super) fn to_index(&self) -> Vec<(i64, i64)> {
        self.entries.iter().take(self.committed).copied().collect()
    }

    /// The index on disk knows everything up to `through`: lets go of at most so many of them, and says whether any is left.
    pub(super) fn forget_through(&mut self, through: i64, most: usize) -> bool {
        let known = self.entries.partition_point(|(_, seq)| *seq <= through);
        for (key, seq) in self.entries.drain(..known.min(most)).collect::<Vec<_>>() {
            self.forget(key, seq);
        }
        self.committed = self.committed.saturating_sub(known.min(most));
        if self.entries.is_empty() {
            self.entries.shrink_to(1024);
            self.first.shrink_to(1024);
        }
        known > most
    }

    fn forget(&mut self, key: i64, seq: i64) {
        if self.first.get(&key) == Some(&seq) {
            self.first.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_transaction_leaves_nothing_behind() {
        let mut recent = Recent::default();
        recent.insert(7, 1);
        recent.begin();
        recent.insert(7, 2);
        recent.insert(8, 3);
        recent.roll_back();
        assert_eq!(recent.len(), 1);
        assert_eq!(recent.first(7), Some(1));
        assert_eq!(recent.first(8), None);
    }

    #[test]
    fn what_is_indexed_is_forgotten() {
        let mut recent = Recent::default();
        for seq in 1..=4 {
            recent.insert(seq * 10, seq);
        }
        recent.begin();
        assert!(recent.forget_through(3, 2));
        assert_eq!((recent.first(20), recent.first(30)), (None, Some(3)));
        assert!(!recent.forget_through(3, 2));
        assert_eq!(recent.len(), 1);
        assert_eq!(recent.first(30), None);
        assert_eq!(recent.first(40), Some(4));
        assert_eq!(recent.to_index(), [(40, 4)]);
    }
}
