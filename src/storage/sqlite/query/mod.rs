//! Finds rows by the filters of lists in bounded time: a filter becomes ranges of indexes in which sequence numbers
//! ascend, and the candidates in them are compared with the rest of the filter in steps.
//!
//! Each step is a short read transaction. A longer one would keep the write-ahead log from starting over, see
//! `wal/checkpoint.rs`.

mod event_query;
mod index_range;
pub(super) mod time_range;

pub(super) use self::event_query::{EventQuery, json_list, list_event_seqs_of_call};
pub(super) use self::index_range::{IndexRange, Order, SeqBounds};

#[cfg(test)]
mod tests;
