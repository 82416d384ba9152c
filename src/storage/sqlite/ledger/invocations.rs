//! Invocations of custom functions, in the invocation ledger.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::invocation_list::list_invocations;
use crate::storage::sqlite::SqliteStore;
use crate::storage::sqlite::errors::{RowColumn, parse_column};
use crate::storage::sqlite::facets::SqliteTotalsRebuild;
use crate::storage::sqlite::latency_totals::{self, INVOCATION_COLUMNS, PendingCounts, TotalsTable, ended_invocation};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::{
    BeginInvocationOutcome, EndedInvocation, InvocationFilter, InvocationRow, InvocationState, InvocationStore,
    LatencyFilter, LatencyGroups, NewInvocation, SignatureUse, StoreError, StoredAnswer, TotalsRebuild,
};

#[async_trait]
impl InvocationStore for SqliteStore {
    async fn begin_invocation(&self, new: NewInvocation) -> Result<BeginInvocationOutcome, StoreError> {
        self.ledger()?.write(move |conn| begin(conn, &new)).await
    }

    async fn end_invocation(&self, ended: EndedInvocation) -> Result<(), StoreError> {
        self.ledger()?.write(move |conn| end(conn, &ended)).await
    }

    async fn use_signature(&self, signature: SignatureUse) -> Result<bool, StoreError> {
        let reuse = self.ledger()?.write(move |conn| use_signature(conn, &signature)).await?;
        Ok(!matches!(reuse, SignatureReuse::Other))
    }

    async fn purge_invocations(
        &self,
        before_ms: i64,
        signatures_before_ms: i64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let remove = move |conn: &Connection| {
            let removed = purge(conn, before_ms, signatures_before_ms, limit)?;
            // Returns free pages to the file system, a few at a time: a caller's invocation may wait for this
            // transaction.
            conn.prepare_cached("PRAGMA incremental_vacuum(32)")?.query([])?.next()?;
            Ok(removed)
        };
        self.ledger()?.write(remove).await
    }

    async fn list_invocations(&self, filter: InvocationFilter, limit: usize) -> Result<Vec<InvocationRow>, StoreError> {
        let list = move |reader: &ReaderContext| {
            reader.ledger.clone()?;
            list_invocations(&reader.conn, &filter, limit)
        };
        self.readers.read(list).await
    }

    async fn invocation_stats(&self, filter: LatencyFilter) -> Result<LatencyGroups, StoreError> {
        let read = move |reader: &ReaderContext| {
            reader.ledger.clone()?;
            latency_totals::read_stats(&reader.conn, TotalsTable::Invocations, &filter)
        };
        self.readers.read(read).await
    }

    async fn rebuild_invocation_totals(&self) -> Result<Box<dyn TotalsRebuild>, StoreError> {
        Ok(Box::new(SqliteTotalsRebuild::start(self, TotalsTable::Invocations).await?))
    }
}

/// Checks that the ledger can be written: it writes and removes as much as an invocation may take.
pub(in crate::storage::sqlite) fn probe(conn: &Connection) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO probes (filler) VALUES (zeroblob(16384))")?.execute([])?;
    conn.prepare_cached("DELETE FROM probes")?.execute([])?;
    Ok(())
}

fn begin(conn: &Connection, new: &NewInvocation) -> Result<BeginInvocationOutcome, StoreError> {
    // In the same transaction as the row of the invocation: a request that fails in between leaves no signature
    // behind that its repetition would run into.
    let signature_seen = match &new.signature {
        Some(signature) => match use_signature(conn, signature)? {
            SignatureReuse::Other => return Ok(BeginInvocationOutcome::SignatureReused),
            SignatureReuse::Same => true,
            SignatureReuse::First => false,
        },
        None => false,
    };
    let existing = conn
        .prepare_cached(
            "SELECT id, invocation, state, received_at_ms, runs, content_type, answer, truncated,
               state = 'running' AND owner <> ?2 AND lease_until_ms > ?3
             FROM invocations WHERE key = ?1",
        )?
        .query_row(params![new.key, new.owner.as_str(), new.now_ms], read_existing)
        .optional()?;
    match existing {
        Some(existing) if existing.is_replaced_by(new) => {
            // Older than the idempotency window or outdated, so this is a new invocation. The old row stays visible, under a
            // random key because keys are unique. No end can reach it any more, so one that was running has failed.
            conn.prepare_cached(
                "UPDATE invocations SET key = randomblob(32), state = iif(state = 'running', 'failed', state)
                 WHERE id = ?1",
            )?
            .execute([existing.id])?;
            insert(conn, new, signature_seen)
        }
        Some(ExistingInvocation { answer: Some(answer), state: InvocationState::Done, idempotency_key, .. }) => {
            Ok(BeginInvocationOutcome::AlreadyAnswered { idempotency_key, answer, signature_seen })
        }
        Some(ExistingInvocation { runs_elsewhere: true, .. }) => Ok(BeginInvocationOutcome::Running { signature_seen }),
        // Failed, ended with invalid arguments, or cut off by a crash while it was running. It runs again under the
        // same idempotency key, by which the target can recognize the repetition. Two requests to this process at the
        // same time do not get here: they share one run (single flight).
        Some(ExistingInvocation { id, idempotency_key, runs, .. }) => {
            let mut counts = PendingCounts::default();
            subtract_invocation(conn, &mut counts, id)?;
            counts.write(conn, TotalsTable::Invocations)?;
            conn.prepare_cached(
                "UPDATE invocations SET state = 'running', runs = runs + 1, owner = ?2, lease_until_ms = ?3,
                   ended_at_ms = NULL, answer = NULL, reason = NULL
                 WHERE id = ?1",
            )?
            .execute(params![id, new.owner.as_str(), new.lease_until_ms])?;
            Ok(BeginInvocationOutcome::Run { idempotency_key, run_number: runs + 1, signature_seen })
        }
        None => insert(conn, new, signature_seen),
    }
}

struct ExistingInvocation {
    id: i64,
    idempotency_key: String,
    state: InvocationState,
    received_at_ms: i64,
    runs: u32,
    answer: Option<StoredAnswer>,
    /// Whether another process is running it.
    runs_elsewhere: bool,
}

impl ExistingInvocation {
    fn is_replaced_by(&self, new: &NewInvocation) -> bool {
        let is_outdated = new.replaces.as_ref() == Some(&self.idempotency_key) && !self.runs_elsewhere;
        is_outdated || self.received_at_ms < new.reuse_since_ms
    }
}

pub(super) fn read_state(row: &Row, index: usize, idempotency_key: &str) -> rusqlite::Result<InvocationState> {
    parse_column(row, index, InvocationState::from_name, || RowColumn {
        table: "invocations",
        row: format!("invocation {idempotency_key}"),
        column: "state",
    })
}

fn read_existing(row: &Row) -> rusqlite::Result<ExistingInvocation> {
    let content_type: Option<String> = row.get(5)?;
    let body: Option<Vec<u8>> = row.get(6)?;
    let answer = match (content_type, body) {
        (Some(content_type), Some(body)) => {
            Some(StoredAnswer { content_type, body: body.into(), truncated: row.get(7)? })
        }
        _ => None,
    };
    let idempotency_key: String = row.get(1)?;
    Ok(ExistingInvocation {
        id: row.get(0)?,
        state: read_state(row, 2, &idempotency_key)?,
        idempotency_key,
        received_at_ms: row.get(3)?,
        runs: row.get(4)?,
        answer,
        runs_elsewhere: row.get(8)?,
    })
}

fn insert(conn: &Connection, new: &NewInvocation, signature_seen: bool) -> Result<BeginInvocationOutcome, StoreError> {
    conn.prepare_cached(
        "INSERT INTO invocations (key, invocation, company_id, function, call_id, tool_call_id, received_at_ms,
           arguments, state, runs, owner, lease_until_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'running', 1, ?9, ?10)",
    )?
    .execute(params![
        new.key,
        new.idempotency_key,
        new.company_id,
        new.function,
        new.call_id,
        new.tool_call_id,
        new.received_at_ms,
        new.arguments,
        new.owner.as_str(),
        new.lease_until_ms,
    ])?;
    Ok(BeginInvocationOutcome::Run { idempotency_key: new.idempotency_key.clone(), run_number: 1, signature_seen })
}

fn end(conn: &Connection, ended: &EndedInvocation) -> Result<(), StoreError> {
    // No row has this key and owner when the invocation has been erased, purged, replaced or taken over meanwhile; its
    // answer is then not kept.
    let id: Option<i64> = conn
        .prepare_cached("SELECT id FROM invocations WHERE key = ?1 AND owner = ?2")?
        .query_row(params![ended.key, ended.owner.as_str()], |row| row.get(0))
        .optional()?;
    let Some(id) = id else { return Ok(()) };
    let mut counts = PendingCounts::default();
    // Ended before, if the first attempt to record its end has failed after the commit.
    subtract_invocation(conn, &mut counts, id)?;
    let sql = format!(
        "UPDATE invocations SET state = ?2, ended_at_ms = ?3, content_type = ?4, answer = ?5, truncated = ?6, reason = ?7
         WHERE id = ?1 RETURNING {INVOCATION_COLUMNS}"
    );
    let mut update = conn.prepare_cached(&sql)?;
    let mut updated = update.query(params![
        id,
        ended.state.as_str(),
        ended.ended_at_ms,
        ended.answer.content_type,
        ended.answer.body.as_ref(),
        ended.answer.truncated,
        ended.reason,
    ])?;
    while let Some(row) = updated.next()? {
        if let Some(run) = ended_invocation(row)? {
            counts.add(&run);
        }
    }
    counts.write(conn, TotalsTable::Invocations)
}

fn subtract_invocation(conn: &Connection, counts: &mut PendingCounts, id: i64) -> Result<(), StoreError> {
    let sql = format!("SELECT {INVOCATION_COLUMNS} FROM invocations WHERE id = ?1");
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query([id])?;
    if let Some(row) = rows.next()?
        && let Some(run) = ended_invocation(row)?
    {
        counts.subtract(&run);
    }
    Ok(())
}

/// Deletes the invocations that the condition selects, and returns their number.
fn delete(conn: &Connection, condition: &str, values: impl Params) -> Result<u64, StoreError> {
    let sql = format!("DELETE FROM invocations WHERE {condition} RETURNING {INVOCATION_COLUMNS}");
    let mut delete = conn.prepare_cached(&sql)?;
    let mut rows = delete.query(values)?;
    let mut counts = PendingCounts::default();
    let mut removed = 0;
    while let Some(row) = rows.next()? {
        removed += 1;
        if let Some(run) = ended_invocation(row)? {
            counts.subtract(&run);
        }
    }
    counts.write(conn, TotalsTable::Invocations)?;
    Ok(removed)
}

/// Deletes these invocations, and returns the number of those that existed.
pub(in crate::storage::sqlite) fn delete_invocations(conn: &Connection, ids: &[i64]) -> Result<u64, StoreError> {
    let mut removed = 0;
    for id in ids {
        removed += delete(conn, "id = ?1", [id])?;
    }
    Ok(removed)
}

/// Releases the invocations that the previous process was running. The lock of the store proves that it has ended, so
/// their leases need not expire first.
pub(in crate::storage::sqlite) fn release_all_leases(conn: &Connection) -> rusqlite::Result<usize> {
    conn.execute("UPDATE invocations SET lease_until_ms = 0 WHERE state = 'running'", [])
}

/// How a signature was used before.
enum SignatureReuse {
    First,
    Same,
    Other,
}

/// Binds a signature to the purpose of its first use. A signature covers the body but not the URL, so a captured
/// request could otherwise be sent to another function.
fn use_signature(conn: &Connection, signature: &SignatureUse) -> Result<SignatureReuse, StoreError> {
    let used_for: Option<[u8; 32]> = conn
        .prepare_cached("SELECT used_for FROM invocation_signatures WHERE signature = ?1")?
        .query_row([&signature.signature_hash], |row| row.get(0))
        .optional()?;
    if let Some(used_for) = used_for {
        return Ok(if used_for == signature.purpose_hash { SignatureReuse::Same } else { SignatureReuse::Other });
    }
    conn.prepare_cached("INSERT INTO invocation_signatures (signature, used_for, seen_at_ms) VALUES (?1, ?2, ?3)")?
        .execute(params![signature.signature_hash, signature.purpose_hash, signature.seen_at_ms])?;
    Ok(SignatureReuse::First)
}

/// Removes rows among the oldest `limit` of each table, so that the time it takes does not grow with their number.
fn purge(conn: &Connection, before_ms: i64, signatures_before_ms: i64, limit: usize) -> Result<usize, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // The limit applies to the inner query, in the order of the id; applied to the condition on the time, which has
    // no index, the statement would scan all rows that are too young.
    let invocations = delete(
        conn,
        "id IN (SELECT id FROM (SELECT id, received_at_ms FROM invocations ORDER BY id LIMIT ?2) WHERE received_at_ms < ?1)",
        params![before_ms, limit],
    )?;
    let signatures = conn
        .prepare_cached(
            "DELETE FROM invocation_signatures WHERE id IN (SELECT id FROM
             (SELECT id, seen_at_ms FROM invocation_signatures ORDER BY id LIMIT ?2) WHERE seen_at_ms < ?1)",
        )?
        .execute(params![signatures_before_ms, limit])?;
    Ok(usize::try_from(invocations).unwrap_or(usize::MAX) + signatures)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::base::id::InstanceId;
    use crate::base::supervise::Supervisor;
    use crate::storage::sqlite::SqliteUrl;
    use crate::storage::{DEFAULT_COMPANY_ID, Maintenance};

    fn new(key: u8, received_at_ms: i64) -> NewInvocation {
        NewInvocation {
            key: [key; 32],
            reuse_since_ms: received_at_ms - 1_000,
            replaces: None,
            idempotency_key: format!("inv_{key}_{received_at_ms}"),
            owner: InstanceId::random(),
            now_ms: received_at_ms,
            lease_until_ms: received_at_ms + 1_000,
            company_id: DEFAULT_COMPANY_ID,
            function: "weather".into(),
            call_id: Some("call_1".into()),
            tool_call_id: None,
            received_at_ms,
            arguments: Some("{}".into()),
            signature: None,
        }
    }

    fn open(folder: &Path) -> SqliteStore {
        SqliteStore::open(&SqliteUrl::file(folder.join("s.db")), &Supervisor::default()).unwrap()
    }

    #[tokio::test]
    async fn leases_are_released_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.begin_invocation(new(1, 5_000)).await.unwrap();
        let running = BeginInvocationOutcome::Running { signature_seen: false };
        assert_eq!(store.begin_invocation(new(1, 5_001)).await.unwrap(), running);
        store.close().await.unwrap();
        drop(store);
        let again = open(folder.path()).begin_invocation(new(1, 5_002)).await.unwrap();
        assert!(matches!(again, BeginInvocationOutcome::Run { run_number: 2, .. }), "{again:?}");
    }

    #[tokio::test]
    async fn an_invocation_with_an_unknown_state_is_an_error_and_is_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.begin_invocation(new(1, 5_000)).await.unwrap();
        let ledger = SqliteUrl::file(folder.path().join("s.db")).ledger_url();
        let conn = rusqlite::Connection::open(ledger.path()).unwrap();
        conn.execute_batch("PRAGMA ignore_check_constraints = ON; UPDATE invocations SET state = 'paused'").unwrap();
        let message = "unknown state `paused` in the row of table invocations with invocation inv_1_5000";
        let begun = store.begin_invocation(new(1, 5_001)).await.unwrap_err();
        assert_eq!(begun.kind(), crate::storage::StoreErrorKind::CorruptRow);
        assert!(begun.to_string().contains(message), "{begun}");
        let listed = store.list_invocations(InvocationFilter::default(), 10).await.unwrap_err().to_string();
        assert!(listed.contains(message), "{listed}");
        assert!(store.begin_invocation(new(2, 5_002)).await.is_ok(), "other invocations are not affected");
    }
}
