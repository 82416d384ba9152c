use clap::Args;
use serde_json::Value;

use super::super::context;
use super::super::output::{self, CliResult};
use super::display::{CallDisplayArgs, base_view, format_duration, yes_or_no};
use crate::calls::{CallKind, E2eLatency};
use crate::operations::conversations::show_conversation;
use crate::view::{CallView, ConversationBaseView, ConversationDetailsView, ConversationView};

const HIDDEN_PLACEHOLDER: &str = "(hidden; --reveal prints it)";

#[derive(Debug, Args)]
pub(in crate::cli) struct CallsShowArgs {
    /// Id of the call or chat
    id: String,
    #[command(flatten)]
    display: CallDisplayArgs,
}

impl CallsShowArgs {
    pub(super) async fn run(self, kind: CallKind) -> CliResult {
        let store = context::open_store()?;
        let details = show_conversation(&*store, context::PRINCIPAL, kind, &self.id, self.display.reveal).await?;
        if self.display.json { output::print_json(&details) } else { print_text(&details) }
    }
}

fn print_text(details: &ConversationDetailsView) -> CliResult {
    let base = base_view(&details.conversation);
    let mut fields = match &details.conversation {
        ConversationView::Call(call) => call_fields(call),
        ConversationView::Chat(chat) => {
            let outcome = chat.chat_successful.map(yes_or_no);
            let mut fields = identity_fields(base, &chat.chat_id, chat.chat_type.as_ref());
            fields.extend(agent_fields(base));
            fields.push(("status", chat.chat_status.clone()));
            fields.extend(time_fields(base));
            fields.extend([("sentiment", base.user_sentiment.clone()), ("successful", outcome), cost_field(base)]);
            fields
        }
    };
    fields.extend(text_fields(details));
    fields.push(("first event", Some(output::format_time(base.first_event_at_ms))));
    fields.push(("last event", Some(output::format_time(base.last_event_at_ms))));
    output::print_fields(&fields)
}

/// The name of a field, and its value if it has one.
type Field = (&'static str, Option<String>);

fn call_fields(call: &CallView) -> Vec<Field> {
    let base = &call.base;
    let mut fields = identity_fields(base, &call.call_id, call.call_type.as_ref());
    fields.push(("direction", call.direction.clone()));
    fields.extend(agent_fields(base));
    fields.push(("from", call.from_number.clone()));
    fields.push(("to", call.to_number.clone()));
    fields.push(("status", call.call_status.clone()));
    fields.extend(time_fields(base));
    fields.extend([
        ("ended by", call.disconnection_reason.clone()),
        ("in voicemail", call.in_voicemail.map(yes_or_no)),
        ("sentiment", base.user_sentiment.clone()),
        ("successful", call.call_successful.map(yes_or_no)),
        cost_field(base),
        ("latency", call.latency_e2e.map(format_latency)),
        // The URL may open the recording without a login, so only `events show --body` prints it.
        ("recording", call.has_recording.map(|_| "yes: its URL is in the body of the events".to_owned())),
        ("transfer", call.transfer_state.map(str::to_owned)),
    ]);
    fields
}

fn identity_fields(base: &ConversationBaseView, id: &str, conversation_type: Option<&String>) -> Vec<Field> {
    vec![
        (base.kind.as_str(), Some(id.to_owned())),
        ("test", base.test.then(|| "yes: excluded from statistics".to_owned())),
        ("company", Some(base.company.clone())),
        ("type", conversation_type.cloned()),
    ]
}

fn agent_fields(base: &ConversationBaseView) -> [Field; 2] {
    [
        ("agent", base.agent_name.clone().or_else(|| base.agent_id.clone())),
        ("agent version", base.agent_version.map(|version| version.to_string())),
    ]
}

fn time_fields(base: &ConversationBaseView) -> [Field; 3] {
    [
        ("started", base.started_at_ms.map(output::format_time)),
        ("ended", base.ended_at_ms.map(output::format_time)),
        ("duration", base.duration_ms.map(format_duration)),
    ]
}

fn cost_field(base: &ConversationBaseView) -> Field {
    ("cost", base.cost_cents.as_ref().map(|cents| format!("{cents} cents")))
}

fn text_fields(details: &ConversationDetailsView) -> [Field; 2] {
    let text = |is_known: bool, revealed: Option<String>| {
        is_known.then(|| revealed.map_or_else(|| HIDDEN_PLACEHOLDER.to_owned(), |text| to_single_line(&text)))
    };
    let summary = details.texts.as_ref().and_then(|texts| texts.summary.clone());
    let analysis = details.texts.as_ref().and_then(|texts| texts.custom_analysis_data.as_ref()).map(value_text);
    [("summary", text(details.has_summary, summary)), ("analysis", text(details.has_custom_analysis_data, analysis))]
}

fn value_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
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
