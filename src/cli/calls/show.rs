//! `calls show`, `chats show`.

use clap::Args;

use super::super::output::{self, CliError, CliResult};
use super::display::{CallDisplayArgs, format_duration, kind_plural, yes_or_no};
use crate::calls::{CallKind, CallRecord, E2eLatency};
use crate::storage::Store;

#[derive(Debug, Args)]
pub(in crate::cli) struct CallsShowArgs {
    /// Id of the call or chat
    id: String,
    #[command(flatten)]
    display: CallDisplayArgs,
}

impl CallsShowArgs {
    pub(super) async fn run(self, store: &dyn Store, kind: CallKind) -> CliResult {
        let Some(call) = store.get_call(kind, &self.id).await? else {
            return Err(CliError::Message(format!(
                "no {} has the id {}; `retell-webhook {} list` prints the ids",
                kind.as_str(),
                output::sanitize(&self.id),
                kind_plural(kind)
            )));
        };
        if self.display.json {
            return output::print_json(&self.display.call_details_json(&call));
        }
        self.print_text(&call)
    }

    fn print_text(&self, call: &CallRecord) -> CliResult {
        let confidential = |text: &Option<String>| {
            let hidden = "(hidden; --reveal prints it)";
            text.as_ref().map(|text| if self.display.reveal { to_single_line(text) } else { hidden.to_owned() })
        };
        output::print_fields(&[
            (call.kind.as_str(), Some(call.call_id.clone())),
            ("test", call.is_test().then(|| "yes: excluded from statistics".to_owned())),
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
            ("sentiment", call.user_sentiment.clone()),
            ("successful", call.call_successful.map(yes_or_no)),
            ("cost", call.cost_cents.as_ref().map(|cents| format!("{cents} cents"))),
            ("latency", call.latency_e2e.map(format_latency)),
            // The URL may open the recording without a login, so only `events show --body` prints it.
            ("recording", call.has_recording.map(|_| "yes: its URL is in the body of the events".to_owned())),
            ("transfer", call.transfer_state().map(str::to_owned)),
            ("summary", confidential(&call.summary)),
            ("analysis", confidential(&call.custom_analysis_data)),
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
    let percentiles = [("p50", p50_ms), ("p90", p90_ms), ("p99", p99_ms)];
    let known: Vec<_> =
        percentiles.into_iter().filter_map(|(name, ms)| ms.map(|ms| format!("{name} {ms} ms"))).collect();
    known.join(", ")
}
