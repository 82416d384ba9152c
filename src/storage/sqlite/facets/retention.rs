//! Removal of data: by age in the receiver's writer, everything else on the operator's thread.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::storage::sqlite::blocks::{self, DamagedBlock};
use crate::storage::sqlite::operator::OperatorRemoval;
use crate::storage::sqlite::writer::WriterContext;
use crate::storage::sqlite::{SqliteStore, bodies, readers, removal};
use crate::storage::{
    CallKey, DataSubject, ErasureCounts, ErasureStore, EventsByHandler, JournalScanResult, Position, PurgeBatch,
    PurgeBatchResult, RetentionStore, Seq, StoreError,
};

/// Approximate number of rows that one batch of a purge changes, see [`StoreWriter::write_background`].
///
/// [`StoreWriter::write_background`]: crate::storage::sqlite::writer::StoreWriter::write_background
const PURGE_BATCH_ROWS: usize = 256;

#[async_trait]
impl RetentionStore for SqliteStore {
    async fn purge_batch(&self, purge: PurgeBatch) -> Result<PurgeBatchResult, StoreError> {
        let Some(writer) = &self.writer else {
            return self.operator().await?.run(move |operator| operator.purge(&purge, false)).await;
        };
        let key = writer.identity_key.clone();
        let work = move |state: &mut WriterContext| {
            // All or nothing: a failure half-way must undo this batch and leave the other jobs of the transaction
            // alone.
            let savepoint = state.conn.savepoint()?;
            let result = removal::purge_batch(&savepoint, &key, &purge)?;
            savepoint.commit()?;
            Ok(result)
        };
        writer.write_background(PURGE_BATCH_ROWS, work).await
    }

    async fn reclaim_space(&self, freed_before_ms: i64) -> Result<bool, StoreError> {
        let Some(writer) = &self.writer else {
            return self.operator().await?.run(move |operator| operator.reclaim_space(freed_before_ms)).await;
        };
        // Overwriting and punching holes takes long and needs no transaction, so a reader thread does it. The rows
        // are deleted afterwards: a crash in between repeats the work, while the other order could leave erased bytes
        // on the disk.
        let reclaim = move |reader: &readers::ReaderContext| {
            removal::reclaim_bodies(&reader.conn, &reader.bodies.files.folder, &reader.sync, freed_before_ms)
        };
        let reclaimed = self.readers.read(reclaim).await?;
        let rewrite = move |reader: &readers::ReaderContext| {
            blocks::next_rewrite(&reader.conn, freed_before_ms, DamagedBlock::Keep)
        };
        let rewritten = self.readers.read(rewrite).await?;
        let bodies_left = removal::is_full_batch(&reclaimed) || rewritten.is_some();
        let work = move |state: &mut WriterContext| {
            removal::delete_freed_rows(&state.conn, &reclaimed)?;
            if let Some(rewritten) = &rewritten {
                rewritten.apply(&state.conn)?;
            }
            removal::reclaim_pages(&state.conn, removal::MIN_FREE_PAGES)
        };
        Ok(writer.write_background(PURGE_BATCH_ROWS, work).await? || bodies_left)
    }

    async fn used_bytes(&self) -> Result<u64, StoreError> {
        self.readers.read(|reader| removal::used_bytes(&reader.conn, &reader.bodies.files.folder)).await
    }

    async fn count_purgeable(&self, purge: PurgeBatch) -> Result<PurgeBatchResult, StoreError> {
        self.operator().await?.run(move |operator| operator.purge(&purge, true)).await
    }
}

#[async_trait]
impl ErasureStore for SqliteStore {
    async fn scan_journal(&self, person: DataSubject, after: Position) -> Result<JournalScanResult, StoreError> {
        self.operator().await?.run(move |operator| operator.scan_journal(&person, after)).await
    }

    async fn find_calls(&self, person: DataSubject) -> Result<Vec<CallKey>, StoreError> {
        self.operator().await?.run(move |operator| operator.find_calls(&person)).await
    }

    async fn list_event_seqs_of_calls(&self, calls: BTreeSet<CallKey>) -> Result<BTreeSet<Seq>, StoreError> {
        self.operator().await?.run(move |operator| operator.list_event_seqs_of_calls(&calls)).await
    }

    async fn list_event_ids(&self, seqs: BTreeSet<Seq>) -> Result<Vec<String>, StoreError> {
        self.operator().await?.run(move |operator| operator.list_event_ids(&seqs)).await
    }

    async fn count_erasable(&self, person: DataSubject, seqs: BTreeSet<Seq>) -> Result<ErasureCounts, StoreError> {
        self.operator().await?.run(move |operator| operator.count_erasable(&person, &seqs)).await
    }

    async fn list_recipients(&self, seqs: BTreeSet<Seq>) -> Result<EventsByHandler, StoreError> {
        self.operator().await?.run(move |operator| operator.list_recipients(&seqs)).await
    }

    async fn cancel_deliveries(&self, seqs: Vec<Seq>, now_ms: i64) -> Result<(u64, u64), StoreError> {
        self.operator().await?.run(move |operator| operator.cancel_deliveries(&seqs, now_ms)).await
    }

    async fn erase_events(&self, seqs: Vec<Seq>, now_ms: i64) -> Result<ErasureCounts, StoreError> {
        self.operator().await?.run(move |operator| operator.erase_events(&seqs, now_ms)).await
    }

    async fn erase_related_rows(&self, person: DataSubject) -> Result<ErasureCounts, StoreError> {
        self.operator().await?.run(move |operator| operator.erase_related_rows(&person)).await
    }

    async fn list_unsearchable_files(&self) -> Result<Vec<String>, StoreError> {
        let list = |reader: &readers::ReaderContext| {
            let findings = bodies::inspect(&reader.bodies.files.folder, &reader.conn, &reader.identity_key)?;
            let unreferenced = findings.iter().filter(|finding| finding.is_unreferenced());
            Ok(unreferenced.map(ToString::to_string).collect())
        };
        self.readers.read(list).await
    }

    async fn finish_erasure(&self) -> Result<bool, StoreError> {
        self.operator().await?.run(OperatorRemoval::scrub_files).await
    }
}
