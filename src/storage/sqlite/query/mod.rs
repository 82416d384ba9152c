//! Finds rows by the filters of lists in bounded time: a filter becomes ranges of indexes in which sequence numbers
//! ascend, and the candidates in them are compared with the rest of the filter in steps.
//!
//! Each step is a short read transaction. A longer one would keep the write-ahead log from starting over, see
//! `wal/checkpoint.rs`.

mod candidates;
mod event_query;
mod index_range;
#[cfg(test)]
mod pages;
pub(super) mod time_range;

pub(super) use self::candidates::{CandidateStep, Candidates, StepLimit};
pub(super) use self::event_query::{EventQuery, all_events, find_candidates, json_list};
pub(super) use self::index_range::{Order, SeqBounds, SeqRange, merge_ranges};
pub(super) use self::time_range::seq_bounds;

#[cfg(test)]
mod tests;
