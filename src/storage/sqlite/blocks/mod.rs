//! Blocks: compressed bodies of several events each. The bodies of a call repeat the same text, and small bodies of
//! different calls have the same structure, so together they take a fraction of their size.
//!
//! A body is stored as it arrived first, because its sender waits. A task compresses it later and deletes the original
//! in the same transaction.

mod compressor;
mod format;
mod reader;
mod removal;
mod rewrite;
mod task;
#[cfg(test)]
mod tests;

pub(super) use self::reader::BlockReader;
pub(super) use self::removal::{record_removal, removed_bytes};
pub(super) use self::rewrite::{DamagedBlock, next_rewrite};
pub(super) use self::task::CompressionTask;
