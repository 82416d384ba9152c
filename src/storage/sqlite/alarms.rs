//! Raised alarms, and hourly event counts (activity).

use rusqlite::{Connection, params};

use crate::storage::{ActivityRow, AlarmKind, AlarmRow, StoreError};

/// Inserts or replaces the alarm of this kind and subject.
pub(super) fn raise_alarm(conn: &Connection, row: &AlarmRow) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO alarms (alarm, subject, since_ms, last_notified_ms, text) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![row.kind.as_str(), row.subject, row.since_ms, row.last_notified_ms, row.text])?;
    Ok(())
}

pub(super) fn resolve_alarm(conn: &Connection, kind: AlarmKind, subject: &str) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM alarms WHERE alarm = ?1 AND subject = ?2")?
        .execute(params![kind.as_str(), subject])?;
    Ok(())
}

/// The alarm raised first comes first. A kind that this version does not know is left out: a later version has written it,
/// and resolves it.
pub(super) fn list_alarms(conn: &Connection) -> Result<Vec<AlarmRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT alarm, subject, since_ms, last_notified_ms, text FROM alarms ORDER BY since_ms, alarm, subject",
    )?;
    let rows = statement.query_map([], |row| {
        let Some(kind) = AlarmKind::from_name(row.get_ref(0)?.as_str()?) else { return Ok(None) };
        let subject = row.get(1)?;
        Ok(Some(AlarmRow { kind, subject, since_ms: row.get(2)?, last_notified_ms: row.get(3)?, text: row.get(4)? }))
    })?;
    Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
}

/// Adds the counts to those of their hours and deletes hours before `forget_before` (hours since the Unix epoch).
pub(super) fn add_activity(
    conn: &mut Connection,
    counts: &[ActivityRow],
    forget_before: Option<i64>,
) -> Result<(), StoreError> {
    // A savepoint, because the writer's transaction also holds other jobs: a failure here must undo this job alone, and
    // all of it, because the caller adds the same counts again.
    let savepoint = conn.savepoint()?;
    for row in counts {
        savepoint
            .prepare_cached(
                "INSERT INTO activity (company_id, agent_id, hour, events, last_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET events = events + excluded.events, last_ms = max(last_ms, excluded.last_ms)",
            )?
            .execute(params![
                row.company_id,
                // The column is part of the primary key and so cannot be null: the empty text stands for the whole
                // company.
                row.agent_id.as_deref().unwrap_or_default(),
                row.hour,
                row.event_count,
                row.last_event_at_ms
            ])?;
    }
    if let Some(hour) = forget_before {
        savepoint.prepare_cached("DELETE FROM activity WHERE hour < ?1")?.execute([hour])?;
    }
    Ok(savepoint.commit()?)
}

pub(super) fn list_activity(conn: &Connection) -> Result<Vec<ActivityRow>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT company_id, agent_id, hour, events, last_ms FROM activity")?;
    let rows = statement.query_map([], |row| {
        Ok(ActivityRow {
            company_id: row.get(0)?,
            agent_id: Some(row.get(1)?).filter(|agent: &String| !agent.is_empty()),
            hour: row.get(2)?,
            event_count: row.get(3)?,
            last_event_at_ms: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sqlite::open::MIGRATIONS;

    fn store() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        for step in MIGRATIONS.steps {
            conn.execute_batch(step).unwrap();
        }
        conn
    }

    #[test]
    fn an_unknown_kind_of_alarm_is_left_out() {
        let conn = store();
        conn.execute("INSERT INTO alarms VALUES ('gremlins', 'crm', 1, 1, 'it is broken')", []).unwrap();
        let disk = AlarmRow {
            kind: AlarmKind::Disk,
            subject: String::new(),
            since_ms: 2,
            last_notified_ms: 2,
            text: "the disk is full".to_owned(),
        };
        raise_alarm(&conn, &disk).unwrap();
        assert_eq!(list_alarms(&conn).unwrap(), [disk]);
    }
}
