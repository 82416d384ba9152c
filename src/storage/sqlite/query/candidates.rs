//! Candidates of a filter: sequence numbers that two indexes have in common.

use rusqlite::Connection;

use super::index_range::{RangeMerge, merge_ranges, number_before};
use super::{Order, SeqBounds, SeqRange};
use crate::storage::Seq;

/// Entries of indexes that are read in one step: some ten milliseconds.
const MAX_ENTRIES_READ: usize = 50_000;

/// Numbers of candidates and of entries after which a step ends.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage::sqlite) struct StepLimit {
    candidates: usize,
    entries_read: usize,
}

impl StepLimit {
    pub(in crate::storage::sqlite) fn new(candidates: usize) -> Self {
        Self { candidates, entries_read: MAX_ENTRIES_READ }
    }

    /// For one of several searches that together are one step.
    pub(in crate::storage::sqlite) fn share_of(candidates: usize, searches: usize) -> Self {
        Self { candidates, entries_read: MAX_ENTRIES_READ / searches.max(1) }
    }
}

/// Sequence numbers in one of `ranges` and, if there are any, in one of `others`.
#[derive(Clone, Debug, Default)]
pub(in crate::storage::sqlite) struct Candidates {
    pub(in crate::storage::sqlite) ranges: Vec<SeqRange>,
    pub(in crate::storage::sqlite) others: Option<Vec<SeqRange>>,
}

/// The candidates of one step.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::storage::sqlite) struct CandidateStep {
    pub(in crate::storage::sqlite) seqs: Vec<Seq>,
    /// The last number that was visited; `None` when all were.
    pub(in crate::storage::sqlite) visited: Option<Seq>,
}

impl Candidates {
    /// The next candidates within the bounds. There may be none although others follow: a step ends when it has read too
    /// much.
    pub(in crate::storage::sqlite) fn next(
        &self,
        conn: &Connection,
        bounds: SeqBounds,
        order: Order,
        limit: StepLimit,
    ) -> rusqlite::Result<CandidateStep> {
        let Some(others) = &self.others else {
            let seqs = merge_ranges(conn, &self.ranges, bounds, order, limit.candidates)?;
            let visited = seqs.last().copied().filter(|_| seqs.len() == limit.candidates);
            return Ok(CandidateStep { seqs, visited });
        };
        let mut merge = RangeMerge::start(conn, &self.ranges, bounds, order)?;
        let mut other_merge = RangeMerge::start(conn, others, bounds, order)?;
        let mut step = CandidateStep { seqs: Vec::new(), visited: None };
        while let (Some(seq), Some(other)) = (merge.peek(), other_merge.peek()) {
            if seq != other {
                let is_behind = if order == Order::NewestFirst { seq > other } else { seq < other };
                let (lagging, target) = if is_behind { (&mut merge, other) } else { (&mut other_merge, seq) };
                lagging.seek(target)?;
                if merge.entries_read + other_merge.entries_read > limit.entries_read {
                    step.visited = Some(number_before(target, order));
                    return Ok(step);
                }
                continue;
            }
            step.seqs.push(seq);
            if step.seqs.len() == limit.candidates {
                step.visited = Some(seq);
                return Ok(step);
            }
            merge.pop()?;
        }
        Ok(step)
    }
}
