//! `calls show`, `chats show`.

use clap::Args;

use super::super::output::{self, Done, Failure};
use super::record::{Form, duration, noun, yes_or_no};
use crate::storage::{CallKind, CallRecord, E2eLatency, Store};

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// Its id
    id: String,
    #[command(flatten)]
    form: Form,
}

impl Show {
    pub(super) async fn run(self, store: &impl Store, kind: CallKind) -> Done {
        let missing = || {
            let (kind, noun) = (kind.as_str(), noun(kind));
            Failure::Because(format!("there is no {kind} {}; `retell-webhook {noun} list` prints ids", self.id))
        };
        let call = store.call(kind, &self.id).await?.ok_or_else(missing)?;
        if self.form.json {
            return output::json(&self.form.describe_whole(&call));
        }
        self.text(&call)
    }

    fn text(&self, call: &CallRecord) -> Done {
        let said = |text: &Option<String>| {
            let hidden = "(hidden; --reveal prints it)";
            text.as_ref().map(|text| if self.form.reveal { in_a_line(text) } else { hidden.to_owned() })
        };
        output::fields(&[
            (call.kind.as_str(), Some(call.call_id.clone())),
            ("test", call.is_test().then(|| "yes: left out of statistics".to_owned())),
            ("company", Some(call.company.clone())),
            ("type", call.call_type.clone()),
            ("direction", call.direction.clone()),
            ("agent", call.agent_name.clone().or_else(|| call.agent_id.clone())),
            ("agent version", call.agent_version.map(|version| version.to_string())),
            ("from", self.form.number(call.from_number.as_ref())),
            ("to", self.form.number(call.to_number.as_ref())),
            ("status", call.call_status.clone()),
            ("started (UTC)", call.started_at_ms.map(output::time)),
            ("ended (UTC)", call.ended_at_ms.map(output::time)),
            ("duration", call.duration_ms.map(duration)),
            ("ended by", call.disconnection_reason.clone()),
            ("in voicemail", call.in_voicemail.map(yes_or_no)),
            ("mood", call.user_sentiment.clone()),
            ("successful", call.call_successful.map(yes_or_no)),
            ("cost", call.cost_cents.as_ref().map(|cents| format!("{cents} cents"))),
            ("latency", call.latency_e2e.map(latency)),
            ("recording", call.has_recording.map(|_| "its address is in the events".to_owned())),
            ("transfer", call.transfer_state().map(str::to_owned)),
            ("summary", said(&call.summary)),
            ("analysis", said(&call.custom_analysis_data)),
            ("first event (UTC)", Some(output::time(call.first_event_at_ms))),
            ("last event (UTC)", Some(output::time(call.last_event_at_ms))),
        ])
    }
}

fn in_a_line(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}

/// `p50 905 ms, p90 1180 ms, p99 1180 ms`.
fn latency(latency: E2eLatency) -> String {
    let E2eLatency { p50_ms, p90_ms, p99_ms } = latency;
    let known =
        [("p50", p50_ms), ("p90", p90_ms), ("p99", p99_ms)].map(|(name, ms)| Some(format!("{name} {} ms", ms?)));
    known.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
