//! Purge and erase commands, which may run while a receiver writes the store. Every change is a transaction of a few
//! milliseconds: SQLite allows one writer at a time, so the receiver's commits, and the webhook requests behind them,
//! wait for each of them.

use std::collections::BTreeSet;

use rusqlite::OptionalExtension;

use crate::base::id::EventId;
use crate::calls::CallKind;
use crate::storage::sqlite::SqliteUrl;
use crate::storage::sqlite::blocks::{self, DamagedBlock};
use crate::storage::sqlite::bodies::BodyReader;
use crate::storage::sqlite::ledger::invocations::delete_invocations;
use crate::storage::sqlite::operator::OperatorStore;
use crate::storage::sqlite::removal::erase::{self, DeliveryKey};
use crate::storage::sqlite::removal::{self, appointments, data_subject, space};
use crate::storage::sqlite::wal::SyncState;
use crate::storage::{
    CallKey, DataSubject, ErasureCounts, EventsByHandler, HandlerId, JournalScanResult, Position, PurgeBatch,
    PurgeBatchResult, Seq, StoreError,
};

/// Rows changed in one transaction.
const ROWS_PER_TRANSACTION: usize = 25;

/// Purges and erases data in a store that a receiver may be writing.
pub(in crate::storage::sqlite) struct OperatorRemoval {
    pub(in crate::storage::sqlite) store: OperatorStore,
    bodies: BodyReader,
    sync: SyncState,
}

impl OperatorRemoval {
    /// Opens an existing store. Creates and migrates nothing.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `Unusable` when the database does not exist, or has the schema of another version.
    pub(in crate::storage::sqlite) fn open(url: &SqliteUrl, sync: &SyncState) -> Result<Self, StoreError> {
        Ok(Self { store: OperatorStore::open(url, sync)?, bodies: BodyReader::new(url), sync: sync.clone() })
    }

    /// Deletes one batch of data that is older than its limit; with `dry`, only counts it.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of this batch was deleted.
    pub(in crate::storage::sqlite) fn purge(
        &mut self,
        purge: &PurgeBatch,
        dry: bool,
    ) -> Result<PurgeBatchResult, StoreError> {
        self.store.remove(|conn, key| {
            if !dry {
                return removal::purge_batch(conn, key, purge);
            }
            // Counted by deleting and rolling back: a separate counting query could disagree with what `--yes`
            // deletes.
            conn.execute_batch("SAVEPOINT dry")?;
            let purged = removal::purge_batch(conn, key, purge);
            conn.execute_batch("ROLLBACK TO dry; RELEASE dry")?;
            purged
        })
    }

    pub(in crate::storage::sqlite) fn reclaim_space(&mut self, freed_before_ms: i64) -> Result<bool, StoreError> {
        let more_bodies = self.reclaim_bodies(freed_before_ms)?;
        let more_blocks = self.rewrite_block(freed_before_ms, DamagedBlock::Keep)?;
        let more_pages = self.store.remove(|conn, _| space::reclaim_pages(conn, space::MIN_FREE_PAGES))?;
        Ok(more_pages || more_blocks || more_bodies)
    }

    /// Writes one block again without the bodies of removed events. Returns `false` when there was none.
    fn rewrite_block(&mut self, removed_before_ms: i64, damaged: DamagedBlock) -> Result<bool, StoreError> {
        let rewrite = self.store.read(|conn, _| blocks::next_rewrite(conn, removed_before_ms, damaged))?;
        if let Some(rewrite) = &rewrite {
            self.store.remove(|conn, _| rewrite.apply(conn))?;
        }
        Ok(rewrite.is_some())
    }

    fn reclaim_bodies(&mut self, freed_before_ms: i64) -> Result<bool, StoreError> {
        let folder = &self.bodies.files.folder;
        // First the files, then the rows: after a crash in between, the same bodies are reclaimed again, which
        // changes nothing. The other order could forget a body that has to be overwritten.
        let reclaimed = self.store.read(|conn, _| space::reclaim_bodies(conn, folder, &self.sync, freed_before_ms))?;
        if !reclaimed.is_empty() {
            self.store.remove(|conn, _| space::delete_freed_rows(conn, &reclaimed))?;
        }
        Ok(space::is_full_batch(&reclaimed))
    }

    /// Searches one part of the journal for the data subject.
    pub(in crate::storage::sqlite) fn scan_journal(
        &self,
        person: &DataSubject,
        after: Position,
    ) -> Result<JournalScanResult, StoreError> {
        self.store.read(|conn, key| data_subject::scan_journal(conn, &self.bodies, key, person, after.seq()))
    }

    /// Calls and chats whose rows contain the data subject's phone number, as (company id, call id).
    pub(in crate::storage::sqlite) fn find_calls(&self, person: &DataSubject) -> Result<Vec<CallKey>, StoreError> {
        let mut calls = Vec::new();
        for kind in [CallKind::Call, CallKind::Chat] {
            let mut next = Some(0);
            while let Some(after) = next {
                let (matching, next_after) =
                    self.store.read(|conn, _| data_subject::find_calls_in_table(conn, person, kind, after))?;
                calls.extend(matching);
                next = next_after;
            }
        }
        Ok(calls)
    }

    /// Sequence numbers of all events of these calls.
    pub(in crate::storage::sqlite) fn list_event_seqs_of_calls(
        &self,
        calls: &BTreeSet<CallKey>,
    ) -> Result<BTreeSet<Seq>, StoreError> {
        self.store.read(|conn, key| data_subject::list_event_seqs_of_calls(conn, key, calls))
    }

    /// The ids (`evt_…`) of these events; erased ones are left out.
    pub(in crate::storage::sqlite) fn list_event_ids(&self, seqs: &BTreeSet<Seq>) -> Result<Vec<String>, StoreError> {
        self.store.read(|conn, _| {
            let mut id = conn.prepare_cached("SELECT id FROM events WHERE seq = ?1")?;
            let mut ids = Vec::new();
            for seq in seqs {
                let found = id.query_row([seq], |row| row.get(0).map(EventId::from_bytes)).optional()?;
                ids.extend(found.map(|id| id.to_string()));
            }
            Ok(ids)
        })
    }

    /// Counts what an erasure of these events and calls would change.
    pub(in crate::storage::sqlite) fn count_erasable(
        &self,
        person: &DataSubject,
        seqs: &BTreeSet<Seq>,
    ) -> Result<ErasureCounts, StoreError> {
        let mut counts = self.store.read(|conn, key| erase::count_erasable(conn, key, person, seqs))?;
        let mut after = Some(0);
        while let Some(at) = after {
            let (invocations, next) = erase::find_invocations_of(self.store.ledger()?, person, at)?;
            counts.invocations += invocations.len() as u64;
            after = next;
        }
        Ok(counts)
    }

    /// The handlers that received any of these events, with the events.
    pub(in crate::storage::sqlite) fn list_recipients(
        &self,
        seqs: &BTreeSet<Seq>,
    ) -> Result<EventsByHandler, StoreError> {
        self.store.read(|conn, _| erase::list_recipients(conn, seqs))
    }

    /// Cancels waiting deliveries of these events. Returns the number of canceled and of running deliveries.
    pub(in crate::storage::sqlite) fn cancel_deliveries(
        &mut self,
        seqs: &[Seq],
        now_ms: i64,
    ) -> Result<(u64, u64), StoreError> {
        let mut cancelled = 0;
        let mut running = 0;
        for part in seqs.chunks(ROWS_PER_TRANSACTION) {
            // Counted in the transaction that cancels: no delivery can be claimed between the two.
            let (part_cancelled, part_running) = self.store.remove(|conn, _| {
                let mut part_cancelled = 0;
                for seq in part {
                    part_cancelled += erase::cancel_deliveries(conn, *seq, true, now_ms)?;
                }
                Ok((part_cancelled, erase::count_running(conn, part)?))
            })?;
            cancelled += part_cancelled;
            running += part_running;
        }
        Ok((cancelled, running))
    }

    /// Erases these events in one transaction.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was erased.
    pub(in crate::storage::sqlite) fn erase_events(
        &mut self,
        seqs: &[Seq],
        now_ms: i64,
    ) -> Result<ErasureCounts, StoreError> {
        self.store.remove(|conn, key| {
            let mut erased = ErasureCounts::default();
            for seq in seqs {
                erased += erase::erase_event(conn, key, *seq, now_ms)?;
            }
            Ok(erased)
        })
    }

    /// Erases what the store holds of the person outside the events: rows of calls, rejected requests, invocations of
    /// custom functions, appointments, and texts of attempts.
    pub(in crate::storage::sqlite) fn erase_related_rows(
        &mut self,
        person: &DataSubject,
    ) -> Result<ErasureCounts, StoreError> {
        let mut erased = ErasureCounts::default();
        let calls: Vec<_> = person.calls().iter().cloned().collect();
        for part in calls.chunks(ROWS_PER_TRANSACTION) {
            erased.calls += self.store.remove(|conn, key| erase::delete_calls(conn, key, part))?;
        }
        let rejected = self.store.read(|conn, _| erase::find_rejected_of(conn, person))?;
        for part in rejected.chunks(ROWS_PER_TRANSACTION) {
            erased.rejected += self.store.remove(|conn, _| erase::delete_rejected(conn, part))?;
        }
        let mut after = Some(0);
        while let Some(at) = after {
            let (invocations, next) = erase::find_invocations_of(self.store.ledger()?, person, at)?;
            for part in invocations.chunks(ROWS_PER_TRANSACTION) {
                erased.invocations += self.store.remove_from_ledger(|conn| delete_invocations(conn, part))?;
            }
            after = next;
        }
        let booked = self.store.read(|conn, _| appointments::find_appointments_of(conn, person))?;
        for part in booked.chunks(ROWS_PER_TRANSACTION) {
            erased.appointments += self.store.remove(|conn, _| appointments::delete_appointments(conn, part))?;
        }
        let mut after: Option<DeliveryKey> = Some((HandlerId(0), Seq(0)));
        while let Some(at) = after {
            let (mentioned, next) = self.store.read(|conn, _| erase::find_deliveries_mentioning(conn, person, at))?;
            for part in mentioned.chunks(ROWS_PER_TRANSACTION) {
                erased.attempts += self.store.remove(|conn, _| erase::delete_delivery_texts(conn, part))?;
            }
            after = next;
        }
        Ok(erased)
    }

    /// Scrubs the files of the store, so that no deleted byte can be read in them: writes blocks again without the
    /// erased bodies, truncates the write-ahead log and overwrites the freed bodies. Returns `false` when readers kept
    /// the log in use the whole time; the caller has to try again.
    ///
    /// A `DELETE` alone is not an erasure. Old pages stay in the log until it is truncated, and a body stays in its
    /// file until it is overwritten. Pages of the database itself are zeroed by SQLite (`secure_delete`).
    pub(in crate::storage::sqlite) fn scrub_files(&mut self) -> Result<bool, StoreError> {
        while self.rewrite_block(i64::MAX, DamagedBlock::Salvage)? {}
        let freed_before_ms = self.store.read(|conn, _| Ok(space::end_of_freed_times(conn)?))?;
        if !self.store.empty_wal()? {
            return Ok(false);
        }
        // A complete checkpoint proves that no reader has a snapshot from before the deletion, so the bodies can be
        // overwritten now; a reader that starts later no longer finds them in their places. This is not so for bodies that
        // were compressed since.
        while self.reclaim_bodies(freed_before_ms)? {}
        // Deleting the rows of the freed bodies has filled the log again.
        let is_empty = self.store.empty_wal()?;
        if is_empty {
            self.store.end_reserve_use();
        }
        Ok(is_empty)
    }
}
