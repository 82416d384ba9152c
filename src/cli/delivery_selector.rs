//! Which deliveries a verb is about, as arguments.

use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory};

use super::Cli;
use super::events::parse_time_arg;
use crate::base::id::EventId;
use crate::storage::{DeliveryFilter, DeliveryState};

/// A word for events without a delivery, among the states.
const NO_DELIVERY: &str = "none";

/// `evt_…`, or one of its deliveries: `evt_…:HANDLER`.
#[derive(Clone, Debug)]
pub(super) struct DeliveryRef {
    pub(super) id: EventId,
    pub(super) handler: Option<String>,
}

impl FromStr for DeliveryRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, handler) = text.split_once(':').map_or((text, None), |(id, handler)| (id, Some(handler.to_owned())));
        Ok(Self { id: id.parse().map_err(|error: crate::base::id::InvalidEventId| error.to_string())?, handler })
    }
}

/// At least one of these has to be given: see [`narrowed`].
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct DeliverySelector {
    /// Events by their id; `ID:HANDLER` names one delivery
    #[arg(value_name = "EVENT_ID", group = "which")]
    delivery_refs: Vec<DeliveryRef>,
    /// Deliveries for this handler
    #[arg(long, value_name = "NAME", group = "which")]
    handler: Option<String>,
    /// Events of this name
    #[arg(long, value_name = "NAME", group = "which")]
    event: Option<String>,
    /// Events of this call or chat
    #[arg(long, value_name = "ID", group = "which")]
    call: Option<String>,
    /// Events of the company with this slug
    #[arg(long, value_name = "SLUG", group = "which")]
    company: Option<String>,
    /// Events received since then: 2026-11-21T10:00:00Z, or 90m, 2h, 1d ago
    #[arg(long, value_name = "TIME", value_parser = parse_time_arg, group = "which")]
    since: Option<i64>,
    /// Events received before then, likewise
    #[arg(long, value_name = "TIME", value_parser = parse_time_arg, group = "which")]
    until: Option<i64>,
    /// Deliveries with this note: why they are skipped (disabled, test, revision, superseded, cancelled, discarded), or what
    /// went wrong
    #[arg(long, value_name = "TEXT", group = "which")]
    reason: Option<String>,
    /// All there are
    #[arg(long, group = "which")]
    all: bool,
}

/// The group of arguments one of which a verb needs: none at all would mean everything.
pub(super) fn selection_group() -> clap::ArgGroup {
    clap::ArgGroup::new("which").required(true).multiple(true)
}

/// Ends the program as other wrong usage does.
pub(super) fn exit_with_usage_error(why: &str) -> ! {
    Cli::command().error(ErrorKind::MissingRequiredArgument, why).exit()
}

impl DeliverySelector {
    /// Whether deliveries are named one by one.
    pub(super) fn selects_by_id(&self) -> bool {
        !self.delivery_refs.is_empty()
    }

    /// Whether a reason is asked for, which most states have none of.
    pub(super) fn has_reason(&self) -> bool {
        self.reason.is_some()
    }

    /// Whether handlers are named.
    pub(super) fn names_handlers(&self) -> bool {
        self.handler.is_some()
            || (self.selects_by_id() && self.delivery_refs.iter().all(|named| named.handler.is_some()))
    }

    pub(super) fn to_filter(&self) -> DeliveryFilter {
        DeliveryFilter {
            event_handler_pairs: self.delivery_refs.iter().map(|named| (named.id, named.handler.clone())).collect(),
            handler: self.handler.clone(),
            event_kind: self.event.clone(),
            call_id: self.call.clone(),
            company: self.company.clone(),
            since_ms: self.since,
            until_ms: self.until,
            reason: self.reason.clone(),
            states: None,
            include_undelivered: false,
        }
    }
}

/// Reads one of these states.
pub(super) fn state_parser(states: &'static [DeliveryState]) -> impl TypedValueParser<Value = DeliveryState> {
    PossibleValuesParser::new(states.iter().map(|state| state.as_str()))
        .map(|name| parse_state(&name).unwrap_or(DeliveryState::Pending))
}

/// Reads one of these states, or `none`.
pub(super) fn state_or_none_parser(
    states: &'static [DeliveryState],
) -> impl TypedValueParser<Value = Option<DeliveryState>> {
    PossibleValuesParser::new(states.iter().map(|state| state.as_str()).chain([NO_DELIVERY]))
        .map(|name| parse_state(&name))
}

fn parse_state(name: &str) -> Option<DeliveryState> {
    DeliveryState::ALL.into_iter().find(|state| state.as_str() == name)
}
