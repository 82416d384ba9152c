//! Changes deliveries while a receiver is running, in small batches.

use super::OperatorStore;
use crate::storage::Seq;
use crate::storage::sqlite::deliveries::{self, DeliveryQuery};
use crate::storage::{DeliveryBatch, DeliveryChange, DeliveryCount, DeliveryFilter, StoreError};

/// Position in the selected deliveries: handler by handler, oldest event first. Each delivery is visited once, even
/// one that returns to a selected state meanwhile: a replayed delivery that dies again is not replayed a second time.
#[derive(Clone, Debug)]
pub(in crate::storage::sqlite) struct DeliveryCursor {
    selection: DeliveryQuery,
    /// Index of the handler within the selection.
    part_index: usize,
    /// The last event visited for this handler.
    after_seq: Seq,
}

impl OperatorStore {
    /// Resolves the names in the filter and returns a cursor at the beginning.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `NotFound` for an event, handler or company that does not exist.
    pub(in crate::storage::sqlite) fn select_deliveries(
        &self,
        filter: &DeliveryFilter,
    ) -> Result<DeliveryCursor, StoreError> {
        let selection = self.read(|conn, key| DeliveryQuery::resolve(conn, key, filter))?;
        Ok(DeliveryCursor { selection, part_index: 0, after_seq: Seq(0) })
    }

    /// Numbers of the selected deliveries by handler, state and reason.
    pub(in crate::storage::sqlite) fn count_deliveries(
        &self,
        filter: &DeliveryFilter,
    ) -> Result<Vec<DeliveryCount>, StoreError> {
        self.read(|conn, key| deliveries::count_deliveries(conn, &DeliveryQuery::resolve(conn, key, filter)?))
    }

    /// The next batch of at most `limit` deliveries of one handler; `None` at the end.
    pub(in crate::storage::sqlite) fn next_batch(
        &self,
        cursor: &mut DeliveryCursor,
        limit: usize,
    ) -> Result<Option<DeliveryBatch>, StoreError> {
        while cursor.part_index < cursor.selection.handler_count() {
            let selection = cursor.selection.starting_after(cursor.after_seq);
            let batch = self.read(|conn, _| deliveries::next_batch(conn, &selection, cursor.part_index, limit))?;
            if let Some(batch) = batch
                && let Some(last) = batch.seqs.last()
            {
                cursor.after_seq = *last;
                return Ok(Some(batch));
            }
            // This handler is done; the next one starts at the beginning of the journal.
            cursor.part_index += 1;
            cursor.after_seq = Seq(0);
        }
        Ok(None)
    }

    /// Changes the deliveries of a batch in one transaction and returns how many were changed. The batch was read in
    /// an earlier transaction, so deliveries that have left the allowed states meanwhile are skipped.
    ///
    /// # Errors
    /// On any error nothing was changed.
    pub(in crate::storage::sqlite) fn change_deliveries(
        &mut self,
        batch: &DeliveryBatch,
        change: DeliveryChange,
        now_ms: i64,
    ) -> Result<u64, StoreError> {
        self.write(|conn, key| deliveries::apply_bulk_operation(conn, key, batch, change, now_ms))
    }
}
