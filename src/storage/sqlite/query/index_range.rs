//! Merges ranges of indexes in the order of sequence numbers.

use std::collections::{BinaryHeap, VecDeque};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::storage::Seq;

/// Entries of a range that are read at first; further reads take twice as many, up to [`MAX_READ`].
const FIRST_READ: usize = 8;
const MAX_READ: usize = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage::sqlite) enum Order {
    OldestFirst,
    NewestFirst,
}

/// Sequence numbers above `after` and up to `through`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage::sqlite) struct SeqBounds {
    pub(in crate::storage::sqlite) after: Seq,
    pub(in crate::storage::sqlite) through: Seq,
}

impl SeqBounds {
    pub(in crate::storage::sqlite) const ALL: Self = Self { after: Seq(0), through: Seq(i64::MAX) };

    /// What is left after `seq` was visited.
    pub(in crate::storage::sqlite) fn continue_after(self, seq: Seq, order: Order) -> Self {
        match order {
            Order::OldestFirst => Self { after: self.after.max(seq), ..self },
            Order::NewestFirst => Self { through: self.through.min(Seq(seq.0 - 1)), ..self },
        }
    }

    pub(in crate::storage::sqlite) fn intersect(self, other: Self) -> Self {
        Self { after: self.after.max(other.after), through: self.through.min(other.through) }
    }

    pub(in crate::storage::sqlite) fn is_empty(self) -> bool {
        self.after >= self.through
    }
}

/// Sequence numbers in ascending order: a part of an index or of a table, or a list.
#[derive(Clone, Debug)]
pub(in crate::storage::sqlite) enum SeqRange {
    Index {
        seq_column: &'static str,
        /// What follows FROM, with a condition, and with the parameters from `?4` on.
        from_where: &'static str,
        keys: Vec<Value>,
    },
    Listed(Vec<Seq>),
}

impl SeqRange {
    pub(in crate::storage::sqlite) fn index(
        seq_column: &'static str,
        from_where: &'static str,
        keys: impl IntoIterator<Item = Value>,
    ) -> Self {
        Self::Index { seq_column, from_where, keys: keys.into_iter().collect() }
    }

    pub(in crate::storage::sqlite) fn listed(mut seqs: Vec<Seq>) -> Self {
        seqs.sort_unstable();
        seqs.dedup();
        Self::Listed(seqs)
    }

    fn read(
        &self,
        conn: &Connection,
        bounds: SeqBounds,
        order: Order,
        limit: usize,
    ) -> rusqlite::Result<VecDeque<Seq>> {
        let (seq_column, from_where, keys) = match self {
            Self::Index { seq_column, from_where, keys } => (seq_column, from_where, keys),
            Self::Listed(seqs) => return Ok(read_list(seqs, bounds, order, limit)),
        };
        let direction = if order == Order::NewestFirst { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT {seq_column} FROM {from_where} AND {seq_column} > ?1 AND {seq_column} <= ?2
             ORDER BY {seq_column} {direction} LIMIT ?3"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = [bounds.after.0, bounds.through.0, limit].map(Value::Integer).into_iter().chain(keys.clone());
        let mut statement = conn.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
        rows.collect()
    }
}

fn read_list(seqs: &[Seq], bounds: SeqBounds, order: Order, limit: usize) -> VecDeque<Seq> {
    let start = seqs.partition_point(|seq| *seq <= bounds.after);
    let end = seqs.partition_point(|seq| *seq <= bounds.through);
    let included = seqs.get(start..end).unwrap_or_default().iter().copied();
    match order {
        Order::OldestFirst => included.take(limit).collect(),
        Order::NewestFirst => included.rev().take(limit).collect(),
    }
}

/// The first `limit` sequence numbers within the bounds, from all ranges together, each once.
pub(in crate::storage::sqlite) fn merge_ranges(
    conn: &Connection,
    ranges: &[SeqRange],
    bounds: SeqBounds,
    order: Order,
    limit: usize,
) -> rusqlite::Result<Vec<Seq>> {
    if bounds.is_empty() {
        return Ok(Vec::new());
    }
    if let [range] = ranges {
        return Ok(range.read(conn, bounds, order, limit)?.into());
    }
    let mut merge = RangeMerge::start(conn, ranges, bounds, order)?;
    let mut seqs = Vec::new();
    while seqs.len() < limit
        && let Some(seq) = merge.pop()?
    {
        seqs.push(seq);
    }
    Ok(seqs)
}

/// Iterates over the sequence numbers of all ranges together, each once.
pub(super) struct RangeMerge<'a> {
    conn: &'a Connection,
    order: Order,
    bounds: SeqBounds,
    parts: Vec<RangePart<'a>>,
    /// The next entry of each part, as a key of which the largest comes first, with the index of the part.
    heads: BinaryHeap<(i64, usize)>,
    /// Entries that were read so far.
    pub(super) entries_read: usize,
}

struct RangePart<'a> {
    range: &'a SeqRange,
    entries: VecDeque<Seq>,
    read_size: usize,
    is_complete: bool,
    /// Whether an entry was taken since the last read without skipping.
    was_used: bool,
}

impl<'a> RangeMerge<'a> {
    pub(super) fn start(
        conn: &'a Connection,
        ranges: &'a [SeqRange],
        bounds: SeqBounds,
        order: Order,
    ) -> rusqlite::Result<Self> {
        let part = |range| RangePart {
            range,
            entries: VecDeque::new(),
            read_size: FIRST_READ,
            is_complete: bounds.is_empty(),
            was_used: false,
        };
        let parts = ranges.iter().map(part).collect();
        let mut merge = Self { conn, order, bounds, parts, heads: BinaryHeap::new(), entries_read: 0 };
        for index in 0..ranges.len() {
            merge.advance(index, bounds)?;
        }
        Ok(merge)
    }

    /// The next number, which stays the next.
    pub(super) fn peek(&self) -> Option<Seq> {
        self.heads.peek().map(|(key, _)| self.seq_of(*key))
    }

    pub(super) fn pop(&mut self) -> rusqlite::Result<Option<Seq>> {
        let Some(seq) = self.peek() else { return Ok(None) };
        let rest = self.bounds.continue_after(seq, self.order);
        while self.peek() == Some(seq) {
            let Some((_, index)) = self.heads.pop() else { break };
            self.parts[index].was_used = true;
            self.advance(index, rest)?;
        }
        Ok(Some(seq))
    }

    /// Skips the numbers before `target`.
    pub(super) fn seek(&mut self, target: Seq) -> rusqlite::Result<()> {
        let rest = self.bounds.continue_after(number_before(target, self.order), self.order);
        let target_key = self.key_of(target);
        while let Some((key, index)) = self.heads.peek().copied()
            && key > target_key
        {
            self.heads.pop();
            let part = &mut self.parts[index];
            let skipped = match self.order {
                Order::OldestFirst => part.entries.partition_point(|seq| *seq < target),
                Order::NewestFirst => part.entries.partition_point(|seq| *seq > target),
            };
            part.entries.drain(..skipped);
            part.was_used |= !part.entries.is_empty();
            self.advance(index, rest)?;
        }
        Ok(())
    }

    fn key_of(&self, seq: Seq) -> i64 {
        if self.order == Order::NewestFirst { seq.0 } else { -seq.0 }
    }

    fn seq_of(&self, key: i64) -> Seq {
        Seq(if self.order == Order::NewestFirst { key } else { -key })
    }

    /// Puts the next entry of a part among the heads; `rest` is what was not read yet. Reads more at a time while entries
    /// are used, and less while they are skipped.
    fn advance(&mut self, index: usize, rest: SeqBounds) -> rusqlite::Result<()> {
        let part = &mut self.parts[index];
        if part.entries.is_empty() && !part.is_complete && !rest.is_empty() {
            part.entries = part.range.read(self.conn, rest, self.order, part.read_size)?;
            part.is_complete = part.entries.len() < part.read_size;
            self.entries_read += part.entries.len();
            part.read_size = if part.was_used { part.read_size * 2 } else { part.read_size / 2 };
            part.read_size = part.read_size.clamp(FIRST_READ, MAX_READ);
            part.was_used = false;
        }
        if let Some(seq) = part.entries.pop_front() {
            let key = self.key_of(seq);
            self.heads.push((key, index));
        }
        Ok(())
    }
}

/// What a step that ends before `seq` has visited last.
pub(super) fn number_before(seq: Seq, order: Order) -> Seq {
    Seq(if order == Order::NewestFirst { seq.0.saturating_add(1) } else { seq.0.saturating_sub(1) })
}
