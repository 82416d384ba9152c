//! The outlook of an event per handler: its delivery, or why it has none.

use super::{delivery_cells, next_attempt_text};
use crate::cli::output::{self, CliResult};
use crate::view::{AttemptOutcomeView, AttemptView, DeliveryView, OutlookView, UndeliveredStateView};

const OUTLOOK_COLUMNS: [&str; 6] = ["HANDLER", "STATE", "ATTEMPTS", "CHANGED", "NEXT", "REASON"];

/// The output of `deliveries list --event-id`.
pub(super) fn print_outlooks(outlooks: &[OutlookView], json: bool) -> CliResult {
    if json { output::print_json(&outlooks) } else { print_outlook_table(outlooks) }
}

pub(in crate::cli) fn print_outlook_table(outlooks: &[OutlookView]) -> CliResult {
    let rows = outlooks.iter().map(|outlook| match outlook {
        OutlookView::Delivery(details) => delivery_cells(&details.delivery),
        OutlookView::Undelivered { handler, state } => {
            let mut cells = vec![handler.clone(), outlook_label(*state).to_owned()];
            cells.resize(OUTLOOK_COLUMNS.len(), "-".to_owned());
            cells
        }
    });
    output::print_table(&OUTLOOK_COLUMNS, rows.collect(), "no handler has run on this store yet")
}

fn outlook_label(state: UndeliveredStateView) -> &'static str {
    match state {
        UndeliveredStateView::Filtered => "filtered: not wanted by the handler",
        UndeliveredStateView::BeforeHandler => "received before the handler was added",
        UndeliveredStateView::Unplanned => "not planned yet",
        UndeliveredStateView::Removed => "removed by retention, or not wanted",
    }
}

/// The section of one handler in `deliveries show`.
pub(super) fn print_outlook(outlook: &OutlookView) -> CliResult {
    output::print_line("")?;
    match outlook {
        OutlookView::Undelivered { handler, state } => output::print_fields(&[
            ("handler", Some(handler.clone())),
            ("state", Some(outlook_label(*state).to_owned())),
        ]),
        OutlookView::Delivery(details) => {
            print_delivery_fields(&details.delivery)?;
            details.attempt_records.iter().try_for_each(print_attempt)
        }
    }
}

fn print_delivery_fields(row: &DeliveryView) -> CliResult {
    output::print_fields(&[
        ("handler", Some(row.handler.clone())),
        ("state", Some(row.state.as_str().to_owned())),
        ("reason", row.reason.clone()),
        ("replay", row.replay.then(|| "yes".to_owned())),
        ("queued", Some(output::format_time(row.queued_at_ms))),
        ("changed", Some(output::format_time(row.updated_at_ms))),
        ("next", next_attempt_text(row)),
        ("attempts", Some(row.attempts.to_string())),
    ])
}

fn print_attempt(attempt: &AttemptView) -> CliResult {
    let status = attempt.status.map(|status| format!(", status {status}")).unwrap_or_default();
    output::print_line(format!(
        "  {}  attempt {}: {}{status}, {} ms",
        output::format_time(attempt.started_at_ms),
        attempt.attempt,
        attempt.outcome.as_str(),
        attempt.duration_ms
    ))?;
    let error_label = if attempt.outcome == AttemptOutcomeView::Done { "reason" } else { "error" };
    for (name, text) in [(error_label, &attempt.error), ("answer", &attempt.answer)] {
        if let Some(text) = text {
            output::print_line(format!("    {name}: {}", output::escape_text(text)))?;
        }
    }
    Ok(())
}
