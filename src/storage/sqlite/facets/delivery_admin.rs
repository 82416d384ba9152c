//! Deliveries as an operator lists and changes them.

use std::sync::Arc;

use async_trait::async_trait;

use crate::base::id::EventId;
use crate::storage::sqlite::operator::{DeliveryCursor, OperatorThread};
use crate::storage::sqlite::{SqliteStore, deliveries, overview};
use crate::storage::{
    ChangedBatch, DeliveryAdmin, DeliveryChange, DeliveryCount, DeliveryFilter, DeliveryOutlook, DeliveryRow,
    DeliverySelection, HandlerBacklog, StoreError,
};

#[async_trait]
impl DeliveryAdmin for SqliteStore {
    async fn list_deliveries(&self, filter: DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>, StoreError> {
        self.readers
            .read(move |reader| deliveries::list_deliveries(&reader.conn, &reader.identity_key, &filter, limit))
            .await
    }

    async fn delivery_outlooks(&self, id: EventId) -> Result<Vec<(String, DeliveryOutlook)>, StoreError> {
        self.readers.read(move |reader| deliveries::list_outlooks(&reader.conn, id)).await
    }

    async fn list_backlogs(&self, max_counted: usize, dead_since_ms: i64) -> Result<Vec<HandlerBacklog>, StoreError> {
        let max_counted = i64::try_from(max_counted).unwrap_or(i64::MAX);
        self.readers.read(move |reader| Ok(overview::backlogs(&reader.conn, max_counted, dead_since_ms)?.1)).await
    }

    async fn count_deliveries(&self, filter: DeliveryFilter) -> Result<Vec<DeliveryCount>, StoreError> {
        self.operator().await?.run(move |operator| operator.store.count_deliveries(&filter)).await
    }

    async fn select_deliveries(&self, filter: DeliveryFilter) -> Result<Box<dyn DeliverySelection>, StoreError> {
        let operator = self.operator().await?;
        let cursor = operator.run(move |operator| operator.store.select_deliveries(&filter)).await?;
        Ok(Box::new(SqliteSelection { operator, cursor }))
    }
}

struct SqliteSelection {
    operator: Arc<OperatorThread>,
    cursor: DeliveryCursor,
}

#[async_trait]
impl DeliverySelection for SqliteSelection {
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
