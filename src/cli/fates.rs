//! What became of an event for each handler.

use serde_json::{Value, json};

use super::deliveries;
use super::output::{self, Done, Failure};
use crate::base::id::EventId;
use crate::storage::{AttemptRecord, DeliveryRow, Fate, Store};

pub(super) type HandlerFate = (String, Fate);

pub(super) async fn of(store: &impl Store, id: EventId, handler: Option<&str>) -> Result<Vec<HandlerFate>, Failure> {
    let mut fates = store.fates(id).await?;
    fates.retain(|(name, _)| handler.is_none_or(|wanted| wanted == name));
    match handler.filter(|_| fates.is_empty()) {
        Some(handler) => Err(Failure::Because(format!("the store knows no handler `{handler}`; `status` lists them"))),
        None => Ok(fates),
    }
}

/// The table of `deliveries list --event-id`.
pub(super) async fn list(store: &impl Store, id: EventId, handler: Option<&str>, json: bool) -> Done {
    let fates = of(store, id, handler).await?;
    if json { output::json(&fates.iter().map(describe).collect::<Vec<_>>()) } else { table(&fates) }
}

pub(super) fn table(fates: &[HandlerFate]) -> Done {
    let rows = fates.iter().map(|(handler, fate)| match fate {
        Fate::Delivery(row, _) => deliveries::cells(row),
        other => {
            let nothing = || "-".to_owned();
            vec![output::plain(handler), words(other).to_owned(), nothing(), nothing(), nothing(), nothing()]
        }
    });
    let header = ["HANDLER", "STATE", "ATTEMPTS", "CHANGED (UTC)", "NEXT (UTC)", "REASON"];
    output::table(&header, rows.collect(), "no handler has run on this store yet")
}

/// What no delivery means.
fn words(fate: &Fate) -> &'static str {
    match fate {
        Fate::Delivery(row, _) => row.state.as_str(),
        Fate::Filtered => "filtered: not wanted",
        Fate::Before => "received before the handler was known",
        Fate::Ahead => "not looked at yet",
        Fate::Removed => "removed for its age, or not wanted",
    }
}

/// Whether some handler wanted it; `None` while one that may has not looked at it, or when that is not known any more.
pub(super) fn wanted(fates: &[HandlerFate]) -> Option<bool> {
    let any = |wanted: fn(&Fate) -> bool| fates.iter().any(|(_, fate)| wanted(fate));
    if any(|fate| matches!(fate, Fate::Delivery(..))) {
        return Some(true);
    }
    (!fates.is_empty() && !any(|fate| matches!(fate, Fate::Ahead | Fate::Removed))).then_some(false)
}

pub(super) fn describe((handler, fate): &HandlerFate) -> Value {
    match fate {
        Fate::Delivery(row, attempts) => {
            let mut value = deliveries::describe(row);
            value["attempt_records"] = json!(attempts);
            value
        }
        other => json!({ "handler": handler, "state": other.as_str() }),
    }
}

/// All there is to say about one.
pub(super) fn show((handler, fate): &HandlerFate) -> Done {
    output::line("")?;
    let Fate::Delivery(row, attempts) = fate else {
        return output::fields(&[("handler", Some(handler.clone())), ("state", Some(words(fate).to_owned()))]);
    };
    fields(row)?;
    attempts.iter().try_for_each(attempt)
}

fn fields(row: &DeliveryRow) -> Done {
    output::fields(&[
        ("handler", Some(row.handler.clone())),
        ("state", Some(row.state.to_string())),
        ("reason", row.note.clone()),
        ("replay", row.replay.then(|| "yes".to_owned())),
        ("since (UTC)", Some(output::time(row.since_ms))),
        ("changed (UTC)", Some(output::time(row.updated_ms))),
        ("next (UTC)", deliveries::next(row)),
        ("attempts", Some(row.attempts.to_string())),
    ])
}

fn attempt(attempt: &AttemptRecord) -> Done {
    let status = attempt.status.map(|status| format!(", status {status}")).unwrap_or_default();
    output::line(format!(
        "  {}  attempt {}: {}{status}, {} ms",
        output::time(attempt.started_at_ms),
        attempt.attempt,
        output::plain(&attempt.outcome),
        attempt.duration_ms
    ))?;
    for (name, text) in [("error", &attempt.error), ("answer", &attempt.answer)] {
        if let Some(text) = text {
            output::line(format!("    {name}: {}", output::plain(text)))?;
        }
    }
    Ok(())
}
