//! Raised alarms, and hourly event counts (activity).

use rusqlite::{Connection, params};

use crate::storage::{ActivityRow, AlarmRow, StoreError};

/// Makes `alarms` the set of raised alarms.
pub(super) fn replace_alarms(conn: &mut Connection, alarms: &[AlarmRow]) -> Result<(), StoreError> {
    // A savepoint, because the writer's transaction also holds other jobs: a failure here must undo this job alone.
    let savepoint = conn.savepoint()?;
    savepoint.prepare_cached("DELETE FROM alarms")?.execute([])?;
    for row in alarms {
        savepoint
            .prepare_cached(
                "INSERT INTO alarms (alarm, subject, since_ms, last_notified_ms, text) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![row.kind, row.subject, row.since_ms, row.last_notified_ms, row.text])?;
    }
    Ok(savepoint.commit()?)
}

/// The alarm raised first comes first.
pub(super) fn list_alarms(conn: &Connection) -> Result<Vec<AlarmRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT alarm, subject, since_ms, last_notified_ms, text FROM alarms ORDER BY since_ms, alarm, subject",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(AlarmRow {
            kind: row.get(0)?,
            subject: row.get(1)?,
            since_ms: row.get(2)?,
            last_notified_ms: row.get(3)?,
            text: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Replaces the counts of the hours in `rows` and deletes hours before `forget_before` (hours since the Unix epoch).
pub(super) fn upsert_activity(
    conn: &mut Connection,
    rows: &[ActivityRow],
    forget_before: Option<i64>,
) -> Result<(), StoreError> {
    let savepoint = conn.savepoint()?;
    for row in rows {
        // Totals, not increments: writing the same counts again after a failure changes nothing.
        savepoint.prepare_cached(
            "INSERT OR REPLACE INTO activity (company_id, agent_id, hour, events, last_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
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
    fn replacing_alarms_removes_the_earlier_ones() {
        let mut conn = store();
        let row = |alarm: &str, since_ms| AlarmRow {
            kind: alarm.to_owned(),
            subject: "crm".to_owned(),
            since_ms,
            last_notified_ms: since_ms + 1,
            text: "it is broken".to_owned(),
        };
        replace_alarms(&mut conn, &[row("silence", 5), row("disk", 3)]).unwrap();
        assert_eq!(list_alarms(&conn).unwrap(), [row("disk", 3), row("silence", 5)]);
        replace_alarms(&mut conn, &[row("silence", 5)]).unwrap();
        assert_eq!(list_alarms(&conn).unwrap(), [row("silence", 5)]);
    }

    #[test]
    fn counts_of_an_hour_are_replaced_and_old_hours_deleted() {
        let mut conn = store();
        let row = |agent: Option<&str>, hour, events| ActivityRow {
            company_id: 1,
            agent_id: agent.map(str::to_owned),
            hour,
            event_count: events,
            last_event_at_ms: hour * 3_600_000,
        };
        upsert_activity(&mut conn, &[row(None, 7, 1), row(Some("agent_1"), 8, 1)], None).unwrap();
        upsert_activity(&mut conn, &[row(None, 8, 2)], None).unwrap();
        upsert_activity(&mut conn, &[row(None, 8, 5)], Some(8)).unwrap();
        assert_eq!(list_activity(&conn).unwrap(), [row(None, 8, 5), row(Some("agent_1"), 8, 1)]);
    }
}
