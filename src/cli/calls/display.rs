//! What is shown of a call or chat: numbers and what was said only when asked for.

use clap::Args;
use serde_json::{Value, json};

use super::super::output;
use crate::security::redact;
use crate::storage::{CallKind, CallRecord};

/// Fields that are called otherwise in Retell's chat object.
const CHAT_FIELD_NAMES: [(&str, &str); 4] = [
    ("call_id", "chat_id"),
    ("call_type", "chat_type"),
    ("call_status", "chat_status"),
    ("call_successful", "chat_successful"),
];
/// What only calls have.
const CALL_ONLY_FIELDS: [&str; 4] = ["direction", "disconnection_reason", "in_voicemail", "latency_e2e"];

#[derive(Debug, Args)]
pub(super) struct CallDisplayArgs {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Print phone numbers whole; `show` also the summary and the custom analysis data
    #[arg(long)]
    pub(super) reveal: bool,
}

impl CallDisplayArgs {
    pub(super) fn format_number(&self, number: Option<&String>) -> Option<String> {
        number.map(|number| if self.reveal { output::sanitize(number) } else { redact::phone(number) })
    }

    /// As JSON, without what was said.
    pub(super) fn call_json(&self, call: &CallRecord) -> Value {
        let mut value = json!(call);
        value["test"] = json!(call.is_test());
        if call.kind == CallKind::Call {
            value["from_number"] = json!(self.format_number(call.from_number.as_ref()));
            value["to_number"] = json!(self.format_number(call.to_number.as_ref()));
            value["transfer_state"] = json!(call.transfer_state());
        } else if let Some(fields) = value.as_object_mut() {
            CALL_ONLY_FIELDS.iter().chain(&["has_recording"]).for_each(|name| drop(fields.remove(*name)));
            for (name, of_chats) in CHAT_FIELD_NAMES {
                let value = fields.remove(name);
                fields.insert(of_chats.to_owned(), value.unwrap_or_default());
            }
        }
        value
    }

    /// With what was said, if that is to be revealed, or else whether there is any.
    pub(super) fn call_details_json(&self, call: &CallRecord) -> Value {
        let mut value = self.call_json(call);
        value["has_summary"] = json!(call.summary.is_some());
        value["has_custom_analysis_data"] = json!(call.custom_analysis_data.is_some());
        if self.reveal {
            value["summary"] = json!(call.summary);
            value["custom_analysis_data"] = json!(call.custom_analysis_data.as_deref().map(parse_json_or_text));
        }
        value
    }
}

/// JSON that cannot be read again, such as one nested too deeply, is shown as text.
fn parse_json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// `1:05`, minutes and seconds.
pub(super) fn format_duration(ms: i64) -> String {
    format!("{}:{:02}", ms / 60_000, (ms / 1000) % 60)
}

pub(super) fn yes_or_no(well: bool) -> String {
    if well { "yes" } else { "no" }.to_owned()
}

/// `calls` or `chats`.
pub(super) fn kind_plural(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Call => "calls",
        CallKind::Chat => "chats",
    }
}
