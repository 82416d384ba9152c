//! The call object of voice events: the object that `GET /v2/get-call` returns, of which each event holds a part.

use super::analysis::CallAnalysis;
use super::disconnection_reason::DisconnectionReason;
use super::metrics::{CallCost, Latency, TokenUsage};
use crate::event::json::json_object::JsonObject;
use crate::event::json::lazy_json::LazyJson;
use crate::event::json::open_enum::open_enum;
use crate::event::json::open_object::{json_key, open_object};
use crate::event::json::raw_json::RawJson;
use crate::event::transcript::TranscriptItem;

open_object! {
    /// A call. `call_started` has identity, numbers, status and variables. Transcript, recording, latency, cost and
    /// disconnection reason follow with `call_ended`, and `call_analysis` with `call_analyzed`. Retell guarantees
    /// none of this: any field can be absent on any event.
    pub struct Call
    debug(call_id, agent_id, call_status, call_type, direction, disconnection_reason)
    {
        /// Opaque id of the call: today `call_` and hex digits, in old records without the prefix.
        pub call_id: String,
        /// Id of the agent that handled the call.
        pub agent_id: String,
        /// Version of the agent; absent in old payloads.
        pub agent_version: i64,
        /// Display name of the agent, as in the dashboard.
        pub agent_name: String,
        /// Tag that pointed to the agent version when the call was created.
        pub agent_tag: String,
        /// State of the call. Not always `ended` on `call_ended`.
        pub call_status: CallStatus,
        /// Whether this is a web call or a phone call.
        pub call_type: CallType,
        /// Web calls only: a secret that lets a browser join the call. Do not log it.
        pub access_token: String,
        /// Phone calls only: the calling number. Usually E.164, but "anonymous", short codes and SIP users occur.
        pub from_number: String,
        /// Phone calls only: the called number, usually E.164.
        pub to_number: String,
        /// Phone calls only: whether the user or the agent called.
        pub direction: Direction,
        /// Phone calls only: ids that the carrier gave the call.
        pub telephony_identifier: TelephonyIdentifier,
        /// Any JSON that the creator of the call attached, at most 50 kB; absent when none was given.
        pub metadata: RawJson,
        /// Dynamic variables given at creation. Strings by contract; [`JsonObject::get_text`] also reads other
        /// values.
        pub retell_llm_dynamic_variables: JsonObject,
        /// Dynamic variables collected during the call; present once it has ended. Strings by contract.
        pub collected_dynamic_variables: JsonObject,
        /// Custom SIP headers of the call. Strings by contract.
        pub custom_sip_headers: JsonObject,
        /// Attributes that the account defined: strings, numbers or booleans.
        pub custom_attributes: JsonObject,
        /// Which data Retell stores about the call.
        pub data_storage_setting: DataStorageSetting,
        /// Legacy flag, replaced by `data_storage_setting` in 2025; still sent.
        pub opt_out_sensitive_data_storage: bool,
        /// Whether the recording and log URLs are signed; signed URLs expire after 24 hours by default.
        pub opt_in_signed_url: bool,
        /// Start of the call, in milliseconds since the Unix epoch. Absent when an outbound call never connected.
        pub start_timestamp: i64,
        /// End of the agent's part of the call, in milliseconds since the Unix epoch.
        pub end_timestamp: i64,
        /// End of the transferred leg, in milliseconds since the Unix epoch; set on `transfer_ended`.
        pub transfer_end_timestamp: i64,
        /// Duration of the agent's part of the call, in milliseconds.
        pub duration_ms: i64,
        /// Why the call ended; present from `call_ended` on.
        pub disconnection_reason: DisconnectionReason,
        /// Destination of the transfer: a number or a SIP URI. Set only when the disconnection reason is
        /// `call_transfer`.
        pub transfer_destination: String,
        /// The conversation as lines of `Agent: …` and `User: …`.
        pub transcript: String,
        /// The utterances, with start and end of every word.
        pub transcript_object: LazyJson<Vec<TranscriptItem>>,
        /// Utterances, tool calls, node transitions, pressed keys and messages in order.
        pub transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// [`transcript_with_tool_calls`](Self::transcript_with_tool_calls) with personal data removed.
        pub scrubbed_transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Tool calls that ran before the conversation began.
        pub pre_session_transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Tool calls before the conversation, without personal data.
        pub scrubbed_pre_session_transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Tool calls that ran after the conversation ended.
        pub post_session_transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// Tool calls after the conversation, without personal data.
        pub scrubbed_post_session_transcript_with_tool_calls: LazyJson<Vec<TranscriptItem>>,
        /// URL of the recording, both parties mixed. Valid for 10 minutes when data storage is opted out.
        pub recording_url: String,
        /// URL of the recording with one channel per party.
        pub recording_multi_channel_url: String,
        /// URL of the mixed recording without personal data.
        pub scrubbed_recording_url: String,
        /// URL of the recording with one channel per party, without personal data.
        pub scrubbed_recording_multi_channel_url: String,
        /// URL of a log for debugging: model requests and responses, and the latency of every turn.
        pub public_log_url: String,
        /// URL of the texts that were retrieved from the knowledge base, per response.
        pub knowledge_base_retrieved_contents_url: String,
        /// Latency of every stage, in milliseconds.
        pub latency: LazyJson<Latency>,
        /// Cost of the call by product, in cents.
        pub call_cost: CallCost,
        /// Tokens that the language model used; absent for custom and speech-to-speech models.
        pub llm_token_usage: TokenUsage,
        /// Results of the analysis; present on `call_analyzed`.
        pub call_analysis: CallAnalysis,
    }
}

open_object! {
    /// Ids of a phone call at the carrier.
    pub struct TelephonyIdentifier debug(twilio_call_sid) {
        /// Call SID of Twilio, for calls that Twilio carries.
        pub twilio_call_sid: String,
    }
}

open_enum! {
    /// State of a call, as Retell reports it.
    pub enum CallStatus {
        /// The call was created, and no party is connected yet.
        Registered = "registered",
        /// The outbound call never connected.
        NotConnected = "not_connected",
        /// The call is connected and in progress.
        Ongoing = "ongoing",
        /// The call is over: a party hung up, or it was transferred.
        Ended = "ended",
        /// The call failed; see the disconnection reason.
        Error = "error",
    }
}

open_enum! {
    /// Whether a call is a web call or a phone call.
    pub enum CallType {
        /// A call from a browser or an app.
        Web = "web_call",
        /// A call over the telephone network or SIP.
        Phone = "phone_call",
    }
}

open_enum! {
    /// Direction of a phone call, seen from the agent.
    pub enum Direction {
        /// The user called the agent's number.
        Inbound = "inbound",
        /// The agent called the user's number.
        Outbound = "outbound",
    }
}

open_enum! {
    /// Which data Retell stores about a call.
    pub enum DataStorageSetting {
        /// Retell stores all data of the call.
        Everything = "everything",
        /// Retell stores all data, with personal data removed where possible.
        EverythingExceptPii = "everything_except_pii",
        /// Retell stores metadata only: no transcript and no recording.
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
    fn a_field_of_unexpected_type_stays_raw_and_affects_no_other_field() {
        let text = r#"{"call_id":"c1","agent_version":7.0,"call_status":"paused","direction":null}"#;
        let parsed = call(text);
        assert_eq!(parsed.call_id.as_deref(), Some("c1"));
        assert_eq!(parsed.agent_version, None);
        assert_eq!(parsed.call_status, Some(CallStatus::Other("paused".into())));
        assert_eq!(parsed.extra.get("agent_version").map(RawValue::get), Some("7.0"));
        let written = serde_json::to_string(&parsed).unwrap();
        assert_eq!(written, r#"{"call_id":"c1","call_status":"paused","agent_version":7.0,"direction":null}"#);
    }

    #[test]
    fn the_last_duplicate_key_wins_even_with_an_unexpected_type() {
        assert_eq!(call(r#"{"call_id":"a","call_id":"b"}"#).call_id.as_deref(), Some("b"));
        let parsed = call(r#"{"call_id":"a","call_id":3}"#);
        assert_eq!(parsed.call_id, None);
        assert_eq!(serde_json::to_string(&parsed).unwrap(), r#"{"call_id":3}"#);
    }

    #[test]
    fn a_field_set_later_replaces_its_raw_value() {
        let mut parsed = call(r#"{"call_id":null}"#);
        parsed.call_id = Some("c2".into());
        assert_eq!(serde_json::to_string(&parsed).unwrap(), r#"{"call_id":"c2"}"#);
    }

    #[test]
    fn an_unpaired_surrogate_is_read_as_the_replacement_character() {
        let parsed = call(r#"{"call_id":"c","transcript":"hi \ud83d","\ud800":1}"#);
        assert_eq!(parsed.call_id.as_deref(), Some("c"));
        assert_eq!(parsed.transcript.as_deref(), Some("hi \u{fffd}"));
        assert_eq!(parsed.extra.get_as("\u{fffd}"), Some(1));
    }

    #[test]
    fn debug_shows_ids_and_field_names_only() {
        let shown = format!("{:?}", call(r#"{"call_id":"c1","from_number":"+12025550143"}"#));
        assert!(shown.contains("c1") && shown.contains("from_number") && !shown.contains("555"));
    }
}
