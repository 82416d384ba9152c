//! Deliveries as an operator lists and changes them.

use std::sync::Arc;

use async_trait::async_trait;

use crate::base::id::EventId;
use crate::storage::sqlite::deliveries::DeliveryQuery;
use crate::storage::sqlite::latency_totals::{self, TotalsTable};
use crate::storage::sqlite::operator::{DeliveryCursor, OperatorThread, TotalsRebuildState};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::sqlite::{SqliteStore, deliveries, overview};
use crate::storage::{
    ChangedBatch, CountedBatch, DeliveryAdmin, DeliveryChange, DeliveryFilter, DeliveryOutlook, DeliveryPage,
    DeliverySelection, HandlerBacklog, LatencyFilter, LatencyGroups, Position, Seq, StoreError, TotalsRebuild,
    TotalsRebuildStep,
};

#[async_trait]
impl DeliveryAdmin for SqliteStore {
    async fn list_deliveries(
        &self,
        filter: DeliveryFilter,
        limit: usize,
        before: Option<Position>,
    ) -> Result<DeliveryPage, StoreError> {
        let list = move |reader: &ReaderContext| {
            // An event without a delivery has no row to show.
            let filter = DeliveryFilter { include_undelivered: false, ..filter };
            let mut query = DeliveryQuery::resolve(&reader.conn, &reader.identity_key, &filter)?;
            if let Some(before) = before {
                query = query.ending_with(before.seq());
            }
            let (rows, visited_from) = deliveries::list_page(&reader.conn, &query, limit)?;
            let next_before = visited_from.map(|seq| Position::after(Seq(seq.0 - 1)));
            Ok(DeliveryPage { rows, next_before })
        };
        self.readers.read(list).await
    }

    async fn delivery_outlooks(&self, id: EventId) -> Result<Vec<(String, DeliveryOutlook)>, StoreError> {
        self.readers.read(move |reader| deliveries::list_outlooks(&reader.conn, id)).await
    }

    async fn list_backlogs(&self, max_counted: usize, dead_since_ms: i64) -> Result<Vec<HandlerBacklog>, StoreError> {
        let max_counted = i64::try_from(max_counted).unwrap_or(i64::MAX);
        self.readers.read(move |reader| Ok(overview::backlogs(&reader.conn, max_counted, dead_since_ms)?.1)).await
    }

    async fn attempt_stats(&self, filter: LatencyFilter) -> Result<LatencyGroups, StoreError> {
        let read =
            move |reader: &ReaderContext| latency_totals::read_stats(&reader.conn, TotalsTable::Attempts, &filter);
        self.readers.read(read).await
    }

    async fn rebuild_attempt_totals(&self) -> Result<Box<dyn TotalsRebuild>, StoreError> {
        Ok(Box::new(SqliteTotalsRebuild::start(self, TotalsTable::Attempts).await?))
    }

    async fn select_deliveries(&self, filter: DeliveryFilter) -> Result<Box<dyn DeliverySelection>, StoreError> {
        let operator = self.operator().await?;
        let cursor = operator.run(move |operator| operator.store.select_deliveries(&filter)).await?;
        Ok(Box::new(SqliteSelection { operator, cursor }))
    }
}

/// A rebuild, whose steps run on the thread of the operator.
pub(in crate::storage::sqlite) struct SqliteTotalsRebuild {
    operator: Arc<OperatorThread>,
    /// `None` after an error, which ends the rebuild.
    state: Option<TotalsRebuildState>,
}

impl SqliteTotalsRebuild {
    pub(in crate::storage::sqlite) async fn start(store: &SqliteStore, table: TotalsTable) -> Result<Self, StoreError> {
        let operator = store.operator().await?;
        let state = operator.run(move |operator| operator.store.start_totals_rebuild(table)).await?;
        Ok(Self { operator, state: Some(state) })
    }
}

#[async_trait]
impl TotalsRebuild for SqliteTotalsRebuild {
    async fn correct_next(&mut self) -> Result<Option<TotalsRebuildStep>, StoreError> {
        let Some(mut state) = self.state.take() else { return Ok(None) };
        let step = self.operator.run(move |operator| {
            let step = operator.store.continue_totals_rebuild(&mut state)?;
            Ok((state, step))
        });
        let (state, step) = step.await?;
        self.state = Some(state);
        Ok(step)
    }
}

struct SqliteSelection {
    operator: Arc<OperatorThread>,
    cursor: DeliveryCursor,
}

#[async_trait]
impl DeliverySelection for SqliteSelection {
    async fn count_next(&mut self) -> Result<Option<CountedBatch>, StoreError> {
        let mut cursor = self.cursor.clone();
        let step = self.operator.run(move |operator| {
            let counted = operator.store.count_next(&mut cursor)?;
            Ok(counted.map(|counted| (cursor, counted)))
        });
        let Some((cursor, counted)) = step.await? else { return Ok(None) };
        self.cursor = cursor;
        Ok(Some(counted))
    }

    async fn change_next(
        &mut self,
        change: DeliveryChange,
        limit: usize,
        now_ms: i64,
    ) -> Result<Option<ChangedBatch>, StoreError> {
        let mut cursor = self.cursor.clone();
        let step = self.operator.run(move |operator| {
            let Some(batch) = operator.store.next_batch(&mut cursor, limit)? else { return Ok(None) };
            let changed = operator.store.change_deliveries(&batch, change, now_ms)?;
            Ok(Some((cursor, ChangedBatch { visited: batch.seqs.len() as u64, changed })))
        });
        // The cursor moves only after the change is committed.
        let Some((cursor, changed)) = step.await? else { return Ok(None) };
        self.cursor = cursor;
        Ok(Some(changed))
    }
}
