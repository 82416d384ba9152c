//! Types of the fields that Retell documents for `agent_override`. Only types are checked, not values, and fields
//! that Retell adds later pass. `null` removes a setting and is allowed everywhere.

use serde_json::{Map, Value};

#[derive(Clone, Copy)]
enum OverrideFieldType {
    String,
    Number,
    Integer,
    Boolean,
    StringArray,
    StringOrStringArray,
    Array,
    Object,
}

type OverrideFields = &'static [(OverrideFieldType, &'static [&'static str])];

const AGENT_FIELDS: OverrideFields = &[
    (
        OverrideFieldType::String,
        &[
            "agent_name",
            "version_description",
            "voice_id",
            "voice_model",
            "voice_emotion",
            "ambient_sound",
            "webhook_url",
            "data_storage_setting",
            "voicemail_message",
            "post_call_analysis_model",
            "analysis_successful_prompt",
            "analysis_summary_prompt",
            "analysis_user_sentiment_prompt",
            "stt_mode",
            "vocab_specialization",
            "denoising_mode",
            "timezone",
        ],
    ),
    (
        OverrideFieldType::Number,
        &[
            "voice_temperature",
            "voice_speed",
            "volume",
            "responsiveness",
            "interruption_sensitivity",
            "backchannel_frequency",
            "reminder_trigger_ms",
            "ambient_sound_volume",
        ],
    ),
    (
        OverrideFieldType::Integer,
        &[
            "reminder_max_count",
            "webhook_timeout_ms",
            "data_storage_retention_days",
            "signed_url_expiration_ms",
            "end_call_after_silence_ms",
            "max_call_duration_ms",
            "voicemail_detection_timeout_ms",
            "begin_message_delay_ms",
            "ring_duration_ms",
        ],
    ),
    (
        OverrideFieldType::Boolean,
        &[
            "enable_dynamic_voice_speed",
            "enable_dynamic_responsiveness",
            "enable_backchannel",
            "opt_in_signed_url",
            "normalize_for_speech",
            "allow_user_dtmf",
            "is_public",
        ],
    ),
    (
        OverrideFieldType::StringArray,
        &["fallback_voice_ids", "backchannel_words", "webhook_events", "boosted_keywords"],
    ),
    (OverrideFieldType::StringOrStringArray, &["language"]),
    (OverrideFieldType::Array, &["pronunciation_dictionary", "post_call_analysis_data"]),
    (
        OverrideFieldType::Object,
        &[
            "response_engine",
            "voicemail_option",
            "ivr_option",
            "custom_stt_config",
            "user_dtmf_options",
            "pii_config",
            "guardrail_config",
            "handbook_config",
        ],
    ),
];

const LLM_FIELDS: OverrideFields = &[
    (OverrideFieldType::String, &["model", "s2s_model", "start_speaker", "begin_message"]),
    (OverrideFieldType::Number, &["model_temperature"]),
    (OverrideFieldType::Integer, &["begin_after_user_silence_ms"]),
    (OverrideFieldType::Boolean, &["model_high_priority", "tool_call_strict_mode"]),
    (OverrideFieldType::StringArray, &["knowledge_base_ids"]),
    (OverrideFieldType::Object, &["kb_config"]),
];

const FLOW_FIELDS: OverrideFields = &[
    (OverrideFieldType::String, &["start_speaker"]),
    (OverrideFieldType::Number, &["model_temperature"]),
    (OverrideFieldType::Integer, &["begin_after_user_silence_ms"]),
    (OverrideFieldType::Boolean, &["tool_call_strict_mode"]),
    (OverrideFieldType::StringArray, &["knowledge_base_ids"]),
    (OverrideFieldType::Object, &["model_choice", "kb_config"]),
];

/// The documented fields of a part of `agent_override`; `None` for an unknown part.
fn documented_fields(part: &str) -> Option<OverrideFields> {
    match part {
        "agent" => Some(AGENT_FIELDS),
        "retell_llm" => Some(LLM_FIELDS),
        "conversation_flow" => Some(FLOW_FIELDS),
        _ => None,
    }
}

impl OverrideFieldType {
    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Number => value.is_number(),
            // Some serializers write every number with a fraction: 5.0 is an integer too.
            Self::Integer => value.is_i64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
            Self::Boolean => value.is_boolean(),
            Self::StringArray => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
            Self::StringOrStringArray => Self::String.accepts(value) || Self::StringArray.accepts(value),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
        }
    }

    fn expectation(self) -> &'static str {
        match self {
            Self::String => "expected a string",
            Self::Number => "expected a number",
            Self::Integer => "expected an integer",
            Self::Boolean => "expected true or false",
            Self::StringArray => "expected an array of strings",
            Self::StringOrStringArray => "expected a string or an array of strings",
            Self::Array => "expected an array",
            Self::Object => "expected an object",
        }
    }
}

/// The path of the first field with a wrong type, and the expected type.
pub(super) fn find_invalid_field(changes: &Map<String, Value>) -> Option<(Vec<&str>, &'static str)> {
    for (part, inner) in changes {
        let Some(known) = documented_fields(part) else {
            return Some((vec![part], "expected agent, retell_llm or conversation_flow"));
        };
        let Some(inner) = inner.as_object() else { return Some((vec![part], "expected an object")) };
        for (kind, names) in known {
            for name in *names {
                let Some(value) = inner.get(*name) else { continue };
                if !value.is_null() && !kind.accepts(value) {
                    return Some((vec![part, name], kind.expectation()));
                }
            }
        }
    }
    None
}
