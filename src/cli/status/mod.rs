//! `status`: whether the receiver is up, what it received, and what is waiting.

mod retention;

use clap::Args;

use super::context;
use super::output::{self, CliError, CliResult};
use crate::base::clock::Clock;
use crate::operations::receiver::check_local_health;
use crate::operations::status::{format_age, format_count, show_status};
use crate::storage::Role;
use crate::view::{AlarmView, EventCountsView, EventView, HandlerStatusView, ReceiverStatusView, StatusView};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl StatusArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let clock = Clock::system();
        let receiver = check_local_health(&settings).await?;
        let store = context::open_store_of(&settings, Role::Reader);
        let store_ref = store.as_deref().map_err(Clone::clone);
        let status = show_status(store_ref, &settings, &clock, context::PRINCIPAL, receiver).await;
        if self.json { output::print_json(&status) } else { print_text(&status, clock.now_ms()) }?;
        let is_ok = status.receiver.ready && status.other_receiver.is_none() && status.store.error.is_none();
        if is_ok { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}

fn print_text(status: &StatusView, now_ms: i64) -> CliResult {
    let receiver = match &status.other_receiver {
        Some(other) => output::escape_text(other).into_owned(),
        None => format!("{} ({})", receiver_text(&status.receiver), status.receiver.url),
    };
    match &status.store.error {
        None => print_overview(status, receiver, now_ms)?,
        Some(error) => output::print_fields(&[("receiver", Some(receiver)), ("store", Some(error.clone()))])?,
    }
    if let Some(handlers) = &status.handlers {
        print_handlers(handlers, now_ms)?;
    }
    print_alarms(status.alarms.as_deref().unwrap_or_default(), status.receiver.up, now_ms)?;
    status.warnings.iter().try_for_each(|warning| output::print_line(format!("\nWARNING: {warning}")))
}

fn receiver_text(receiver: &ReceiverStatusView) -> String {
    match &receiver.response {
        None => "down: no response".to_owned(),
        Some(_) if receiver.ready => "up and ready".to_owned(),
        Some(response) => format!("up, not ready: {}", output::json_text(response)),
    }
}

fn print_overview(status: &StatusView, receiver: String, now_ms: i64) -> CliResult {
    let count = |count: fn(&EventCountsView) -> i64| status.events.as_ref().map(|events| count(events).to_string());
    let last_event = status.last_event.as_ref().map(|event| last_event_text(event, now_ms));
    let size = status.store.size_bytes.map(output::format_bytes).unwrap_or_default();
    output::print_fields(&[
        ("receiver", Some(receiver)),
        ("events", count(|events| events.accepted)),
        ("in the last hour", count(|events| events.accepted_last_hour)),
        ("in the last 24 h", count(|events| events.accepted_last_day)),
        ("last event", Some(last_event.unwrap_or_else(|| "none yet".to_owned()))),
        ("store", Some(format!("{}, {size}", status.store.path))),
        ("retention", Some(retention::format_text(&status.retention))),
    ])
}

fn last_event_text(event: &EventView, now_ms: i64) -> String {
    let kind = event.event.as_deref().unwrap_or("without a name");
    let age = format_age((now_ms - event.received_at_ms).max(0));
    format!("{} ({age} ago): {kind}, {}", output::format_time(event.received_at_ms), event.id)
}

fn print_handlers(handlers: &[HandlerStatusView], now_ms: i64) -> CliResult {
    let rows = handlers.iter().map(|handler| {
        let oldest = handler.oldest_undelivered_since_ms.map(|since_ms| format_age((now_ms - since_ms).max(0)));
        vec![
            handler.handler.clone(),
            format_count(handler.behind),
            format_count(handler.running),
            format_count(handler.scheduled),
            format_count(handler.dead),
            oldest.unwrap_or_else(|| "-".to_owned()),
            handler.breaker.as_str().to_owned(),
            if handler.configured { "" } else { "not configured" }.to_owned(),
        ]
    });
    output::print_line("")?;
    output::print_table(
        &["HANDLER", "BEHIND", "RUNNING", "SCHEDULED", "DEAD", "OLDEST", "BREAKER", ""],
        rows.collect(),
        "no handler has run yet",
    )
}

fn print_alarms(alarms: &[AlarmView], is_receiver_up: bool, now_ms: i64) -> CliResult {
    let stopped = if is_receiver_up { "" } else { ", as of when the receiver stopped" };
    alarms.iter().try_for_each(|alarm| {
        let age = format_age((now_ms - alarm.since_ms).max(0));
        let text = output::escape_text(&alarm.text);
        output::print_line(format!("\nALARM ({}, for {age}{stopped}): {text}", alarm.alarm.as_str()))
    })
}
