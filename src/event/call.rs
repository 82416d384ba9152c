//! The call object of voice events. It is the answer of `GET /v2/get-call`, of which each event carries a part.

use super::analysis::CallAnalysis;
use super::disconnection_reason::DisconnectionReason;
use super::json_object::JsonObject;
use super::lazy_json::LazyJson;
use super::metrics::{CallCost, Latency, TokenUsage};
use super::open_enum::open_enum;
use super::open_object::{json_key, open_object};
use super::raw_json::RawJson;
use super::transcript::TranscriptItem;

open_object! {
    /// A call. `call_started` brings identity, numbers, status and variables; transcript, recording, latency, cost
    /// and reason come from `call_ended` on; `call_analysis` with `call_analyzed`. Nothing is promised: any field
    /// can be absent on any event.
    pub struct Call
    shows(call_id, agent_id, call_status, call_type, direction, disconnection_reason)
    {
        /// Opaque id. `call_` and hex today, without the prefix in old records.
        pub call_id: String,
        /// The agent that took the call.
        pub agent_id: String,
        /// Version of the agent.
        pub agent_version: i64,
        /// Display name of the agent.
        pub agent_name: String,
        /// Tag that pointed at the agent version when the call was made.
        pub agent_tag: String,
        /// Where the call stands. Not always `ended` on `call_ended`.
        pub call_status: CallStatus,
        /// Web or phone.
        pub call_type: CallType,
        /// Web calls only. A secret: it lets a browser join the call.
        pub access_token: String,
        /// Phone calls only: the calling number. Mostly E.164; "anonymous", short codes and SIP users occur.
        pub from_number: String,
        /// Phone calls only: the called number.
        pub to_number: String,
        /// Phone calls only.
        pub direction: Direction,
        /// Phone calls only: ids at the carrier.
        pub telephony_identifier: TelephonyIdentifier,
        /// Whatever the creator of the call attached.
        pub metadata: RawJson,
        /// Variables given at creation. Strings by contract; [`JsonObject::text`] copes with others.
        pub retell_llm_dynamic_variables: JsonObject,
        /// Variables gathered during the call. Strings by contract.
        pub collected_dynamic_variables: JsonObject,
        /// SIP headers of the call. Strings by contract.
        pub custom_sip_headers: JsonObject,
        /// Attributes of the account's own: strings, numbers, booleans.
        pub custom_attributes: JsonObject,
        /// What Retell keeps of the call.
        pub data_storage_setting: DataStorageSetting,
        /// Replaced by `data_storage_setting`; still seen.
        pub opt_out_sensitive_data_storage: bool,
        /// Whether the URLs below are signed and expire.
        pub opt_in_signed_url: bool,
        /// Start, ms since 1970.
        pub start_timestamp: i64,
        /// End of the agent's part, ms since 1970.
        pub end_timestamp: i64,
        /// End of the transferred leg, ms since 1970.
        pub transfer_end_timestamp: i64,
        /// Length of the agent's part, ms.
        pub duration_ms: i64,
        /// Why the call ended.
        pub disconnection_reason: DisconnectionReason,
        /// Where the call was transferred to: a number or a SIP address.
        pub transfer_destination: String,
        /// The conversation as lines of "Agent: …" and "User: …".
        pub transcript: String,
        /// The utterances with the times of their words.
        pub transcript_object: LazyJson<Vec<TranscriptItem>>,
        /// Utterances, tools, nodes, keys and messages in order.
        pub transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// The same without personal data.
        pub scrubbed_transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Tools run before the conversation.
        pub pre_session_transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// The same without personal data.
        pub scrubbed_pre_session_transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Tools run after the conversation.
        pub post_session_transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// The same without personal data.
        pub scrubbed_post_session_transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Recording, both parties mixed. Short-lived when storage is opted out.
        pub recording_url: String,
        /// Recording, one channel for each party.
        pub recording_multi_channel_url: String,
        /// Mixed recording without personal data.
        pub scrubbed_recording_url: String,
        /// Recording by channel without personal data.
        pub scrubbed_recording_multi_channel_url: String,
        /// Log of the call, for debugging.
        pub public_log_url: String,
        /// What was found in the knowledge base.
        pub knowledge_base_retrieved_contents_url: String,
        /// Latency by stage, ms.
        pub latency: LazyJson<Latency>,
        /// Cost of the call, cents.
        pub call_cost: CallCost,
        /// Tokens used by the model.
        pub llm_token_usage: TokenUsage,
        /// Only once the call is analyzed.
        pub call_analysis: CallAnalysis,
    }
}

open_object! {
    /// Ids of a phone call at the carrier.
    pub struct TelephonyIdentifier shows(twilio_call_sid) {
        /// Twilio's call SID.
        pub twilio_call_sid: String,
    }
}

open_enum! {
    /// Where a call stands.
    pub enum CallStatus {
        /// Created, nobody connected yet.
        Registered = "registered",
        /// An outbound call that never connected.
        NotConnected = "not_connected",
        /// Running.
        Ongoing = "ongoing",
        /// Over.
        Ended = "ended",
        /// Failed.
        Error = "error",
    }
}

open_enum! {
    /// How a call is carried.
    pub enum CallType {
        /// From a browser or an app.
        Web = "web_call",
        /// Over the telephone network or SIP.
        Phone = "phone_call",
    }
}

open_enum! {
    /// Who called whom.
    pub enum Direction {
        /// The caller called the agent.
        Inbound = "inbound",
        /// The agent called.
        Outbound = "outbound",
    }
}

open_enum! {
    /// What Retell stores of a call.
    pub enum DataStorageSetting {
        /// Everything.
        Everything = "everything",
        /// Everything, personal data removed.
        EverythingExceptPii = "everything_except_pii",
        /// No transcript, no recording.
        BasicAttributesOnly = "basic_attributes_only",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn call(json: &str) -> Call {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_spoiled_field_stays_raw_and_alone() {
        let text = r#"{"call_id":"c1","agent_version":7.0,"call_status":"paused","direction":null}"#;
        let it = call(text);
        assert_eq!(it.call_id.as_deref(), Some("c1"));
        assert_eq!(it.agent_version, None);
        assert_eq!(it.call_status, Some(CallStatus::Other("paused".into())));
        assert_eq!(it.extra.get("agent_version").map(RawValue::get), Some("7.0"));
        let back = serde_json::to_string(&it).unwrap();
        assert_eq!(back, r#"{"call_id":"c1","call_status":"paused","agent_version":7.0,"direction":null}"#);
    }

    #[test]
    fn the_last_duplicate_counts_even_when_it_is_spoiled() {
        assert_eq!(call(r#"{"call_id":"a","call_id":"b"}"#).call_id.as_deref(), Some("b"));
        let it = call(r#"{"call_id":"a","call_id":3}"#);
        assert_eq!(it.call_id, None);
        assert_eq!(serde_json::to_string(&it).unwrap(), r#"{"call_id":3}"#);
    }

    #[test]
    fn a_field_filled_in_later_replaces_its_raw_form() {
        let mut it = call(r#"{"call_id":null}"#);
        it.call_id = Some("c2".into());
        assert_eq!(serde_json::to_string(&it).unwrap(), r#"{"call_id":"c2"}"#);
    }

    #[test]
    fn a_key_that_is_no_text_costs_nothing_but_its_spelling() {
        let it = call(r#"{"call_id":"c","\ud800":1}"#);
        assert_eq!(it.call_id.as_deref(), Some("c"));
        assert_eq!(it.extra.get_as("\\ud800"), Some(1));
    }

    #[test]
    fn debug_shows_ids_and_names_only() {
        let shown = format!("{:?}", call(r#"{"call_id":"c1","from_number":"+12025550143"}"#));
        assert!(shown.contains("c1") && shown.contains("from_number") && !shown.contains("555"));
    }
}
