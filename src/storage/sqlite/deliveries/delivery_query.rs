//! From what an operator names to rows. Every statement goes along the primary key of one handler's deliveries, or the
//! index of its dead letters, so that a list of the latest stops early.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use crate::base::id::EventId;
use crate::storage::sqlite::events::seq_before;
use crate::storage::{DeliveryFilter, DeliveryState, HandlerId, IdentityKey, StoreError};

/// A filter, its names looked up.
#[derive(Clone, Debug)]
pub(in crate::storage::sqlite) struct DeliveryQuery {
    pub(super) handlers: Vec<HandlerCursor>,
    filter: DeliveryFilter,
    company_id: Option<i64>,
    /// Events behind this one only.
    after_seq: i64,
    /// The latest one there was: what comes in while deliveries are changed is not meant.
    through_seq: i64,
    call_event_seqs: Option<Vec<i64>>,
}

#[derive(Clone, Debug)]
pub(super) struct HandlerCursor {
    pub(super) id: HandlerId,
    pub(super) name: String,
    pub(super) registered_at_seq: i64,
    pub(super) planned_through: i64,
    pub(super) purged_through: i64,
    /// The events that were named for it, when any were.
    named_event_seqs: Option<Vec<i64>>,
}

impl DeliveryQuery {
    pub(in crate::storage::sqlite) fn resolve(
        conn: &Connection,
        key: &IdentityKey,
        filter: &DeliveryFilter,
    ) -> Result<Self, StoreError> {
        let mut known = list_handlers(conn)?;
        for wanted in
            filter.handler.iter().chain(filter.event_handler_pairs.iter().filter_map(|(_, handler)| handler.as_ref()))
        {
            if !known.iter().any(|handler| handler.name == *wanted) {
                return Err(unknown_handler_error(wanted, &known));
            }
        }
        known.retain(|handler| filter.handler.as_ref().is_none_or(|wanted| handler.name == *wanted));
        if !filter.event_handler_pairs.is_empty() {
            for (id, wanted) in &filter.event_handler_pairs {
                let seq = get_event_seq(conn, *id)?;
                for handler in known.iter_mut().filter(|known| wanted.as_ref().is_none_or(|name| known.name == *name)) {
                    handler.named_event_seqs.get_or_insert_default().push(seq);
                }
            }
            known.retain(|handler| handler.named_event_seqs.is_some());
        }
        Ok(Self {
            handlers: known,
            company_id: filter.company.as_deref().map(|slug| get_company_id(conn, slug)).transpose()?,
            after_seq: filter.since_ms.map(|since_ms| seq_before(conn, since_ms)).transpose()?.unwrap_or(0),
            through_seq: newest_stored_seq(conn)?,
            call_event_seqs: filter
                .call_id
                .as_deref()
                .map(|call_id| list_event_seqs_of_call(conn, key, call_id))
                .transpose()?,
            filter: filter.clone(),
        })
    }

    /// The same, of events behind this one only.
    pub(in crate::storage::sqlite) fn starting_after(&self, seq: i64) -> Self {
        Self { after_seq: self.after_seq.max(seq), ..self.clone() }
    }

    /// How many handlers it is about.
    pub(in crate::storage::sqlite) fn handler_count(&self) -> usize {
        self.handlers.len()
    }

    /// The column with the number of the event.
    pub(super) fn seq_column(&self) -> &'static str {
        if self.filter.include_undelivered { "e.seq" } else { "d.event_seq" }
    }

    /// `SELECT … FROM … WHERE …` for one handler: `d` is the delivery, and `e` the event if the columns need it.
    pub(super) fn select_sql(&self, handler: &HandlerCursor, columns: &str, with_event: bool) -> (String, Vec<Value>) {
        let filter = &self.filter;
        let mut values = vec![Value::Integer(handler.id)];
        let from = if filter.include_undelivered {
            // What the handler has yet to look at becomes a delivery without anybody's help.
            values.push(Value::Integer(handler.planned_through));
            "events e LEFT JOIN deliveries d ON d.handler_id = ?1 AND d.event_seq = e.seq WHERE e.seq <= ?2".to_owned()
        } else {
            let is_dead = filter.states.as_deref() == Some(&[DeliveryState::Dead]);
            let index = if is_dead { " INDEXED BY deliveries_dead" } else { "" };
            let joins = with_event || self.needs_event();
            let event = if joins { " CROSS JOIN events e ON e.seq = d.event_seq" } else { "" };
            format!("deliveries d{index}{event} WHERE d.handler_id = ?1")
        };
        let mut sql = format!("SELECT {columns} FROM {from}");
        for (condition, value) in self.conditions(handler) {
            sql.extend([" AND ", &condition]);
            values.extend(value);
        }
        (sql, values)
    }

    fn conditions(&self, handler: &HandlerCursor) -> Vec<(String, Option<Value>)> {
        let (filter, seq) = (&self.filter, self.seq_column());
        let owner = if filter.include_undelivered { "e" } else { "d" };
        let mut all = Vec::new();
        let mut add = |condition: &str, value: Option<Value>| {
            all.extend(value.map(|value| (condition.to_owned(), Some(value))));
        };
        // A plus sign leaves the place to be found by the list, where there is one.
        let by_list = if self.call_event_seqs.is_some() || handler.named_event_seqs.is_some() { "+" } else { "" };
        add(&format!("{by_list}{seq} > ?"), Some(Value::Integer(self.after_seq)));
        add(&format!("{by_list}{seq} <= ?"), Some(Value::Integer(self.through_seq)));
        add(&format!("{owner}.company_id = ?"), self.company_id.map(Value::Integer));
        add("d.note = ?", filter.reason.clone().map(Value::Text));
        add("e.event = ?", filter.event_kind.clone().map(Value::Text));
        add("e.received_at_ms >= ?", filter.since_ms.map(Value::Integer));
        add("e.received_at_ms < ?", filter.until_ms.map(Value::Integer));
        let among = format!("{seq} IN (SELECT value FROM json_each(?))");
        add(&among, self.call_event_seqs.as_deref().map(json_array));
        add(&among, handler.named_event_seqs.as_deref().map(json_array));
        all.extend(filter.states.as_deref().map(|states| (state_condition(states, filter.include_undelivered), None)));
        all
    }

    fn needs_event(&self) -> bool {
        let filter = &self.filter;
        filter.event_kind.is_some() || filter.since_ms.is_some() || filter.until_ms.is_some()
    }
}

fn json_array(seqs: &[i64]) -> Value {
    let list: Vec<String> = seqs.iter().map(i64::to_string).collect();
    Value::Text(format!("[{}]", list.join(",")))
}

/// With the numbers in the text, or SQLite could not know that the index of dead letters fits.
fn state_condition(states: &[DeliveryState], or_none: bool) -> String {
    let numbers: Vec<String> = states.iter().map(|state| (*state as i64).to_string()).collect();
    match (numbers.as_slice(), or_none) {
        ([one], false) => format!("d.state = {one}"),
        (some, false) => format!("d.state IN ({})", some.join(",")),
        (some, true) => format!("(d.state IN ({}) OR d.state IS NULL)", some.join(",")),
    }
}

pub(super) fn list_handlers(conn: &Connection) -> Result<Vec<HandlerCursor>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT id, name, since, through, purged_through FROM handlers ORDER BY name")?;
    let rows = statement.query_map([], |row| {
        Ok(HandlerCursor {
            id: row.get(0)?,
            name: row.get(1)?,
            registered_at_seq: row.get(2)?,
            planned_through: row.get(3)?,
            purged_through: row.get(4)?,
            named_event_seqs: None,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn newest_stored_seq(conn: &Connection) -> Result<i64, StoreError> {
    Ok(conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?.query_row([], |row| row.get(0))?)
}

fn unknown_handler_error(wanted: &str, known: &[HandlerCursor]) -> StoreError {
    let names: Vec<&str> = known.iter().map(|handler| handler.name.as_str()).collect();
    let known = if names.is_empty() { "none has run yet".to_owned() } else { names.join(", ") };
    StoreError::NotFound(format!("the store knows no handler `{wanted}`; it knows: {known}"))
}

pub(super) fn get_event_seq(conn: &Connection, id: EventId) -> Result<i64, StoreError> {
    let seq = conn
        .prepare_cached("SELECT seq FROM events WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    seq.ok_or_else(|| StoreError::NotFound(format!("there is no event {id}; `retell-webhook events list` prints ids")))
}

fn get_company_id(conn: &Connection, slug: &str) -> Result<i64, StoreError> {
    let id = conn
        .prepare_cached("SELECT id FROM companies WHERE slug = ?1")?
        .query_row([slug], |row| row.get(0))
        .optional()?;
    id.ok_or_else(|| StoreError::NotFound(format!("the store knows no company `{slug}`")))
}

/// Older events through the index, the tail it does not cover yet by looking at each.
fn list_event_seqs_of_call(conn: &Connection, key: &IdentityKey, call_id: &str) -> Result<Vec<i64>, StoreError> {
    let (first, last) = key.call_key_range(call_id).into_inner();
    // Not with an OR, for which SQLite would look at every event.
    let mut statement = conn.prepare_cached(
        "SELECT seq FROM events WHERE call_id = ?1 AND seq IN (SELECT seq FROM event_keys WHERE key BETWEEN ?2 AND ?3)
         UNION
         SELECT seq FROM events
         WHERE call_id = ?1 AND seq > (SELECT value FROM progress WHERE name = 'indexed_through') ORDER BY 1",
    )?;
    let rows = statement.query_map(rusqlite::params![call_id, first, last], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
