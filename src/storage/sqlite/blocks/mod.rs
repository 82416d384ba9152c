//! Blocks: compressed bodies of several events each. The bodies of a call repeat the same text, and small bodies of
//! different calls have the same structure, so together they take a fraction of their size.
//!
//! A body is stored as it arrived first, because its sender waits. A task compresses it later and deletes the original
//! in the same transaction.

mod format;
mod reader;
mod removal;

pub(super) use self::reader::BlockReader;
pub(super) use self::removal::record_removal;
