//! `calls show`, `chats show`.

use clap::Args;

use super::super::output::{self, CliError, CliResult};
use super::display::{CallDisplayArgs, format_duration, kind_plural, yes_or_no};
use crate::storage::{CallKind, CallRecord, E2eLatency, Store};

#[derive(Debug, Args)]
pub(in crate::cli) struct CallsShowArgs {
    /// Its id
    id: String,
    #[command(flatten)]
    display: CallDisplayArgs,
}

impl CallsShowArgs {
    pub(super) async fn run(self, store: &impl Store, kind: CallKind) -> CliResult {
        let missing = || {
            let (kind, noun) = (kind.as_str(), kind_plural(kind));
            CliError::Message(format!("there is no {kind} {}; `retell-webhook {noun} list` prints ids", self.id))
        };
        let call = store.get_call(kind, &self.id).await?.ok_or_else(missing)?;
        if self.display.json {
            return output::print_json(&self.display.call_details_json(&call));
        }
        self.print_text(&call)
    }

    fn print_text(&self, call: &CallRecord) -> CliResult {
        let said = |text: &Option<String>| {
            let hidden = "(hidden; --reveal prints it)";
            text.as_ref().map(|text| if self.display.reveal { to_single_line(text) } else { hidden.to_owned() })
        };
        output::print_fields(&[
            (call.kind.as_str(), Some(call.call_id.clone())),
            ("test", call.is_test().then(|| "yes: left out of statistics".to_owned())),
            ("company", Some(call.company.clone())),
            ("type", call.call_type.clone()),
            ("direction", call.direction.clone()),
            ("agent", call.agent_name.clone().or_else(|| call.agent_id.clone())),
            ("agent version", call.agent_version.map(|version| version.to_string())),
            ("from", self.display.format_number(call.from_number.as_ref())),
            ("to", self.display.format_number(call.to_number.as_ref())),
            ("status", call.call_status.clone()),
            ("started (UTC)", call.started_at_ms.map(output::format_time)),
            ("ended (UTC)", call.ended_at_ms.map(output::format_time)),
            ("duration", call.duration_ms.map(format_duration)),
            ("ended by", call.disconnection_reason.clone()),
            ("in voicemail", call.in_voicemail.map(yes_or_no)),
            ("mood", call.user_sentiment.clone()),
            ("successful", call.call_successful.map(yes_or_no)),
            ("cost", call.cost_cents.as_ref().map(|cents| format!("{cents} cents"))),
            ("latency", call.latency_e2e.map(format_latency)),
            ("recording", call.has_recording.map(|_| "its address is in the events".to_owned())),
            ("transfer", call.transfer_state().map(str::to_owned)),
            ("summary", said(&call.summary)),
            ("analysis", said(&call.custom_analysis_data)),
            ("first event (UTC)", Some(output::format_time(call.first_event_at_ms))),
            ("last event (UTC)", Some(output::format_time(call.last_event_at_ms))),
        ])
    }
}

fn to_single_line(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}

/// `p50 905 ms, p90 1180 ms, p99 1180 ms`.
fn format_latency(latency: E2eLatency) -> String {
    let E2eLatency { p50_ms, p90_ms, p99_ms } = latency;
    let known =
        [("p50", p50_ms), ("p90", p90_ms), ("p99", p99_ms)].map(|(name, ms)| Some(format!("{name} {} ms", ms?)));
    known.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
