//! Counts and changes deliveries while a receiver is running, in small batches.

use super::OperatorStore;
use crate::storage::sqlite::deliveries::{self, CountedStep, DeliveryQuery};
use crate::storage::{CountedBatch, DeliveryBatch, DeliveryChange, DeliveryFilter, Seq, StoreError};

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

impl DeliveryCursor {
    fn start_next_part(&mut self) {
        self.part_index += 1;
        self.after_seq = Seq(0);
    }

    fn visited_events(&self) -> u64 {
        let part = self.selection.event_count_through(Seq(i64::MAX));
        part * self.part_index as u64 + self.selection.event_count_through(self.after_seq)
    }
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

    /// Counts the next deliveries by handler, state and reason; `None` at the end.
    pub(in crate::storage::sqlite) fn count_next(
        &self,
        cursor: &mut DeliveryCursor,
    ) -> Result<Option<CountedBatch>, StoreError> {
        while cursor.part_index < cursor.selection.handler_count() {
            let step = self
                .read(|conn, _| deliveries::count_next(conn, &cursor.selection, cursor.part_index, cursor.after_seq))?;
            let Some(CountedStep { counts, last }) = step else {
                cursor.start_next_part();
                continue;
            };
            cursor.after_seq = last;
            let total = cursor.selection.event_count_through(Seq(i64::MAX)) * cursor.selection.handler_count() as u64;
            return Ok(Some(CountedBatch { counts, visited: cursor.visited_events(), total }));
        }
        Ok(None)
    }

    /// The next batch of at most `limit` deliveries of one handler; `None` at the end.
    pub(in crate::storage::sqlite) fn next_batch(
        &self,
        cursor: &mut DeliveryCursor,
        limit: usize,
    ) -> Result<Option<DeliveryBatch>, StoreError> {
        while cursor.part_index < cursor.selection.handler_count() {
            let batch = self.read(|conn, _| {
                deliveries::next_batch(conn, &cursor.selection, cursor.part_index, cursor.after_seq, limit)
            })?;
            match batch {
                Some((batch, last)) => {
                    cursor.after_seq = last;
                    if !batch.seqs.is_empty() {
                        return Ok(Some(batch));
                    }
                }
                None => cursor.start_next_part(),
            }
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
