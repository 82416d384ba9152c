//! The outlook of an event per handler: its delivery, or why it has none.

use serde_json::{Value, json};

use super::deliveries;
use super::output::{self, CliError, CliResult};
use crate::base::id::EventId;
use crate::storage::{AttemptRecord, DeliveryOutlook, DeliveryRow, Store};

/// Name of the handler, and its delivery or the reason why it has none.
pub(super) type HandlerOutlook = (String, DeliveryOutlook);

const OUTLOOK_COLUMNS: [&str; 6] = ["HANDLER", "STATE", "ATTEMPTS", "CHANGED (UTC)", "NEXT (UTC)", "REASON"];

pub(super) async fn list_outlooks(
    store: &dyn Store,
    id: EventId,
    handler: Option<&str>,
) -> Result<Vec<HandlerOutlook>, CliError> {
    let mut outlooks = store.delivery_outlooks(id).await?;
    let Some(handler) = handler else { return Ok(outlooks) };
    outlooks.retain(|(name, _)| name == handler);
    if outlooks.is_empty() {
        return Err(CliError::Message(format!(
            "no handler `{}` has run on this store; `retell-webhook status` lists the handlers",
            output::sanitize(handler)
        )));
    }
    Ok(outlooks)
}

/// The output of `deliveries list --event-id`.
pub(super) async fn print_outlooks(store: &dyn Store, id: EventId, handler: Option<&str>, json: bool) -> CliResult {
    let outlooks = list_outlooks(store, id, handler).await?;
    if json {
        output::print_json(&outlooks.iter().map(outlook_json).collect::<Vec<_>>())
    } else {
        print_outlook_table(&outlooks)
    }
}

pub(super) fn print_outlook_table(outlooks: &[HandlerOutlook]) -> CliResult {
    let rows = outlooks.iter().map(|(handler, outlook)| match outlook {
        DeliveryOutlook::Delivery(row, _) => deliveries::delivery_cells(row),
        other => {
            let mut cells = vec![output::sanitize(handler), outlook_label(other).to_owned()];
            cells.resize(OUTLOOK_COLUMNS.len(), "-".to_owned());
            cells
        }
    });
    output::print_table(&OUTLOOK_COLUMNS, rows.collect(), "no handler has run on this store yet")
}

fn outlook_label(outlook: &DeliveryOutlook) -> &'static str {
    match outlook {
        DeliveryOutlook::Delivery(row, _) => row.state.as_str(),
        DeliveryOutlook::Filtered => "filtered: not wanted by the handler",
        DeliveryOutlook::BeforeHandler => "received before the handler was added",
        DeliveryOutlook::Unplanned => "not planned yet",
        DeliveryOutlook::Removed => "removed by retention, or not wanted",
    }
}

/// Whether any handler wanted the event; `None` while a handler has not decided yet, or when its delivery was deleted.
pub(super) fn is_wanted(outlooks: &[HandlerOutlook]) -> Option<bool> {
    if outlooks.iter().any(|(_, outlook)| matches!(outlook, DeliveryOutlook::Delivery(..))) {
        return Some(true);
    }
    let is_undecided =
        |outlook: &DeliveryOutlook| matches!(outlook, DeliveryOutlook::Unplanned | DeliveryOutlook::Removed);
    if outlooks.is_empty() || outlooks.iter().any(|(_, outlook)| is_undecided(outlook)) {
        return None;
    }
    Some(false)
}

pub(super) fn outlook_json((handler, outlook): &HandlerOutlook) -> Value {
    match outlook {
        DeliveryOutlook::Delivery(row, attempts) => {
            let mut value = deliveries::delivery_json(row);
            value["attempt_records"] = json!(attempts);
            value
        }
        other => json!({ "handler": handler, "state": other.as_str() }),
    }
}

/// The section of one handler in `deliveries show`.
pub(super) fn print_outlook((handler, outlook): &HandlerOutlook) -> CliResult {
    output::print_line("")?;
    let DeliveryOutlook::Delivery(row, attempts) = outlook else {
        return output::print_fields(&[
            ("handler", Some(handler.clone())),
            ("state", Some(outlook_label(outlook).to_owned())),
        ]);
    };
    print_delivery_fields(row)?;
    attempts.iter().try_for_each(print_attempt)
}

fn print_delivery_fields(row: &DeliveryRow) -> CliResult {
    output::print_fields(&[
        ("handler", Some(row.handler.clone())),
        ("state", Some(row.state.to_string())),
        ("reason", row.reason.clone()),
        ("replay", row.is_replay.then(|| "yes".to_owned())),
        ("queued (UTC)", Some(output::format_time(row.queued_at_ms))),
        ("changed (UTC)", Some(output::format_time(row.updated_ms))),
        ("next (UTC)", deliveries::next_attempt_text(row)),
        ("attempts", Some(row.attempts.to_string())),
    ])
}

fn print_attempt(attempt: &AttemptRecord) -> CliResult {
    let status = attempt.status.map(|status| format!(", status {status}")).unwrap_or_default();
    output::print_line(format!(
        "  {}  attempt {}: {}{status}, {} ms",
        output::format_time(attempt.started_at_ms),
        attempt.attempt,
        output::sanitize(&attempt.outcome),
        attempt.duration_ms
    ))?;
    for (name, text) in [("error", &attempt.error), ("answer", &attempt.answer)] {
        if let Some(text) = text {
            output::print_line(format!("    {name}: {}", output::sanitize(text)))?;
        }
    }
    Ok(())
}
