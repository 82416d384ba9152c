//! What may be changed for one call: the types of the fields that Retell documents for `agent_override`. Values are Retell's
//! to know, and so are fields it adds later; null takes a setting away.

use serde_json::{Map, Value};

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Whole,
    Flag,
    Texts,
    /// One or several.
    TextOrTexts,
    List,
    Object,
}

type Fields = &'static [(Kind, &'static [&'static str])];

const AGENT: Fields = &[
    (
        Kind::Text,
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
        Kind::Number,
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
        Kind::Whole,
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
        Kind::Flag,
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
    (Kind::Texts, &["fallback_voice_ids", "backchannel_words", "webhook_events", "boosted_keywords"]),
    (Kind::TextOrTexts, &["language"]),
    (Kind::List, &["pronunciation_dictionary", "post_call_analysis_data"]),
    (
        Kind::Object,
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

const LLM: Fields = &[
    (Kind::Text, &["model", "s2s_model", "start_speaker", "begin_message"]),
    (Kind::Number, &["model_temperature"]),
    (Kind::Whole, &["begin_after_user_silence_ms"]),
    (Kind::Flag, &["model_high_priority", "tool_call_strict_mode"]),
    (Kind::Texts, &["knowledge_base_ids"]),
    (Kind::Object, &["kb_config"]),
];

const FLOW: Fields = &[
    (Kind::Text, &["start_speaker"]),
    (Kind::Number, &["model_temperature"]),
    (Kind::Whole, &["begin_after_user_silence_ms"]),
    (Kind::Flag, &["tool_call_strict_mode"]),
    (Kind::Texts, &["knowledge_base_ids"]),
    (Kind::Object, &["model_choice", "kb_config"]),
];

/// The documented fields of this part; `None` when there is no such part.
fn fields(part: &str) -> Option<Fields> {
    match part {
        "agent" => Some(AGENT),
        "retell_llm" => Some(LLM),
        "conversation_flow" => Some(FLOW),
        _ => None,
    }
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Whole => value.is_i64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
            Self::Flag => value.is_boolean(),
            Self::Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
            Self::TextOrTexts => Self::Text.fits(value) || Self::Texts.fits(value),
            Self::List => value.is_array(),
            Self::Object => value.is_object(),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Text => "expected a text",
            Self::Number => "expected a number",
            Self::Whole => "expected a whole number",
            Self::Flag => "expected true or false",
            Self::Texts => "expected a list of texts",
            Self::TextOrTexts => "expected a text or a list of texts",
            Self::List => "expected a list",
            Self::Object => "expected an object",
        }
    }
}

/// The first field that is of another type than Retell's, by its path, and why.
pub(super) fn problem(changes: &Map<String, Value>) -> Option<(Vec<&str>, &'static str)> {
    for (part, inner) in changes {
        let Some(known) = fields(part) else {
            return Some((vec![part], "expected agent, retell_llm or conversation_flow"));
        };
        let Some(inner) = inner.as_object() else { return Some((vec![part], "expected an object")) };
        for (kind, names) in known {
            let wrong = |name: &&&str| inner.get(**name).is_some_and(|value| !value.is_null() && !kind.fits(value));
            if let Some(name) = names.iter().find(wrong) {
                return Some((vec![part, name], kind.expected()));
            }
        }
    }
    None
}
