//! Removing beside a running receiver: every change is a transaction of a few milliseconds.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::OptionalExtension;

use super::erase::{self, At, Erased, Outside};
use super::find::{self, Found, Person};
use super::{appointments, space};
use crate::base::id::EventId;
use crate::storage::sqlite::bodies::BodyFiles;
use crate::storage::sqlite::{Beside, SqliteUrl, open};
use crate::storage::{Purge, Purged, StoreError};

/// Events erased in one transaction.
const EVENTS: usize = 25;
/// How long one try to empty the log may hold the receiver's writer up.
const HOLD: Duration = Duration::from_millis(40);

/// Purges and erases in a store that a receiver may be writing.
pub struct Removal {
    beside: Beside,
    bodies: BodyFiles,
    url: SqliteUrl,
}

impl Removal {
    /// Opens an existing store.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when there is none, or its schema is not this version's.
    pub fn open(url: &SqliteUrl) -> Result<Self, StoreError> {
        Ok(Self { beside: Beside::open(url)?, bodies: BodyFiles::new(url), url: url.clone() })
    }

    /// Removes a batch of what is past its time, or with `dry` only finds out what would be.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was removed.
    pub fn purge(&mut self, purge: &Purge, dry: bool) -> Result<Purged, StoreError> {
        self.beside.write(|conn, key| {
            if !dry {
                return super::purge(conn, key, purge);
            }
            conn.execute_batch("SAVEPOINT dry")?;
            let purged = super::purge(conn, key, purge);
            conn.execute_batch("ROLLBACK TO dry; RELEASE dry")?;
            purged
        })
    }

    /// As [`Store::give_back_space`](crate::storage::Store::give_back_space).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn give_back_space(&mut self, freed_before_ms: i64) -> Result<bool, StoreError> {
        let bodies = self.clear_bodies(freed_before_ms)?;
        Ok(self.beside.write(|conn, _| space::give_back_pages(conn))? || bodies)
    }

    fn clear_bodies(&mut self, freed_before_ms: i64) -> Result<bool, StoreError> {
        let folder = &self.bodies.folder;
        let cleared = self.beside.read(|conn, _| space::clear_bodies(conn, folder, freed_before_ms))?;
        if !cleared.is_empty() {
            self.beside.write(|conn, _| space::forget_cleared(conn, &cleared))?;
        }
        Ok(space::is_full(&cleared))
    }

    /// Bytes that are in use.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        self.beside.read(|conn, _| space::used_bytes(conn, &self.bodies.folder))
    }

    /// Companies by slug, with their numbers.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn companies(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.beside.read(|conn, _| {
            let mut companies = conn.prepare_cached("SELECT slug, id FROM companies ORDER BY id")?;
            Ok(companies.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
        })
    }

    /// The number of the journal's last event.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last_seq(&self) -> Result<i64, StoreError> {
        self.beside.read(|conn, _| Ok(crate::storage::sqlite::query::last_seq(conn)?))
    }

    /// Looks for the person's number in a part of the journal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn scan(&self, person: &Person, after: i64) -> Result<Found, StoreError> {
        self.beside.read(|conn, _| find::scan(conn, &self.bodies, person, after))
    }

    /// Calls whose row holds the number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn calls_with(&self, person: &Person) -> Result<Vec<(i64, String)>, StoreError> {
        let mut calls = Vec::new();
        for rows in find::CALL_ROWS {
            let mut next = Some((0, String::new()));
            while let Some(after) = next {
                let (found, at) = self.beside.read(|conn, _| find::calls_with(conn, person, rows, &after))?;
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
    pub fn events_of(&self, calls: &BTreeSet<(i64, String)>) -> Result<BTreeSet<i64>, StoreError> {
        self.beside.read(|conn, key| find::events_of(conn, key, calls))
    }

    /// The ids of these events, as they are shown.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn event_ids(&self, seqs: &BTreeSet<i64>) -> Result<Vec<String>, StoreError> {
        self.beside.read(|conn, _| {
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
    pub fn count(&self, person: &Person, seqs: &BTreeSet<i64>) -> Result<Erased, StoreError> {
        let mut count = self.beside.read(|conn, _| erase::count(conn, person, seqs))?;
        let mut after = Some(0);
        while let Some(at) = after {
            let (found, next) = erase::invocations_of(self.beside.ledger(), person, at)?;
            count.invocations += found.len() as u64;
            after = next;
        }
        Ok(count)
    }

    /// Who was given these events.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn given_to(&self, seqs: &BTreeSet<i64>) -> Result<Outside, StoreError> {
        self.beside.read(|conn, _| erase::given_to(conn, seqs))
    }

    /// Cancels deliveries of these events that wait; says how many are under way.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn cancel(&mut self, seqs: &[i64], now_ms: i64) -> Result<(u64, u64), StoreError> {
        let (mut cancelled, mut under_way) = (0, 0);
        for part in seqs.chunks(EVENTS) {
            let (ended, running) = self.beside.write(|conn, _| {
                let ended = part
                    .iter()
                    .try_fold(0, |sum, seq| Ok::<_, StoreError>(sum + erase::cancel(conn, *seq, true, now_ms)?))?;
                Ok((ended, erase::under_way(conn, part)?))
            })?;
            (cancelled, under_way) = (cancelled + ended, under_way + running);
        }
        Ok((cancelled, under_way))
    }

    /// Erases these events. `each` is told how many are done.
    ///
    /// # Errors
    /// [`StoreError`]: those told are erased.
    pub fn erase_events(
        &mut self,
        seqs: &BTreeSet<i64>,
        now_ms: i64,
        mut each: impl FnMut(usize),
    ) -> Result<Erased, StoreError> {
        let seqs: Vec<i64> = seqs.iter().copied().collect();
        let mut erased = Erased::default();
        for part in seqs.chunks(EVENTS) {
            erased += self.beside.write(|conn, key| {
                part.iter().try_fold(Erased::default(), |mut sum, seq| {
                    sum += erase::event(conn, key, *seq, now_ms)?;
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
    pub fn erase_rows(&mut self, person: &Person) -> Result<Erased, StoreError> {
        let mut erased = Erased::default();
        let calls: Vec<_> = person.calls().iter().cloned().collect();
        for part in calls.chunks(EVENTS) {
            erased.calls += self.beside.write(|conn, _| erase::calls(conn, part))?;
        }
        let refused = self.beside.read(|conn, _| erase::rejected_of(conn, person))?;
        for part in refused.chunks(EVENTS) {
            erased.rejected += self.beside.write(|conn, _| erase::rejected(conn, part))?;
        }
        let mut after = Some(0);
        while let Some(at) = after {
            let (found, next) = erase::invocations_of(self.beside.ledger(), person, at)?;
            for part in found.chunks(EVENTS) {
                erased.invocations += self.beside.write_ledger(|conn| erase::invocations(conn, part))?;
            }
            after = next;
        }
        let booked = self.beside.read(|conn, _| appointments::of(conn, person))?;
        for part in booked.chunks(EVENTS) {
            erased.appointments += self.beside.write(|conn, _| appointments::remove(conn, part))?;
        }
        let mut after: Option<At> = Some((0, 0));
        while let Some(at) = after {
            let (mentioned, next) = self.beside.read(|conn, _| erase::mentioned(conn, person, at))?;
            for part in mentioned.chunks(EVENTS) {
                erased.attempts += self.beside.write(|conn, _| erase::silence(conn, part))?;
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
    pub fn leave_no_copy(&mut self) -> Result<bool, StoreError> {
        if !self.empty_log()? {
            return Ok(false);
        }
        // Nobody can be reading the bodies any more: who reads now sees that the events are gone.
        while self.clear_bodies(i64::MAX)? {}
        self.empty_log()
    }

    fn empty_log(&self) -> Result<bool, StoreError> {
        let mut empty = true;
        for url in [&self.url, &self.url.ledger()] {
            let conn = open::checkpointer(url.path())?;
            conn.busy_timeout(HOLD)?;
            let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            empty &= busy == 0;
        }
        Ok(empty)
    }
}
