//! Removing beside a running receiver: every change is a transaction of a few milliseconds.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::OptionalExtension;

use super::data_subject::{self, DataSubject, JournalScanResult};
use super::erase::{self, DeliveryKey, ErasureCounts, EventsByHandler};
use super::{appointments, space};
use crate::base::id::EventId;
use crate::storage::sqlite::bodies::BodyFileReader;
use crate::storage::sqlite::{OperatorStore, SqliteUrl, open};
use crate::storage::{PurgeBatch, PurgeBatchResult, StoreError};

/// Events erased in one transaction.
const ROWS_PER_TRANSACTION: usize = 25;
/// How long one try to empty the log may hold the receiver's writer up.
const CHECKPOINT_BUSY_TIMEOUT: Duration = Duration::from_millis(40);

/// Purges and erases in a store that a receiver may be writing.
pub(crate) struct OperatorRemoval {
    store: OperatorStore,
    bodies: BodyFileReader,
    url: SqliteUrl,
}

impl OperatorRemoval {
    /// Opens an existing store.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when there is none, or its schema is not this version's.
    pub(crate) fn open(url: &SqliteUrl) -> Result<Self, StoreError> {
        Ok(Self { store: OperatorStore::open(url)?, bodies: BodyFileReader::new(url), url: url.clone() })
    }

    /// Removes a batch of what is past its time, or with `dry` only finds out what would be.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was removed.
    pub(crate) fn purge(&mut self, purge: &PurgeBatch, dry: bool) -> Result<PurgeBatchResult, StoreError> {
        self.store.write(|conn, key| {
            if !dry {
                return super::purge_batch(conn, key, purge);
            }
            conn.execute_batch("SAVEPOINT dry")?;
            let purged = super::purge_batch(conn, key, purge);
            conn.execute_batch("ROLLBACK TO dry; RELEASE dry")?;
            purged
        })
    }

    /// As [`Store::give_back_space`](crate::storage::Store::give_back_space).
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn reclaim_space(&mut self, freed_before_ms: i64) -> Result<bool, StoreError> {
        let bodies = self.reclaim_bodies(freed_before_ms)?;
        Ok(self.store.write(|conn, _| space::reclaim_pages(conn))? || bodies)
    }

    fn reclaim_bodies(&mut self, freed_before_ms: i64) -> Result<bool, StoreError> {
        let folder = &self.bodies.folder;
        let cleared = self.store.read(|conn, _| space::reclaim_bodies(conn, folder, freed_before_ms))?;
        if !cleared.is_empty() {
            self.store.write(|conn, _| space::delete_freed_rows(conn, &cleared))?;
        }
        Ok(space::is_full_batch(&cleared))
    }

    /// Bytes that are in use.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn used_bytes(&self) -> Result<u64, StoreError> {
        self.store.read(|conn, _| space::used_bytes(conn, &self.bodies.folder))
    }

    /// Companies by slug, with their numbers.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn list_companies(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.store.read(|conn, _| {
            let mut companies = conn.prepare_cached("SELECT slug, id FROM companies ORDER BY id")?;
            Ok(companies.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
        })
    }

    /// The number of the journal's last event.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn last_seq(&self) -> Result<i64, StoreError> {
        self.store.read(|conn, _| Ok(crate::storage::sqlite::events::last_seq(conn)?))
    }

    /// Looks for the person's number in a part of the journal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn scan_journal(&self, person: &DataSubject, after: i64) -> Result<JournalScanResult, StoreError> {
        self.store.read(|conn, _| data_subject::scan_journal(conn, &self.bodies, person, after))
    }

    /// Calls whose row holds the number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn find_calls(&self, person: &DataSubject) -> Result<Vec<(i64, String)>, StoreError> {
        let mut calls = Vec::new();
        for rows in data_subject::CALL_TABLES {
            let mut next = Some((0, String::new()));
            while let Some(after) = next {
                let (found, at) =
                    self.store.read(|conn, _| data_subject::find_calls_in_table(conn, person, rows, &after))?;
                calls.extend(found);
                next = at;
            }
        }
        Ok(calls)
    }

    /// All events of these calls.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn list_event_seqs_of_calls(
        &self,
        calls: &BTreeSet<(i64, String)>,
    ) -> Result<BTreeSet<i64>, StoreError> {
        self.store.read(|conn, key| data_subject::list_event_seqs_of_calls(conn, key, calls))
    }

    /// The ids of these events, as they are shown.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn list_event_ids(&self, seqs: &BTreeSet<i64>) -> Result<Vec<String>, StoreError> {
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

    /// How much there is to erase of these events and calls.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn count_erasable(
        &self,
        person: &DataSubject,
        seqs: &BTreeSet<i64>,
    ) -> Result<ErasureCounts, StoreError> {
        let mut count = self.store.read(|conn, _| erase::count_erasable(conn, person, seqs))?;
        let mut after = Some(0);
        while let Some(at) = after {
            let (found, next) = erase::find_invocations_of(self.store.ledger(), person, at)?;
            count.invocations += found.len() as u64;
            after = next;
        }
        Ok(count)
    }

    /// Who was given these events.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn list_recipients(&self, seqs: &BTreeSet<i64>) -> Result<EventsByHandler, StoreError> {
        self.store.read(|conn, _| erase::list_recipients(conn, seqs))
    }

    /// Cancels deliveries of these events that wait; says how many are under way.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn cancel_deliveries(&mut self, seqs: &[i64], now_ms: i64) -> Result<(u64, u64), StoreError> {
        let (mut cancelled, mut under_way) = (0, 0);
        for part in seqs.chunks(ROWS_PER_TRANSACTION) {
            let (ended, running) = self.store.write(|conn, _| {
                let ended = part.iter().try_fold(0, |sum, seq| {
                    Ok::<_, StoreError>(sum + erase::cancel_deliveries(conn, *seq, true, now_ms)?)
                })?;
                Ok((ended, erase::count_running(conn, part)?))
            })?;
            (cancelled, under_way) = (cancelled + ended, under_way + running);
        }
        Ok((cancelled, under_way))
    }

    /// Erases these events. `each` is told how many are done.
    ///
    /// # Errors
    /// [`StoreError`]: those told are erased.
    pub(crate) fn erase_events(
        &mut self,
        seqs: &BTreeSet<i64>,
        now_ms: i64,
        mut each: impl FnMut(usize),
    ) -> Result<ErasureCounts, StoreError> {
        let seqs: Vec<i64> = seqs.iter().copied().collect();
        let mut erased = ErasureCounts::default();
        for part in seqs.chunks(ROWS_PER_TRANSACTION) {
            erased += self.store.write(|conn, key| {
                part.iter().try_fold(ErasureCounts::default(), |mut sum, seq| {
                    sum += erase::erase_event(conn, key, *seq, now_ms)?;
                    Ok(sum)
                })
            })?;
            each(part.len());
        }
        Ok(erased)
    }

    /// Erases what else the store knows of the person: rows of calls, refused requests, appointments, what
    /// attempts said.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn erase_related_rows(&mut self, person: &DataSubject) -> Result<ErasureCounts, StoreError> {
        let mut erased = ErasureCounts::default();
        let calls: Vec<_> = person.calls().iter().cloned().collect();
        for part in calls.chunks(ROWS_PER_TRANSACTION) {
            erased.calls += self.store.write(|conn, _| erase::delete_calls(conn, part))?;
        }
        let refused = self.store.read(|conn, _| erase::find_rejected_of(conn, person))?;
        for part in refused.chunks(ROWS_PER_TRANSACTION) {
            erased.rejected += self.store.write(|conn, _| erase::delete_rejected(conn, part))?;
        }
        let mut after = Some(0);
        while let Some(at) = after {
            let (found, next) = erase::find_invocations_of(self.store.ledger(), person, at)?;
            for part in found.chunks(ROWS_PER_TRANSACTION) {
                erased.invocations += self.store.write_ledger(|conn| erase::delete_invocations(conn, part))?;
            }
            after = next;
        }
        let booked = self.store.read(|conn, _| appointments::find_appointments_of(conn, person))?;
        for part in booked.chunks(ROWS_PER_TRANSACTION) {
            erased.appointments += self.store.write(|conn, _| appointments::delete_appointments(conn, part))?;
        }
        let mut after: Option<DeliveryKey> = Some((0, 0));
        while let Some(at) = after {
            let (mentioned, next) = self.store.read(|conn, _| erase::find_deliveries_mentioning(conn, person, at))?;
            for part in mentioned.chunks(ROWS_PER_TRANSACTION) {
                erased.attempts += self.store.write(|conn, _| erase::delete_delivery_texts(conn, part))?;
            }
            after = next;
        }
        Ok(erased)
    }

    /// Makes sure that nothing of what was removed can be read in any file of the store: empties the log, and clears away
    /// the bodies. `false`: somebody reads the store all the time, and the log could not be emptied yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn scrub_files(&mut self) -> Result<bool, StoreError> {
        if !self.truncate_wal()? {
            return Ok(false);
        }
        // Nobody can be reading the bodies any more: who reads now sees that the events are gone.
        while self.reclaim_bodies(i64::MAX)? {}
        self.truncate_wal()
    }

    fn truncate_wal(&self) -> Result<bool, StoreError> {
        let mut empty = true;
        for url in [&self.url, &self.url.ledger_url()] {
            let conn = open::open_checkpointer(url.path())?;
            conn.busy_timeout(CHECKPOINT_BUSY_TIMEOUT)?;
            let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            empty &= busy == 0;
        }
        Ok(empty)
    }
}
