//! Deliveries changed beside a running receiver, a few at a time.

use super::Beside;
use super::deliveries::{self, Selection};
use crate::storage::{Change, Chosen, Counted, DeliveryFilter, StoreError};

/// A way through the deliveries that were selected: handler by handler, oldest event first. Each is met once, also one that
/// comes to the same state again meanwhile.
#[derive(Clone, Debug)]
pub struct Walk {
    selection: Selection,
    part: usize,
    after: i64,
}

impl Beside {
    /// Looks up what the filter names.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for an event, handler or company that is not there.
    pub fn walk(&self, filter: &DeliveryFilter) -> Result<Walk, StoreError> {
        let selection = self.read(|conn, key| Selection::of(conn, key, filter))?;
        Ok(Walk { selection, part: 0, after: 0 })
    }

    /// How many there are, by handler, state and reason.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn count(&self, filter: &DeliveryFilter) -> Result<Vec<Counted>, StoreError> {
        self.read(|conn, key| deliveries::count(conn, &Selection::of(conn, key, filter)?))
    }

    /// The next ones on the way, at most `limit`; none at its end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next(&self, walk: &mut Walk, limit: usize) -> Result<Option<Chosen>, StoreError> {
        while walk.part < walk.selection.parts() {
            let selection = walk.selection.behind(walk.after);
            let chosen = self.read(|conn, _| deliveries::chosen(conn, &selection, walk.part, limit))?;
            if let Some((last, chosen)) = chosen.and_then(|chosen| Some((*chosen.seqs.last()?, chosen))) {
                walk.after = last;
                return Ok(Some(chosen));
            }
            (walk.part, walk.after) = (walk.part + 1, 0);
        }
        Ok(None)
    }

    /// Changes them in one transaction, those that are still in a state that allows it; says how many.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was changed.
    pub fn change(&mut self, chosen: &Chosen, change: Change, now_ms: i64) -> Result<u64, StoreError> {
        self.write(|conn, key| deliveries::change(conn, key, chosen, change, now_ms))
    }
}
