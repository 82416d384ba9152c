//! Compares the totals with the rows, and corrects them: attempts one handler at a time, invocations all at once.
//!
//! As for the totals of calls, a difference is found in one snapshot and added in later transactions, and the receiver
//! changes rows and totals by the same amounts in between. Neither deliveries nor attempts have an index by time, which
//! every settlement would have to maintain, so a snapshot covers all rows of a handler. It keeps the write-ahead log from
//! starting over, so the comparison ends when the log has grown to its limit.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::{
    CountsByKey, EndedRun, INVOCATION_COLUMNS, PendingCounts, TotalKey, TotalsTable, ended_invocation, write_counts,
};
use crate::storage::sqlite::SqliteUrl;
use crate::storage::sqlite::open;
use crate::storage::sqlite::wal::{MAX_WAL_BYTES_OF_READS, WalLimit};
use crate::storage::{AttemptOutcome, HandlerId, StoreError};

/// Rows counted in one step: some ten milliseconds.
const ROWS_PER_STEP: usize = 20_000;
/// Totals corrected in one transaction; the receiver's commits wait meanwhile.
const MAX_CORRECTIONS: usize = 1_000;

/// What is counted in one snapshot.
#[derive(Clone, Debug)]
enum Part {
    /// Attempts by name of the handler. One that only the totals name has no id and no rows.
    Handler(Arc<str>, Option<HandlerId>),
    Invocations,
}

/// A running comparison. Its steps are short, and the snapshot of a part stays open between them.
pub(in crate::storage::sqlite) struct TotalsComparison {
    conn: Connection,
    wal: WalLimit,
    table: TotalsTable,
    parts: VecDeque<Part>,
    counting: Option<PartCount>,
}

/// The result of a step.
pub(in crate::storage::sqlite) struct ComparisonStep {
    pub(in crate::storage::sqlite) counted: u64,
    /// What has to be added to the totals of a part whose rows are all counted.
    pub(in crate::storage::sqlite) differences: Option<Differences>,
}

impl TotalsComparison {
    /// # Errors
    /// The database cannot be opened.
    pub(in crate::storage::sqlite) fn open(
        url: &SqliteUrl,
        table: TotalsTable,
        max_wal_bytes: u64,
    ) -> Result<Self, StoreError> {
        let url = match table {
            TotalsTable::Attempts => url.clone(),
            TotalsTable::Invocations => url.ledger_url(),
        };
        let conn = open::open_reader(&url)?;
        let parts = list_parts(&conn, table)?;
        Ok(Self { conn, wal: WalLimit::new(&url, max_wal_bytes), table, parts, counting: None })
    }

    /// Counts the next rows; `None` at the end.
    ///
    /// # Errors
    /// The rows cannot be read, or the write-ahead log has grown to its limit. The part begins again with the next step.
    pub(in crate::storage::sqlite) fn step(&mut self) -> Result<Option<ComparisonStep>, StoreError> {
        let mut count = match self.counting.take() {
            Some(count) => count,
            None => {
                let Some(part) = self.parts.front() else { return Ok(None) };
                self.wal.wait_for_room();
                self.conn.execute_batch("BEGIN")?;
                PartCount::new(part.clone())
            }
        };
        let result = self.continue_count(&mut count);
        match &result {
            Ok(ComparisonStep { differences: None, .. }) => self.counting = Some(count),
            Ok(_) => {
                self.parts.pop_front();
                self.conn.execute_batch("COMMIT")?;
            }
            Err(_) => self.conn.execute_batch("ROLLBACK")?,
        }
        result.map(Some)
    }

    fn continue_count(&self, count: &mut PartCount) -> Result<ComparisonStep, StoreError> {
        if let Some(wal_bytes) = self.wal.exceeded_by() {
            return Err(StoreError::unavailable(format!(
                "a receiver is writing, and the count let the write-ahead log grow to {} MiB; repeat the command when \
                 fewer events arrive, or stop the receiver",
                wal_bytes / (1024 * 1024)
            )));
        }
        let counted = count.count_rows(&self.conn)?;
        let differences =
            if count.is_complete() { Some(Differences::of(&self.conn, self.table, count)?) } else { None };
        Ok(ComparisonStep { counted, differences })
    }

    /// Compares a part again, in a later snapshot.
    pub(in crate::storage::sqlite) fn repeat(&mut self, differences: &Differences) {
        self.parts.push_front(differences.part.clone());
    }
}

fn list_parts(conn: &Connection, table: TotalsTable) -> Result<VecDeque<Part>, StoreError> {
    if table == TotalsTable::Invocations {
        return Ok(VecDeque::from([Part::Invocations]));
    }
    let mut parts = conn.prepare(
        "SELECT name, id FROM handlers UNION ALL
         SELECT DISTINCT name, NULL FROM attempt_totals WHERE name NOT IN (SELECT name FROM handlers)",
    )?;
    let parts = parts.query_map([], |row| Ok(Part::Handler(Arc::from(row.get_ref(0)?.as_str()?), row.get(1)?)))?;
    Ok(parts.collect::<Result<_, _>>()?)
}

/// Where the next rows of a part are.
#[derive(Clone, Copy)]
enum RowPosition {
    Deliveries {
        after_seq: i64,
    },
    /// Sequence number of the event, start and number of the attempt.
    Attempts {
        after: (i64, i64, i64),
    },
    Invocations {
        after_id: i64,
    },
    End,
}

struct PartCount {
    part: Part,
    position: RowPosition,
    counts: PendingCounts,
}

impl PartCount {
    fn new(part: Part) -> Self {
        let position = match &part {
            Part::Handler(_, Some(_)) => RowPosition::Deliveries { after_seq: i64::MIN },
            Part::Handler(_, None) => RowPosition::End,
            Part::Invocations => RowPosition::Invocations { after_id: i64::MIN },
        };
        Self { part, position, counts: PendingCounts::default() }
    }

    fn is_complete(&self) -> bool {
        matches!(self.position, RowPosition::End)
    }

    /// Counts the next rows and returns the number of those that have ended.
    fn count_rows(&mut self, conn: &Connection) -> Result<u64, StoreError> {
        match (&self.part, self.position) {
            (Part::Handler(name, Some(handler)), RowPosition::Deliveries { after_seq }) => {
                let (name, handler) = (Arc::clone(name), *handler);
                self.count_deliveries(conn, &name, handler, after_seq)
            }
            (Part::Handler(name, Some(handler)), RowPosition::Attempts { after }) => {
                let (name, handler) = (Arc::clone(name), *handler);
                self.count_attempts(conn, &name, handler, after)
            }
            (Part::Invocations, RowPosition::Invocations { after_id }) => self.count_invocations(conn, after_id),
            _ => Ok(0),
        }
    }

    fn count_deliveries(
        &mut self,
        conn: &Connection,
        name: &Arc<str>,
        handler: HandlerId,
        after_seq: i64,
    ) -> Result<u64, StoreError> {
        let mut select = conn.prepare_cached(
            "SELECT event_seq, company_id, started_at_ms, duration_ms FROM deliveries
             WHERE handler_id = ?1 AND event_seq > ?2 ORDER BY event_seq LIMIT ?3",
        )?;
        let mut rows = select.query(params![handler, after_seq, ROWS_PER_STEP])?;
        let (mut visited, mut counted) = (0, 0);
        while let Some(row) = rows.next()? {
            visited += 1;
            self.position = RowPosition::Deliveries { after_seq: row.get(0)? };
            let Some(began_at_ms) = row.get(2)? else { continue };
            counted += 1;
            let outcome = AttemptOutcome::Done.as_str();
            let (company_id, duration_ms) = (row.get(1)?, row.get(3)?);
            self.counts.change(&EndedRun { company_id, name, outcome, began_at_ms, duration_ms }, Arc::clone(name), 1);
        }
        if visited < ROWS_PER_STEP {
            self.position = RowPosition::Attempts { after: (i64::MIN, i64::MIN, i64::MIN) };
        }
        Ok(counted)
    }

    fn count_attempts(
        &mut self,
        conn: &Connection,
        name: &Arc<str>,
        handler: HandlerId,
        after: (i64, i64, i64),
    ) -> Result<u64, StoreError> {
        let mut select = conn.prepare_cached(
            "SELECT a.event_seq, a.started_at_ms, a.attempt, d.company_id, a.duration_ms, a.outcome FROM attempts a
             CROSS JOIN deliveries d ON d.handler_id = a.handler_id AND d.event_seq = a.event_seq
             WHERE a.handler_id = ?1 AND (a.event_seq, a.started_at_ms, a.attempt) > (?2, ?3, ?4)
             ORDER BY a.event_seq, a.started_at_ms, a.attempt LIMIT ?5",
        )?;
        let mut rows = select.query(params![handler, after.0, after.1, after.2, ROWS_PER_STEP])?;
        let mut counted = 0;
        while let Some(row) = rows.next()? {
            counted += 1;
            let began_at_ms = row.get(1)?;
            self.position = RowPosition::Attempts { after: (row.get(0)?, began_at_ms, row.get(2)?) };
            let outcome = AttemptOutcome::from_name(row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?);
            let Some(outcome) = outcome else { continue };
            let (company_id, outcome, duration_ms) = (row.get(3)?, outcome.as_str(), row.get(4)?);
            self.counts.change(&EndedRun { company_id, name, outcome, began_at_ms, duration_ms }, Arc::clone(name), 1);
        }
        if counted < ROWS_PER_STEP {
            self.position = RowPosition::End;
        }
        Ok(counted as u64)
    }

    fn count_invocations(&mut self, conn: &Connection, after_id: i64) -> Result<u64, StoreError> {
        let sql = format!("SELECT {INVOCATION_COLUMNS}, id FROM invocations WHERE id > ?1 ORDER BY id LIMIT ?2");
        let mut select = conn.prepare_cached(&sql)?;
        let mut rows = select.query(params![after_id, ROWS_PER_STEP])?;
        let (mut visited, mut counted) = (0, 0);
        while let Some(row) = rows.next()? {
            visited += 1;
            self.position = RowPosition::Invocations { after_id: row.get(5)? };
            if let Some(ended) = ended_invocation(row)? {
                counted += 1;
                self.counts.add(&ended);
            }
        }
        if visited < ROWS_PER_STEP {
            self.position = RowPosition::End;
        }
        Ok(counted)
    }
}

/// What has to be added to the totals of one part.
pub(in crate::storage::sqlite) struct Differences {
    table: TotalsTable,
    part: Part,
    differences: CountsByKey,
    /// Number of corrections in the snapshot, and of own ones since.
    corrections: i64,
}

impl Differences {
    fn of(conn: &Connection, table: TotalsTable, count: &PartCount) -> Result<Self, StoreError> {
        let mut differences = count.counts.by_key();
        let columns = "company_id, span, start, name, outcome, bucket, count";
        let all = format!("SELECT {columns} FROM {}", table.name());
        let (sql, values): (String, Vec<&dyn ToSql>) = match &count.part {
            Part::Handler(name, _) => (format!("{all} WHERE name = ?1"), vec![name]),
            Part::Invocations => (all, Vec::new()),
        };
        let mut select = conn.prepare_cached(&sql)?;
        let mut rows = select.query(&*values)?;
        while let Some(row) = rows.next()? {
            let key = TotalKey {
                company_id: row.get(0)?,
                span: row.get(1)?,
                start: row.get(2)?,
                name: Arc::from(row.get::<_, String>(3)?),
                outcome: Cow::Owned(row.get(4)?),
                bucket: row.get(5)?,
            };
            *differences.entry(key).or_default() -= row.get::<_, i64>(6)?;
        }
        differences.retain(|_, difference| *difference != 0);
        let corrections = count_corrections(conn, table)?;
        Ok(Self { table, part: count.part.clone(), differences, corrections })
    }

    pub(in crate::storage::sqlite) fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    pub(in crate::storage::sqlite) fn len(&self) -> usize {
        self.differences.len()
    }

    /// Adds the first of the differences and forgets them. Returns their number; `None` when another command has corrected
    /// totals since the comparison, perhaps the same ones.
    pub(in crate::storage::sqlite) fn correct_next(&mut self, conn: &Connection) -> Result<Option<usize>, StoreError> {
        if self.corrections != count_corrections(conn, self.table)? {
            return Ok(None);
        }
        conn.prepare_cached(
            "INSERT INTO progress (name, value) VALUES (?1 || '_corrections', 1)
             ON CONFLICT DO UPDATE SET value = value + 1",
        )?
        .execute([self.table.name()])?;
        self.corrections += 1;
        let first_left = self.differences.keys().nth(MAX_CORRECTIONS).cloned();
        let left = first_left.map(|key| self.differences.split_off(&key)).unwrap_or_default();
        let corrected = std::mem::replace(&mut self.differences, left);
        write_counts(conn, self.table, &corrected)?;
        Ok(Some(corrected.len()))
    }
}

fn count_corrections(conn: &Connection, table: TotalsTable) -> Result<i64, StoreError> {
    let mut select = conn.prepare_cached("SELECT value FROM progress WHERE name = ?1 || '_corrections'")?;
    Ok(select.query_row([table.name()], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// About the number of rows to count; those of removed events count as well.
pub(in crate::storage::sqlite) fn estimate_rows(conn: &Connection, table: TotalsTable) -> Result<u64, StoreError> {
    let sql = match table {
        TotalsTable::Attempts => "SELECT coalesce(max(seq), 0) * (SELECT count(*) FROM handlers) FROM events",
        TotalsTable::Invocations => "SELECT coalesce(max(id), 0) - coalesce(min(id), 1) + 1 FROM invocations",
    };
    Ok(conn.query_row(sql, [], |row| row.get(0))?)
}

/// Compares all totals with the rows, and returns the number of those that differ. `progress` gets the number of rows
/// counted so far, and about how many there are.
pub(in crate::storage::sqlite) fn count_differing_totals(
    url: &SqliteUrl,
    table: TotalsTable,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, StoreError> {
    let mut comparison = TotalsComparison::open(url, table, MAX_WAL_BYTES_OF_READS)?;
    let estimated = estimate_rows(&comparison.conn, table)?;
    let (mut counted, mut differing) = (0, 0);
    while let Some(step) = comparison.step()? {
        counted += step.counted;
        differing += step.differences.map_or(0, |differences| differences.len() as u64);
        progress(counted, estimated.max(counted));
    }
    Ok(differing)
}
