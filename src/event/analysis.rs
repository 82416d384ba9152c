//! What the analysis after a call or chat found.

use super::open_enum::open_enum;
use super::open_object::{json_key, open_object};
use super::raw_json::RawJson;

open_object! {
    /// `call_analysis`.
    pub struct CallAnalysis shows(in_voicemail, user_sentiment, call_successful) {
        /// The call in a few sentences.
        pub call_summary: String,
        /// Whether the call ended in voicemail. Can be true where `call_ended` gave another reason.
        pub in_voicemail: bool,
        /// Mood of the user.
        pub user_sentiment: Sentiment,
        /// Whether the agent reached its goal.
        pub call_successful: bool,
        /// The fields the account defined, an object by contract.
        pub custom_analysis_data: RawJson,
    }
}

open_object! {
    /// `chat_analysis`.
    pub struct ChatAnalysis shows(user_sentiment, chat_successful) {
        /// The chat in a few sentences.
        pub chat_summary: String,
        /// Mood of the user.
        pub user_sentiment: Sentiment,
        /// Whether the agent reached its goal.
        pub chat_successful: bool,
        /// The fields the account defined, an object by contract.
        pub custom_analysis_data: RawJson,
    }
}

open_enum! {
    /// Mood of the user.
    pub enum Sentiment {
        /// Negative.
        Negative = "Negative",
        /// Positive.
        Positive = "Positive",
        /// Neither.
        Neutral = "Neutral",
        /// Could not be told.
        Unknown = "Unknown",
    }
}
