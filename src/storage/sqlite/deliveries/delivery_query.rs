//! Resolves the filter of an operator command to candidates, and to statements that compare them with the filter. Every
//! step reads a bounded number of candidates in the order of their events.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use crate::base::id::{CompanyId, EventId};
use crate::storage::sqlite::events::json_array;
use crate::storage::sqlite::query::{
    CandidateStep, Candidates, Order, SeqBounds, SeqRange, StepLimit, all_events, find_candidates, json_list,
    seq_bounds,
};
use crate::storage::{
    DeliveryFilter, DeliveryState, EventFilter, HandlerId, IdentityKey, MissingItem, Seq, StoreError,
};

/// Candidates that are compared with a filter in one read transaction.
pub(super) const MAX_CANDIDATES: usize = 5_000;
/// Unfinished deliveries of a handler, which are not in the order of their events, up to which they are listed.
const MAX_UNFINISHED_LISTED: i64 = 5_000;

const ALL_DELIVERIES: &str = "deliveries WHERE handler_id = ?4";
const BY_STATE: &str =
    "deliveries INDEXED BY deliveries_ended WHERE handler_id = ?4 AND state = ?5 AND (state = 4 OR state = 5)";
const BY_REASON: &str = "deliveries INDEXED BY deliveries_reasons WHERE handler_id = ?4 AND note = ?5";

/// A filter whose handlers, events, call and company were looked up in the store.
#[derive(Clone, Debug)]
pub(in crate::storage::sqlite) struct DeliveryQuery {
    pub(super) handlers: Vec<HandlerCursor>,
    filter: DeliveryFilter,
    company_id: Option<CompanyId>,
    /// Ends with the latest event at the time of the lookup. A replay would otherwise also select the events that arrive
    /// while it runs.
    pub(super) bounds: SeqBounds,
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
    /// Where the deliveries that may match are, as sequence numbers of their events.
    candidates: Candidates,
    /// Whether nearly all candidates match: they are chosen by event and by delivery.
    pub(super) has_exact_candidates: bool,
}

impl HandlerCursor {
    /// The next candidates within the bounds.
    pub(super) fn next_candidates(
        &self,
        conn: &Connection,
        bounds: SeqBounds,
        order: Order,
        limit: StepLimit,
    ) -> Result<CandidateStep, StoreError> {
        Ok(self.candidates.next(conn, bounds, order, limit)?)
    }
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
        let newest = SeqBounds { through: newest_stored_seq(conn)?, ..SeqBounds::ALL };
        let bounds = seq_bounds(conn, filter.since_ms, filter.until_ms)?.intersect(newest);
        let mut query = Self { handlers, company_id, bounds, filter: filter.clone() };
        query.find_candidates(conn, key)?;
        Ok(query)
    }

    /// Finds the candidates of each handler by its deliveries and by the events.
    fn find_candidates(&mut self, conn: &Connection, key: &IdentityKey) -> Result<(), StoreError> {
        let event_filter = EventFilter {
            kinds: self.filter.event_kinds.clone(),
            call_id: self.filter.call_id.clone(),
            ..EventFilter::default()
        };
        let selects_events = event_filter != EventFilter::default() || self.company_id.is_some();
        let by_event =
            if selects_events { Some(find_candidates(conn, key, &event_filter, self.company_id)?) } else { None };
        for index in 0..self.handlers.len() {
            let handler = &self.handlers[index];
            let by_delivery = match &handler.named_event_seqs {
                Some(named) => Some(vec![SeqRange::listed(named.clone())]),
                None => self.delivery_candidates(conn, handler.id)?,
            };
            let selects_by_delivery = by_delivery.is_some() || self.filter.states.is_none();
            let all_deliveries = || vec![SeqRange::index("event_seq", ALL_DELIVERIES, [handler.id.0.into()])];
            let (ranges, others) = match (by_delivery, by_event.clone()) {
                (Some(ranges), others) => (ranges, others),
                (None, by_event) if self.filter.include_undelivered => {
                    (by_event.unwrap_or_else(|| vec![all_events()]), None)
                }
                // Few of these events may be delivered to the handler.
                (None, others) => (all_deliveries(), others),
            };
            let handler = &mut self.handlers[index];
            handler.has_exact_candidates = selects_by_delivery && others.is_some();
            handler.candidates = Candidates { ranges, others };
        }
        Ok(())
    }

    /// The candidates by state or reason; `None` when the filter selects too many for these indexes, such as deliveries
    /// that succeeded.
    fn delivery_candidates(&self, conn: &Connection, handler: HandlerId) -> Result<Option<Vec<SeqRange>>, StoreError> {
        if self.filter.include_undelivered {
            return Ok(None);
        }
        if let Some(reason) = &self.filter.reason {
            let keys = [handler.0.into(), Value::Text(reason.clone())];
            return Ok(Some(vec![SeqRange::index("event_seq", BY_REASON, keys)]));
        }
        let Some(states) = &self.filter.states else { return Ok(None) };
        let mut ranges = Vec::new();
        let mut selects_unfinished = false;
        for state in states {
            match state {
                DeliveryState::Succeeded => return Ok(None),
                DeliveryState::Dead | DeliveryState::Skipped => {
                    let keys = [handler.0.into(), (*state as i64).into()];
                    ranges.push(SeqRange::index("event_seq", BY_STATE, keys));
                }
                DeliveryState::Pending | DeliveryState::Running | DeliveryState::Scheduled => selects_unfinished = true,
            }
        }
        if selects_unfinished {
            let Some(unfinished) = list_unfinished(conn, handler)? else { return Ok(None) };
            ranges.push(SeqRange::listed(unfinished));
        }
        Ok(Some(ranges))
    }

    /// The same query, for events up to `seq` only.
    pub(in crate::storage::sqlite) fn ending_with(mut self, seq: Seq) -> Self {
        self.bounds.through = self.bounds.through.min(seq);
        self
    }

    /// Events between two positions of the query, to show progress.
    pub(in crate::storage::sqlite) fn event_count_through(&self, seq: Seq) -> u64 {
        let after = self.bounds.after.0;
        u64::try_from(seq.min(self.bounds.through).0.saturating_sub(after)).unwrap_or(0)
    }

    pub(in crate::storage::sqlite) fn handler_count(&self) -> usize {
        self.handlers.len()
    }

    /// The column that holds the event's sequence number.
    pub(super) fn seq_column(&self) -> &'static str {
        if self.filter.include_undelivered { "e.seq" } else { "d.event_seq" }
    }

    /// `SELECT … FROM … WHERE …` for those of the events in `within` that match: `d` is the delivery; `e` is the event,
    /// joined only when `with_event` is set or a condition needs it.
    pub(super) fn select_sql(
        &self,
        handler: &HandlerCursor,
        within: &SeqSelection,
        columns: &str,
        with_event: bool,
    ) -> (String, Vec<Value>) {
        let filter = &self.filter;
        let mut values = vec![Value::Integer(handler.id.0)];
        let from = if filter.include_undelivered {
            // Events after `planned_through` are left out: planning will make their deliveries.
            values.push(Value::Integer(handler.planned_through.0));
            "events e LEFT JOIN deliveries d ON d.handler_id = ?1 AND d.event_seq = e.seq WHERE e.seq <= ?2".to_owned()
        } else {
            let joins_event = with_event || self.needs_event();
            // CROSS JOIN fixes the order of the loops: deliveries outside, in key order, one event looked up per row.
            let event = if joins_event { " CROSS JOIN events e ON e.seq = d.event_seq" } else { "" };
            format!("deliveries d{event} WHERE d.handler_id = ?1")
        };
        let mut sql = format!("SELECT {columns} FROM {from}");
        // A bare `?` takes the number after the highest one used so far, so the values stay in the order of the text.
        let (condition, seq_values) = within.condition(self.seq_column());
        sql.extend([" AND ", &condition]);
        values.extend(seq_values);
        for (condition, value) in self.conditions() {
            sql.extend([" AND ", &condition]);
            values.extend(value);
        }
        (sql, values)
    }

    /// Unary plus keeps SQLite from using an index for these: the candidates are the outer loop.
    fn conditions(&self) -> Vec<(String, Option<Value>)> {
        let filter = &self.filter;
        let owner = if filter.include_undelivered { "e" } else { "d" };
        let mut conditions = Vec::new();
        let mut add = |condition: &str, value: Option<Value>| {
            if value.is_some() {
                conditions.push((condition.to_owned(), value));
            }
        };
        add(&format!("+{owner}.company_id = ?"), self.company_id.map(|id| Value::Integer(id.get())));
        add("+d.note = ?", filter.reason.clone().map(Value::Text));
        let event_kinds = Some(&filter.event_kinds).filter(|kinds| !kinds.is_empty());
        add("+e.event IN (SELECT value FROM json_each(?))", event_kinds.map(|kinds| json_list(kinds)));
        add("e.received_at_ms >= ?", filter.since_ms.map(Value::Integer));
        add("e.received_at_ms < ?", filter.until_ms.map(Value::Integer));
        add("e.call_id = ?", filter.call_id.clone().map(Value::Text));
        if let Some(states) = &filter.states {
            conditions.push((state_condition(states, filter.include_undelivered), None));
        }
        conditions
    }

    pub(super) fn needs_event(&self) -> bool {
        let filter = &self.filter;
        !filter.event_kinds.is_empty()
            || filter.since_ms.is_some()
            || filter.until_ms.is_some()
            || filter.call_id.is_some()
    }
}

/// Sequence numbers to which a statement is limited.
pub(super) enum SeqSelection {
    Listed(Vec<Seq>),
    Bounds(SeqBounds),
}

impl SeqSelection {
    fn condition(&self, column: &str) -> (String, Vec<Value>) {
        match self {
            Self::Listed(seqs) => (format!("{column} IN (SELECT value FROM json_each(?))"), vec![json_array(seqs)]),
            Self::Bounds(SeqBounds { after, through }) => {
                (format!("{column} > ? AND {column} <= ?"), vec![after.0.into(), through.0.into()])
            }
        }
    }
}

/// The unfinished deliveries of a handler; `None` when they are many.
fn list_unfinished(conn: &Connection, handler: HandlerId) -> Result<Option<Vec<Seq>>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT event_seq FROM deliveries INDEXED BY deliveries_call_sequence WHERE handler_id = ?1 AND state < 3 LIMIT ?2",
    )?;
    let rows = statement.query_map(rusqlite::params![handler, MAX_UNFINISHED_LISTED], |row| row.get(0))?;
    let seqs: Vec<Seq> = rows.collect::<Result<_, _>>()?;
    Ok(i64::try_from(seqs.len()).is_ok_and(|found| found < MAX_UNFINISHED_LISTED).then_some(seqs))
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

fn state_condition(states: &[DeliveryState], or_undelivered: bool) -> String {
    let numbers: Vec<String> = states.iter().map(|state| (*state as i64).to_string()).collect();
    match (numbers.as_slice(), or_undelivered) {
        (states, false) => format!("+d.state IN ({})", states.join(",")),
        (states, true) => format!("(+d.state IN ({}) OR d.state IS NULL)", states.join(",")),
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
            candidates: Candidates::default(),
            has_exact_candidates: false,
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
