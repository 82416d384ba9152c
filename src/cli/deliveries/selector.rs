//! The arguments that select the deliveries of `replay`, `deliveries retry|cancel` and `dead retry|discard`.

use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory};

use crate::base::id::EventId;
use crate::cli::Cli;
use crate::cli::time_arg::TimeArg;
use crate::storage::{DeliveryFilter, DeliveryState};

/// Stands among the states for events that have no delivery for the handler.
const NO_DELIVERY: &str = "none";

/// An event (`evt_…`), or one of its deliveries (`evt_…:HANDLER`).
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

/// At least one of these must be given, which [`selection_group`] enforces.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct DeliverySelector {
    /// Deliveries of the events with these ids; `ID:HANDLER` names one delivery
    #[arg(value_name = "EVENT_ID", group = "which")]
    delivery_refs: Vec<DeliveryRef>,
    /// Deliveries for the handler with this name
    #[arg(long, value_name = "NAME", group = "which")]
    handler: Option<String>,
    /// Deliveries of events with this name; may be given several times
    #[arg(long, value_name = "NAME", group = "which")]
    event: Vec<String>,
    /// Deliveries of events of this call or chat
    #[arg(long, value_name = "ID", group = "which")]
    call: Option<String>,
    /// Deliveries of events of the company with this slug
    #[arg(long, value_name = "SLUG", group = "which")]
    company: Option<String>,
    /// Deliveries of events received since this time: 2026-11-21T10:00:00Z, 2026-11-21, or 90m, 2h, 1d ago
    #[arg(long, value_name = "TIME", group = "which")]
    since: Option<TimeArg>,
    /// Deliveries of events received before this time, in the same forms
    #[arg(long, value_name = "TIME", group = "which")]
    until: Option<TimeArg>,
    /// Deliveries with this reason: the skip reason (disabled, test, revision, superseded, cancelled, discarded, `nothing_to_do`) or the
    /// last error
    #[arg(long, value_name = "TEXT", group = "which")]
    reason: Option<String>,
    /// All deliveries, without any other condition
    #[arg(long, group = "which")]
    all: bool,
}

/// Requires at least one selecting argument, so that a command typed without one does not change every delivery.
pub(super) fn selection_group() -> clap::ArgGroup {
    clap::ArgGroup::new("which").required(true).multiple(true)
}

/// Prints the message with the usage and exits with code 2, as clap does for other wrong usage.
pub(super) fn exit_with_usage_error(message: &str) -> ! {
    Cli::command().error(ErrorKind::MissingRequiredArgument, message).exit()
}

impl DeliverySelector {
    pub(super) fn selects_by_id(&self) -> bool {
        !self.delivery_refs.is_empty()
    }

    pub(super) fn to_filter(&self) -> DeliveryFilter {
        DeliveryFilter {
            event_handler_pairs: self
                .delivery_refs
                .iter()
                .map(|delivery| (delivery.id, delivery.handler.clone()))
                .collect(),
            handler: self.handler.clone(),
            event_kinds: self.event.clone(),
            call_id: self.call.clone(),
            company: self.company.clone(),
            since_ms: self.since.map(TimeArg::ms),
            until_ms: self.until.map(TimeArg::ms),
            reason: self.reason.clone(),
            states: None,
            include_undelivered: false,
        }
    }
}

/// Accepts one of these states.
pub(super) fn state_parser(states: &'static [DeliveryState]) -> impl TypedValueParser<Value = DeliveryState> {
    PossibleValuesParser::new(states.iter().map(|state| state.as_str()))
        // The list of possible values has only names of states, so the fallback is never used.
        .map(|name| parse_state(&name).unwrap_or(DeliveryState::Pending))
}

/// Accepts one of these states, or `none` for events without a delivery.
pub(super) fn state_or_none_parser(
    states: &'static [DeliveryState],
) -> impl TypedValueParser<Value = Option<DeliveryState>> {
    PossibleValuesParser::new(states.iter().map(|state| state.as_str()).chain([NO_DELIVERY]))
        .map(|name| parse_state(&name))
}

fn parse_state(name: &str) -> Option<DeliveryState> {
    DeliveryState::ALL.into_iter().find(|state| state.as_str() == name)
}
