//! What is shown of a call or chat: numbers and what was said only when asked for.

use clap::Args;
use serde_json::{Value, json};

use super::super::output;
use crate::security::redact;
use crate::storage::{CallKind, CallRecord};

/// Fields that are called otherwise in Retell's chat object.
const NAMES_OF_CHATS: [(&str, &str); 4] = [
    ("call_id", "chat_id"),
    ("call_type", "chat_type"),
    ("call_status", "chat_status"),
    ("call_successful", "chat_successful"),
];
/// What only calls have.
const OF_CALLS: [&str; 4] = ["direction", "disconnection_reason", "in_voicemail", "latency_e2e"];

#[derive(Debug, Args)]
pub(super) struct Form {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Print phone numbers whole; `show` also the summary and the custom analysis data
    #[arg(long)]
    pub(super) reveal: bool,
}

impl Form {
    pub(super) fn number(&self, number: Option<&String>) -> Option<String> {
        number.map(|number| if self.reveal { output::plain(number) } else { redact::phone(number) })
    }

    /// As JSON, without what was said.
    pub(super) fn describe(&self, call: &CallRecord) -> Value {
        let mut value = json!(call);
        value["test"] = json!(call.is_test());
        if call.kind == CallKind::Call {
            value["from_number"] = json!(self.number(call.from_number.as_ref()));
            value["to_number"] = json!(self.number(call.to_number.as_ref()));
            value["transfer_state"] = json!(call.transfer_state());
        } else if let Some(fields) = value.as_object_mut() {
            OF_CALLS.iter().chain(&["has_recording"]).for_each(|name| drop(fields.remove(*name)));
            for (name, of_chats) in NAMES_OF_CHATS {
                let value = fields.remove(name);
                fields.insert(of_chats.to_owned(), value.unwrap_or_default());
            }
        }
        value
    }

    /// With what was said, if that is to be revealed, or else whether there is any.
    pub(super) fn describe_whole(&self, call: &CallRecord) -> Value {
        let mut value = self.describe(call);
        value["has_summary"] = json!(call.summary.is_some());
        value["has_custom_analysis_data"] = json!(call.custom_analysis_data.is_some());
        if self.reveal {
            value["summary"] = json!(call.summary);
            value["custom_analysis_data"] = json!(call.custom_analysis_data.as_deref().map(parsed));
        }
        value
    }
}

/// JSON that cannot be read again, such as one nested too deeply, is shown as text.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// `1:05`, minutes and seconds.
pub(super) fn duration(ms: i64) -> String {
    format!("{}:{:02}", ms / 60_000, (ms / 1000) % 60)
}

pub(super) fn yes_or_no(well: bool) -> String {
    if well { "yes" } else { "no" }.to_owned()
}

/// `calls` or `chats`.
pub(super) fn noun(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Call => "calls",
        CallKind::Chat => "chats",
    }
}
