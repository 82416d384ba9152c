//! Makes the erasures again that are newer than a backup.

use super::format_time;
use super::manifest::Manifest;
use crate::base::clock::Clock;
use crate::operations::erase::erase_logged_persons;
use crate::operations::{OperationError, ProgressCallback};
use crate::storage::Store;
use crate::storage::backup::{ErasureLogContent, ErasureLogEntry};
use crate::view::ReappliedErasuresView;

/// What the erasure log says about the time after a backup.
pub(super) struct LaterErasures {
    entries: Vec<ErasureLogEntry>,
    /// Periods whose erasures are not known, in words.
    gaps: Vec<String>,
}

impl LaterErasures {
    pub(super) fn new(manifest: &Manifest, log: Option<ErasureLogContent>) -> Self {
        let taken_at = &manifest.taken_at;
        let Some(log) = log.filter(|log| log.store_id == manifest.store_id) else {
            let gap = format!(
                "the erasure log of this store is not next to it, so persons who were erased after {taken_at} are in the \
                 store again; erase them again"
            );
            return Self { entries: Vec::new(), gaps: vec![gap] };
        };
        let mut gaps = Vec::new();
        let mark = &manifest.erasure_mark;
        let is_same_log = log.log_id == mark.log_id;
        if !is_same_log {
            gaps.push(format!(
                "the erasure log begins at {}, so persons who were erased between {taken_at} and then are in the store \
                 again; erase them again",
                format_time(log.created_at_ms)
            ));
        }
        if is_same_log && log.size_bytes < mark.offset {
            gaps.push(format!(
                "the erasure log is older than the backup, so persons who were erased after {taken_at} may be in the store \
                 again; erase them again"
            ));
        }
        if log.damaged_lines > 0 {
            gaps.push(format!(
                "{} lines of the erasure log are damaged, and the persons in them may be in the store again",
                log.damaged_lines
            ));
        }
        // Times are compared only where places cannot be: a clock may have been set back.
        let is_later = |offset: u64, entry: &ErasureLogEntry| {
            if is_same_log { offset >= mark.offset } else { entry.at_ms >= manifest.taken_at_ms }
        };
        let entries = log.entries.into_iter().filter(|(offset, entry)| is_later(*offset, entry));
        Self { entries: entries.map(|(_, entry)| entry).collect(), gaps }
    }

    /// Erases the persons in a store that no one else has open.
    pub(super) async fn reapply(
        self,
        store: &dyn Store,
        clock: &Clock,
        progress: ProgressCallback<'_>,
    ) -> Result<ReappliedErasuresView, OperationError> {
        let log_entries = self.entries.len() as u64;
        let mut not_reapplied = self.gaps;
        let persons = store.find_logged_persons(self.entries).await?;
        let erased = erase_logged_persons(store, clock, persons, progress).await?;
        if erased.unreadable_bodies > 0 {
            not_reapplied.push(format!(
                "{} bodies could not be read, so they were not searched for erased persons",
                erased.unreadable_bodies
            ));
        }
        if !erased.store_files_cleared {
            not_reapplied.push("a copy of erased data remains in the files of the store".to_owned());
        }
        Ok(ReappliedErasuresView {
            complete: not_reapplied.is_empty(),
            not_reapplied,
            log_entries,
            events: erased.counts.events,
            calls: erased.counts.calls,
            rejected: erased.counts.rejected,
            invocations: erased.counts.invocations,
            appointments: erased.counts.appointments,
        })
    }
}
