//! The store as a whole: probe, figures, end.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::storage::sqlite::files::{Inventory, OpenFiles};
use crate::storage::sqlite::ledger::{LedgerWriter, invocations};
use crate::storage::sqlite::{SqliteStore, overview, readers, writer::append};
use crate::storage::{HandlerBacklog, Maintenance, Store, StoreError, StoreOverview, StoreStats};

/// How long [`Maintenance::probe`] waits for the writer, and how long its result is reused.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

#[async_trait]
impl Maintenance for SqliteStore {
    async fn probe(&self) -> Result<(), StoreError> {
        // With the priority of an event: what is measured is whether an event would be stored in time.
        let writer = self.writer()?;
        // Not cached, as it costs next to nothing.
        self.files.as_deref().map_or(Ok(()), OpenFiles::check)?;
        self.last_probe.get_or_run(writer.write(append::probe)).await
    }

    async fn probe_invocations(&self) -> Result<(), StoreError> {
        let ledger = self.ledger()?;
        ledger.files().check()?;
        self.last_ledger_probe.get_or_run(ledger.write(invocations::probe)).await
    }

    fn file_difference(&self) -> Option<String> {
        let files = self.files.iter().chain(self.ledger.iter().map(LedgerWriter::files));
        let differences: Vec<String> = files.filter_map(|files| files.difference()).collect();
        (!differences.is_empty()).then(|| differences.join("; "))
    }

    async fn notes(&self) -> Vec<String> {
        let url = self.url.clone();
        // On a reader thread, because it lists a folder.
        let kept = self.readers.read(move |_| Ok(Inventory::read(&url).unwrap_or_default().kept)).await;
        kept.unwrap_or_default().into_iter().map(|finding| finding.text).collect()
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

/// The latest probe and its result. It is reused for a while, because readiness can be polled by anyone and each probe
/// writes to the disk.
#[derive(Default)]
pub(in crate::storage::sqlite) struct ProbeCache(Mutex<Option<(Instant, Result<(), StoreError>)>>);

impl ProbeCache {
    async fn get_or_run(&self, probe: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
        // Held during the probe: concurrent callers wait for its result instead of each writing to the disk.
        let mut last_probe = self.0.lock().await;
        if let Some((at, outcome)) = &*last_probe
            && at.elapsed() < PROBE_TIMEOUT
        {
            return outcome.clone();
        }
        let outcome = tokio::time::timeout(PROBE_TIMEOUT, probe)
            .await
            .unwrap_or_else(|_| Err(StoreError::unavailable("the store did not respond within 1 s")));
        *last_probe = Some((Instant::now(), outcome.clone()));
        outcome
    }
}
