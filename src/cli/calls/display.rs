//! How a call or chat is shown. Phone numbers are shortened and the conversation is hidden unless `--reveal` is given.

use clap::Args;
use serde_json::{Value, json};

use super::super::output;
use crate::calls::{CallKind, CallRecord};
use crate::privacy::redact;

/// Fields that have another name in Retell's chat object: (name for calls, name for chats).
const CHAT_FIELD_NAMES: [(&str, &str); 4] = [
    ("call_id", "chat_id"),
    ("call_type", "chat_type"),
    ("call_status", "chat_status"),
    ("call_successful", "chat_successful"),
];
const CALL_ONLY_FIELDS: [&str; 5] =
    ["direction", "disconnection_reason", "in_voicemail", "latency_e2e", "has_recording"];

#[derive(Debug, Args)]
pub(super) struct CallDisplayArgs {
    /// Print JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
    /// Print full phone numbers, and in `show` the summary and the custom analysis data
    #[arg(long)]
    pub(super) reveal: bool,
}

impl CallDisplayArgs {
    pub(super) fn format_number(&self, number: Option<&String>) -> Option<String> {
        number.map(|number| if self.reveal { output::sanitize(number) } else { redact::phone(number) })
    }

    /// The call without summary and analysis data, under the field names of its kind.
    pub(super) fn call_json(&self, call: &CallRecord) -> Value {
        let mut value = json!(call);
        value["test"] = json!(call.is_test());
        if call.kind == CallKind::Call {
            value["from_number"] = json!(self.format_number(call.from_number.as_ref()));
            value["to_number"] = json!(self.format_number(call.to_number.as_ref()));
            value["transfer_state"] = json!(call.transfer_state());
        } else if let Some(fields) = value.as_object_mut() {
            for name in CALL_ONLY_FIELDS {
                fields.remove(name);
            }
            for (call_name, chat_name) in CHAT_FIELD_NAMES {
                let value = fields.remove(call_name).unwrap_or_default();
                fields.insert(chat_name.to_owned(), value);
            }
        }
        value
    }

    /// Like [`Self::call_json`], plus whether there is a summary and analysis data, and with `--reveal` these
    /// themselves.
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

/// Stored JSON that `serde_json` cannot parse, such as too deeply nested values, is shown as a string.
fn parse_json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// A duration in minutes and seconds: `1:05`.
pub(super) fn format_duration(ms: i64) -> String {
    format!("{}:{:02}", ms / 60_000, (ms / 1000) % 60)
}

pub(super) fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

pub(super) fn kind_plural(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Call => "calls",
        CallKind::Chat => "chats",
    }
}
