//! The store as a whole: probe, figures, end.

use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::storage::sqlite::{SqliteStore, overview, readers, writer::append};
use crate::storage::{HandlerBacklog, Maintenance, Store, StoreError, StoreOverview, StoreStats};

/// How long [`Maintenance::probe`] waits for the writer, and how long its result is reused.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

#[async_trait]
impl Maintenance for SqliteStore {
    async fn probe(&self) -> Result<(), StoreError> {
        // Held during the probe: concurrent callers wait for its result instead of each writing to the disk.
        let mut last_probe = self.last_probe.lock().await;
        if let Some((at, outcome)) = &*last_probe
            && at.elapsed() < PROBE_TIMEOUT
        {
            return outcome.clone();
        }
        // With the priority of an event: what is measured is whether an event would be stored in time.
        let write = self.writer()?.write(|state| append::probe(&state.conn));
        let outcome = tokio::time::timeout(PROBE_TIMEOUT, write)
            .await
            .unwrap_or_else(|_| Err(StoreError::unavailable("the writer did not respond within 1 s")));
        *last_probe = Some((Instant::now(), outcome.clone()));
        outcome
    }

    async fn overview(&self, now_ms: i64) -> Result<StoreOverview, StoreError> {
        self.readers.read(move |reader| overview::overview(&reader.conn, now_ms)).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        // With `dead_since_ms` in the far future `recent_dead` stays 0; `list_backlogs` counts it.
        let count = |reader: &readers::ReaderContext| {
            Ok(overview::backlogs(&reader.conn, HandlerBacklog::MAX_COUNTED, i64::MAX)?)
        };
        let (last_seq, backlogs) = self.readers.read(count).await?;
        let writer_stats = self.writer.as_ref().map(|writer| writer.status.stats()).unwrap_or_default();
        Ok(StoreStats { last_seq, backlogs, ..writer_stats })
    }

    async fn close(&self) -> Result<(), StoreError> {
        let ledger_closed = match &self.ledger {
            Some(ledger) => ledger.close().await,
            None => Ok(()),
        };
        match &self.writer {
            // The writer is closed in any case; a failure of the ledger is reported afterwards.
            Some(writer) => writer.close().await.and(ledger_closed),
            None => Ok(()),
        }
    }

    fn location(&self) -> String {
        self.url.path().display().to_string()
    }

    async fn size_bytes(&self) -> Result<u64, StoreError> {
        let url = self.url.clone();
        self.readers.read(move |_| Ok(url.size_bytes())).await
    }

    async fn was_replaced(&self) -> bool {
        // While the path does not exist, the opened file is still read.
        let now = self.url.file_id();
        now.is_some() && now != self.file_id
    }
}

impl Store for SqliteStore {}
