//! Durability of the write-ahead logs (WAL): checkpoints, what happens after a failed sync, and the check of a WAL
//! before SQLite opens it. docs/storage.md explains the rules.

pub(super) mod checkpoint;
mod checksum;
mod frames;
mod limit;
mod recovery;
mod sync_state;

pub(super) use limit::{MAX_WAL_BYTES_OF_READS, WalLimit};
pub(super) use recovery::recover;
pub(super) use sync_state::SyncState;
