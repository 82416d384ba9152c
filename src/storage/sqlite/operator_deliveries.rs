//! Deliveries changed beside a running receiver, a few at a time.

use super::OperatorStore;
use super::deliveries::{self, DeliveryQuery};
use crate::storage::{DeliveryBatch, DeliveryChange, DeliveryCount, DeliveryFilter, StoreError};

/// A way through the deliveries that were selected: handler by handler, oldest event first. Each is met once, also one that
/// comes to the same state again meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryCursor {
    selection: DeliveryQuery,
    part_index: usize,
    after_seq: i64,
}

impl OperatorStore {
    /// Looks up what the filter names.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for an event, handler or company that is not there.
    pub(crate) fn select_deliveries(&self, filter: &DeliveryFilter) -> Result<DeliveryCursor, StoreError> {
        let selection = self.read(|conn, key| DeliveryQuery::resolve(conn, key, filter))?;
        Ok(DeliveryCursor { selection, part_index: 0, after_seq: 0 })
    }

    /// How many there are, by handler, state and reason.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn count_deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryCount>, StoreError> {
        self.read(|conn, key| deliveries::count_deliveries(conn, &DeliveryQuery::resolve(conn, key, filter)?))
    }

    /// The next ones on the way, at most `limit`; none at its end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn next_batch(
        &self,
        walk: &mut DeliveryCursor,
        limit: usize,
    ) -> Result<Option<DeliveryBatch>, StoreError> {
        while walk.part_index < walk.selection.handler_count() {
            let selection = walk.selection.starting_after(walk.after_seq);
            let chosen = self.read(|conn, _| deliveries::next_batch(conn, &selection, walk.part_index, limit))?;
            if let Some((last, chosen)) = chosen.and_then(|chosen| Some((*chosen.seqs.last()?, chosen))) {
                walk.after_seq = last;
                return Ok(Some(chosen));
            }
            (walk.part_index, walk.after_seq) = (walk.part_index + 1, 0);
        }
        Ok(None)
    }

    /// Changes them in one transaction, those that are still in a state that allows it; says how many.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was changed.
    pub(crate) fn change_deliveries(
        &mut self,
        chosen: &DeliveryBatch,
        change: DeliveryChange,
        now_ms: i64,
    ) -> Result<u64, StoreError> {
        self.write(|conn, key| deliveries::apply_bulk_operation(conn, key, chosen, change, now_ms))
    }
}
