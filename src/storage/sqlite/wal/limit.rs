//! A limit on the size of the write-ahead log, for a long read: the log cannot start over while a snapshot is open.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::storage::sqlite::SqliteUrl;

/// The limit of commands that read a whole table while a receiver may be writing.
pub(in crate::storage::sqlite) const MAX_WAL_BYTES_OF_READS: u64 = 96 * 1024 * 1024;
const SHRINK_TIMEOUT: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The size of the log at which a read has to end.
#[derive(Clone, Debug)]
pub(in crate::storage::sqlite) struct WalLimit {
    wal: PathBuf,
    max_bytes: u64,
    /// `max_bytes`, or somewhat above the log as it was at the beginning.
    current_max_bytes: u64,
}

impl WalLimit {
    pub(in crate::storage::sqlite) fn new(url: &SqliteUrl, max_bytes: u64) -> Self {
        Self { wal: url.wal_path(), max_bytes, current_max_bytes: max_bytes }
    }

    /// To be called before each snapshot. After another one the log starts over with the next write, if there is any.
    pub(in crate::storage::sqlite) fn wait_for_room(&mut self) {
        let waiting_since = Instant::now();
        while self.wal_bytes() > self.max_bytes && waiting_since.elapsed() < SHRINK_TIMEOUT {
            std::thread::sleep(POLL_INTERVAL);
        }
        self.current_max_bytes = self.max_bytes.max(self.wal_bytes() + self.max_bytes / 16);
    }

    /// The size of the log in bytes, if it is above the limit.
    pub(in crate::storage::sqlite) fn exceeded_by(&self) -> Option<u64> {
        Some(self.wal_bytes()).filter(|bytes| *bytes > self.current_max_bytes)
    }

    pub(in crate::storage::sqlite) fn wal_bytes(&self) -> u64 {
        std::fs::metadata(&self.wal).map_or(0, |file| file.len())
    }
}
