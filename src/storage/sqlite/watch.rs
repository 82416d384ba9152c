//! What watching leaves in the store: alarms that are on, and counts of events by hour.

use rusqlite::{Connection, params};

use crate::storage::{ActivityRow, AlarmRow, StoreError};

/// These, and no others.
pub(super) fn note_alarms(conn: &mut Connection, alarms: &[AlarmRow]) -> Result<(), StoreError> {
    let part = conn.savepoint()?;
    part.prepare_cached("DELETE FROM alarms")?.execute([])?;
    for row in alarms {
        part.prepare_cached(
            "INSERT INTO alarms (alarm, subject, since_ms, told_ms, text) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![row.alarm, row.subject, row.since_ms, row.told_ms, row.text])?;
    }
    Ok(part.commit()?)
}

/// The one that is on for longest first.
pub(super) fn alarms(conn: &Connection) -> Result<Vec<AlarmRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT alarm, subject, since_ms, told_ms, text FROM alarms ORDER BY since_ms, alarm, subject",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(AlarmRow {
            alarm: row.get(0)?,
            subject: row.get(1)?,
            since_ms: row.get(2)?,
            told_ms: row.get(3)?,
            text: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts these in the place of what is there about the same hours, and forgets hours before that one.
pub(super) fn note_activity(
    conn: &mut Connection,
    rows: &[ActivityRow],
    forget_before: Option<i64>,
) -> Result<(), StoreError> {
    let part = conn.savepoint()?;
    for row in rows {
        part.prepare_cached(
            "INSERT OR REPLACE INTO activity (company_id, agent_id, hour, events, last_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            row.company_id,
            row.agent_id.as_deref().unwrap_or_default(),
            row.hour,
            row.events,
            row.last_ms
        ])?;
    }
    if let Some(hour) = forget_before {
        part.prepare_cached("DELETE FROM activity WHERE hour < ?1")?.execute([hour])?;
    }
    Ok(part.commit()?)
}

pub(super) fn activity(conn: &Connection) -> Result<Vec<ActivityRow>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT company_id, agent_id, hour, events, last_ms FROM activity")?;
    let rows = statement.query_map([], |row| {
        Ok(ActivityRow {
            company_id: row.get(0)?,
            agent_id: Some(row.get(1)?).filter(|agent: &String| !agent.is_empty()),
            hour: row.get(2)?,
            events: row.get(3)?,
            last_ms: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
