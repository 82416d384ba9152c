//! Resolves the filter of an operator command to rows. Every statement runs along the primary key of one handler's
//! deliveries, or along the index of its dead letters, so a list of the latest rows ends early.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use crate::base::id::{CompanyId, EventId};
use crate::storage::sqlite::events::{json_array, seq_before};
use crate::storage::sqlite::query::{json_list, list_event_seqs_of_call};
use crate::storage::{DeliveryFilter, DeliveryState, HandlerId, IdentityKey, MissingItem, Seq, StoreError};

/// A filter whose handlers, events, call and company were looked up in the store.
#[derive(Clone, Debug)]
pub(in crate::storage::sqlite) struct DeliveryQuery {
    pub(super) handlers: Vec<HandlerCursor>,
    filter: DeliveryFilter,
    company_id: Option<CompanyId>,
    /// Exclusive lower bound of the events.
    after_seq: Seq,
    /// Inclusive upper bound: the latest event at the time of the lookup. A replay would otherwise also select the
    /// events that arrive while it runs.
    through_seq: Seq,
    call_event_seqs: Option<Vec<Seq>>,
}

#[derive(Clone, Debug)]
pub(super) struct HandlerCursor {
    pub(super) id: HandlerId,
    pub(super) name: String,
    pub(super) registered_at_seq: Seq,
    pub(super) planned_through: Seq,
    pub(super) purged_through: Seq,
    /// Events that the filter names for this handler; `None` when it names no events at all.
    named_event_seqs: Option<Vec<Seq>>,
}

impl DeliveryQuery {
    pub(in crate::storage::sqlite) fn resolve(
        conn: &Connection,
        key: &IdentityKey,
        filter: &DeliveryFilter,
    ) -> Result<Self, StoreError> {
        let mut handlers = list_handlers(conn)?;
        // An unknown name is an error rather than an empty result: a typing error must not look like "nothing to do".
        let names_in_pairs = filter.event_handler_pairs.iter().filter_map(|(_, handler)| handler.as_ref());
        for name in filter.handler.iter().chain(names_in_pairs) {
            if !handlers.iter().any(|handler| handler.name == *name) {
                return Err(unknown_handler_error(name, &handlers));
            }
        }
        handlers.retain(|handler| filter.handler.as_ref().is_none_or(|name| handler.name == *name));
        if !filter.event_handler_pairs.is_empty() {
            add_named_events(conn, filter, &mut handlers)?;
            handlers.retain(|handler| handler.named_event_seqs.is_some());
        }
        let company_id = filter.company.as_deref().map(|slug| get_company_id(conn, slug)).transpose()?;
        let after_seq = filter.since_ms.map(|since_ms| seq_before(conn, since_ms)).transpose()?;
        let call_event_seqs =
            filter.call_id.as_deref().map(|call_id| list_event_seqs_of_call(conn, key, call_id)).transpose()?;
        Ok(Self {
            handlers,
            company_id,
            after_seq: after_seq.map_or(Seq(0), Seq),
            through_seq: newest_stored_seq(conn)?,
            call_event_seqs,
            filter: filter.clone(),
        })
    }

    /// The same query, for events after `seq` only.
    pub(in crate::storage::sqlite) fn starting_after(&self, seq: Seq) -> Self {
        Self { after_seq: self.after_seq.max(seq), ..self.clone() }
    }

    pub(in crate::storage::sqlite) fn handler_count(&self) -> usize {
        self.handlers.len()
    }

    /// The column that holds the event's sequence number.
    pub(super) fn seq_column(&self) -> &'static str {
        if self.filter.include_undelivered { "e.seq" } else { "d.event_seq" }
    }

    /// `SELECT … FROM … WHERE …` for one handler: `d` is the delivery; `e` is the event, joined only when
    /// `with_event` is set or a condition needs it.
    pub(super) fn select_sql(&self, handler: &HandlerCursor, columns: &str, with_event: bool) -> (String, Vec<Value>) {
        let filter = &self.filter;
        let mut values = vec![Value::Integer(handler.id.0)];
        let from = if filter.include_undelivered {
            // Events after `planned_through` are left out: planning will make their deliveries.
            values.push(Value::Integer(handler.planned_through.0));
            "events e LEFT JOIN deliveries d ON d.handler_id = ?1 AND d.event_seq = e.seq WHERE e.seq <= ?2".to_owned()
        } else {
            let is_dead = filter.states.as_deref() == Some(&[DeliveryState::Dead]);
            let index = if is_dead { " INDEXED BY deliveries_dead" } else { "" };
            let joins_event = with_event || self.needs_event();
            // CROSS JOIN fixes the order of the loops: deliveries outside, in key order, one event looked up per row.
            let event = if joins_event { " CROSS JOIN events e ON e.seq = d.event_seq" } else { "" };
            format!("deliveries d{index}{event} WHERE d.handler_id = ?1")
        };
        let mut sql = format!("SELECT {columns} FROM {from}");
        // A bare `?` takes the number after the highest one used so far, so the values stay in the order of the text.
        for (condition, value) in self.conditions(handler) {
            sql.extend([" AND ", &condition]);
            values.extend(value);
        }
        (sql, values)
    }

    fn conditions(&self, handler: &HandlerCursor) -> Vec<(String, Option<Value>)> {
        let filter = &self.filter;
        let seq = self.seq_column();
        let owner = if filter.include_undelivered { "e" } else { "d" };
        let mut conditions = Vec::new();
        let mut add = |condition: &str, value: Option<Value>| {
            if value.is_some() {
                conditions.push((condition.to_owned(), value));
            }
        };
        // Unary plus keeps SQLite from using the range for the key lookup: with a list of events, the list is
        // shorter.
        let has_event_list = self.call_event_seqs.is_some() || handler.named_event_seqs.is_some();
        let plus = if has_event_list { "+" } else { "" };
        add(&format!("{plus}{seq} > ?"), Some(Value::Integer(self.after_seq.0)));
        add(&format!("{plus}{seq} <= ?"), Some(Value::Integer(self.through_seq.0)));
        add(&format!("{owner}.company_id = ?"), self.company_id.map(|id| Value::Integer(id.get())));
        add("d.note = ?", filter.reason.clone().map(Value::Text));
        let event_kinds = Some(&filter.event_kinds).filter(|kinds| !kinds.is_empty());
        add("e.event IN (SELECT value FROM json_each(?))", event_kinds.map(|kinds| json_list(kinds)));
        add("e.received_at_ms >= ?", filter.since_ms.map(Value::Integer));
        add("e.received_at_ms < ?", filter.until_ms.map(Value::Integer));
        let in_list = format!("{seq} IN (SELECT value FROM json_each(?))");
        add(&in_list, self.call_event_seqs.as_deref().map(json_array));
        add(&in_list, handler.named_event_seqs.as_deref().map(json_array));
        if let Some(states) = &filter.states {
            conditions.push((state_condition(states, filter.include_undelivered), None));
        }
        conditions
    }

    fn needs_event(&self) -> bool {
        let filter = &self.filter;
        !filter.event_kinds.is_empty() || filter.since_ms.is_some() || filter.until_ms.is_some()
    }
}

fn add_named_events(
    conn: &Connection,
    filter: &DeliveryFilter,
    handlers: &mut [HandlerCursor],
) -> Result<(), StoreError> {
    for (event_id, name) in &filter.event_handler_pairs {
        let seq = get_event_seq(conn, *event_id)?;
        for handler in handlers.iter_mut() {
            // An event without a handler name stands for its deliveries to all handlers.
            if name.as_ref().is_none_or(|name| handler.name == *name) {
                handler.named_event_seqs.get_or_insert_default().push(seq);
            }
        }
    }
    Ok(())
}

/// The state numbers are part of the text: with a parameter, SQLite could not know that the query implies the WHERE
/// of the partial index of dead letters.
fn state_condition(states: &[DeliveryState], or_undelivered: bool) -> String {
    let numbers: Vec<String> = states.iter().map(|state| (*state as i64).to_string()).collect();
    match (numbers.as_slice(), or_undelivered) {
        ([one], false) => format!("d.state = {one}"),
        (several, false) => format!("d.state IN ({})", several.join(",")),
        (several, true) => format!("(d.state IN ({}) OR d.state IS NULL)", several.join(",")),
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

fn newest_stored_seq(conn: &Connection) -> Result<Seq, StoreError> {
    Ok(conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?.query_row([], |row| row.get(0))?)
}

fn unknown_handler_error(name: &str, handlers: &[HandlerCursor]) -> StoreError {
    let names: Vec<&str> = handlers.iter().map(|handler| handler.name.as_str()).collect();
    let known = if names.is_empty() {
        "no handler has run on it yet".to_owned()
    } else {
        format!("known handlers: {}", names.join(", "))
    };
    StoreError::not_found(MissingItem::Handler, format!("the store knows no handler `{name}`; {known}"))
}

pub(super) fn get_event_seq(conn: &Connection, id: EventId) -> Result<Seq, StoreError> {
    let seq = conn
        .prepare_cached("SELECT seq FROM events WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    seq.ok_or_else(|| StoreError::not_found(MissingItem::Event, format!("no event has the id {id}")))
}

fn get_company_id(conn: &Connection, slug: &str) -> Result<CompanyId, StoreError> {
    let id = conn
        .prepare_cached("SELECT id FROM companies WHERE slug = ?1")?
        .query_row([slug], |row| row.get(0))
        .optional()?;
    id.ok_or_else(|| StoreError::not_found(MissingItem::Company, format!("the store knows no company `{slug}`")))
}
