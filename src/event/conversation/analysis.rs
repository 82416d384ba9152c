//! Results of Retell's analysis after a call or chat.

use crate::event::json::open_enum::open_enum;
use crate::event::json::open_object::{json_key, open_object};
use crate::event::json::raw_json::RawJson;

open_object! {
    /// `call_analysis`: the results of the post-call analysis. Sent with `call_analyzed`; every field is optional.
    pub struct CallAnalysis debug(in_voicemail, user_sentiment, call_successful) {
        /// Summary of the call in a few sentences.
        pub call_summary: String,
        /// Whether the call reached a voicemail. Can be true although `call_ended` gave another disconnection reason.
        pub in_voicemail: bool,
        /// Sentiment of the user over the whole call.
        pub user_sentiment: Sentiment,
        /// Whether the agent reached the goal of the call.
        pub call_successful: bool,
        /// The analysis fields that the account defined; a JSON object by contract.
        pub custom_analysis_data: RawJson,
    }
}

open_object! {
    /// `chat_analysis`: the results of the post-chat analysis. Sent with `chat_analyzed`; every field is optional.
    pub struct ChatAnalysis debug(user_sentiment, chat_successful) {
        /// Summary of the chat in a few sentences.
        pub chat_summary: String,
        /// Sentiment of the user over the whole chat.
        pub user_sentiment: Sentiment,
        /// Whether the agent reached the goal of the chat.
        pub chat_successful: bool,
        /// The analysis fields that the account defined; a JSON object by contract.
        pub custom_analysis_data: RawJson,
    }
}

open_enum! {
    /// Sentiment of the user, as the analysis judged it.
    pub enum Sentiment {
        /// The user's sentiment was negative.
        Negative = "Negative",
        /// The user's sentiment was positive.
        Positive = "Positive",
        /// The user's sentiment was neither negative nor positive.
        Neutral = "Neutral",
        /// The analysis could not determine the sentiment.
        Unknown = "Unknown",
    }
}
