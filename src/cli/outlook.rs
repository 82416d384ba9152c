//! What became of an event for each handler.

use serde_json::{Value, json};

use super::deliveries;
use super::output::{self, CliError, CliResult};
use crate::base::id::EventId;
use crate::storage::{AttemptRecord, DeliveryOutlook, DeliveryRow, Store};

pub(super) type HandlerOutlook = (String, DeliveryOutlook);

pub(super) async fn list_outlooks(
    store: &impl Store,
    id: EventId,
    handler: Option<&str>,
) -> Result<Vec<HandlerOutlook>, CliError> {
    let mut fates = store.delivery_outlooks(id).await?;
    fates.retain(|(name, _)| handler.is_none_or(|wanted| wanted == name));
    match handler.filter(|_| fates.is_empty()) {
        Some(handler) => Err(CliError::Message(format!("the store knows no handler `{handler}`; `status` lists them"))),
        None => Ok(fates),
    }
}

/// The table of `deliveries list --event-id`.
pub(super) async fn print_outlooks(store: &impl Store, id: EventId, handler: Option<&str>, json: bool) -> CliResult {
    let fates = list_outlooks(store, id, handler).await?;
    if json {
        output::print_json(&fates.iter().map(outlook_json).collect::<Vec<_>>())
    } else {
        print_outlook_table(&fates)
    }
}

pub(super) fn print_outlook_table(fates: &[HandlerOutlook]) -> CliResult {
    let rows = fates.iter().map(|(handler, fate)| match fate {
        DeliveryOutlook::Delivery(row, _) => deliveries::delivery_cells(row),
        other => {
            let nothing = || "-".to_owned();
            vec![output::sanitize(handler), outlook_label(other).to_owned(), nothing(), nothing(), nothing(), nothing()]
        }
    });
    let header = ["HANDLER", "STATE", "ATTEMPTS", "CHANGED (UTC)", "NEXT (UTC)", "REASON"];
    output::print_table(&header, rows.collect(), "no handler has run on this store yet")
}

/// What no delivery means.
fn outlook_label(fate: &DeliveryOutlook) -> &'static str {
    match fate {
        DeliveryOutlook::Delivery(row, _) => row.state.as_str(),
        DeliveryOutlook::Filtered => "filtered: not wanted",
        DeliveryOutlook::BeforeHandler => "received before the handler was known",
        DeliveryOutlook::Unplanned => "not looked at yet",
        DeliveryOutlook::Removed => "removed for its age, or not wanted",
    }
}

/// Whether some handler wanted it; `None` while one that may has not looked at it, or when that is not known any more.
pub(super) fn is_wanted(fates: &[HandlerOutlook]) -> Option<bool> {
    let any = |wanted: fn(&DeliveryOutlook) -> bool| fates.iter().any(|(_, fate)| wanted(fate));
    if any(|fate| matches!(fate, DeliveryOutlook::Delivery(..))) {
        return Some(true);
    }
    (!fates.is_empty() && !any(|fate| matches!(fate, DeliveryOutlook::Unplanned | DeliveryOutlook::Removed)))
        .then_some(false)
}

pub(super) fn outlook_json((handler, fate): &HandlerOutlook) -> Value {
    match fate {
        DeliveryOutlook::Delivery(row, attempts) => {
            let mut value = deliveries::delivery_json(row);
            value["attempt_records"] = json!(attempts);
            value
        }
        other => json!({ "handler": handler, "state": other.as_str() }),
    }
}

/// All there is to say about one.
pub(super) fn print_outlook((handler, fate): &HandlerOutlook) -> CliResult {
    output::print_line("")?;
    let DeliveryOutlook::Delivery(row, attempts) = fate else {
        return output::print_fields(&[
            ("handler", Some(handler.clone())),
            ("state", Some(outlook_label(fate).to_owned())),
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
        ("since (UTC)", Some(output::format_time(row.queued_at_ms))),
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
