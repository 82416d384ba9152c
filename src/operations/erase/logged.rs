//! Erases the persons of the erasure log in a store that was restored and that no one else has open.

use super::search::PersonSearch;
use super::{ErasableStore, clear_store_files, erase_events};
use crate::base::clock::Clock;
use crate::operations::{OperationError, ProgressCallback};
use crate::storage::{DataSubject, ErasureCounts};

#[derive(Debug, Default)]
pub(crate) struct ErasedAgain {
    pub(crate) counts: ErasureCounts,
    pub(crate) unreadable_bodies: u64,
    /// Whether no copy of the erased data is left in the files of the store.
    pub(crate) store_files_cleared: bool,
}

pub(crate) async fn erase_logged_persons(
    store: &(impl ErasableStore + ?Sized),
    clock: &Clock,
    persons: Vec<DataSubject>,
    progress: ProgressCallback<'_>,
) -> Result<ErasedAgain, OperationError> {
    let mut erased = ErasedAgain { store_files_cleared: true, ..ErasedAgain::default() };
    for person in persons {
        let mut search = PersonSearch::of_person(person);
        search.run(store, progress).await?;
        erased.counts += erase_events(store, clock, &search, progress).await?;
        erased.counts += store.erase_related_rows(search.person.clone()).await?;
        erased.store_files_cleared &= clear_store_files(store).await?;
        erased.unreadable_bodies += search.unreadable_bodies;
    }
    Ok(erased)
}
