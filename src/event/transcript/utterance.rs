//! Utterances: text that is said in a call or written in a chat.

use crate::event::json::json_number::JsonNumber;
use crate::event::json::open_enum::open_enum;
use crate::event::json::open_object::{json_key, open_object};

open_object! {
    /// One utterance of an agent, a user or the party that a call was transferred to.
    pub struct Utterance {
        /// Text of the utterance; `(unintelligible audio)` when it could not be transcribed.
        pub content: String,
        /// The words with start and end; calls only.
        pub words: Vec<Word>,
        /// The response of the agent that the utterance belongs to; calls only.
        pub metadata: UtteranceMetadata,
        /// Pictures and other attachments; chats only.
        pub multimedia: Vec<Multimedia>,
        /// Id of the message; chats only.
        pub message_id: String,
        /// When the message was created, in milliseconds since the Unix epoch; chats only.
        pub created_timestamp: i64,
    }
}

open_object! {
    /// A word and its approximate time, in seconds of audio from the start of the call.
    pub struct Word {
        /// The word with its punctuation.
        pub word: String,
        /// Start of the word, in seconds from the start of the call.
        pub start: JsonNumber,
        /// End of the word, in seconds from the start of the call.
        pub end: JsonNumber,
    }
}

open_object! {
    /// Origin of an utterance or a tool call.
    pub struct UtteranceMetadata debug(response_id, interrupt_id, is_backchannel) {
        /// Number of the agent's response within the call.
        pub response_id: i64,
        /// Number of the interruption; custom models only.
        pub interrupt_id: i64,
        /// Whether the utterance is a backchannel, such as "uh-huh".
        pub is_backchannel: bool,
        /// Set when a backup model answered instead of the primary one.
        pub backup_model_used: BackupModelUsed,
    }
}

open_object! {
    /// Why and when a backup model answered instead of the primary one.
    pub struct BackupModelUsed debug(model, primary_model, backup_model, reason) {
        /// Name of the model that answered.
        pub model: String,
        /// Name of the model that was expected to answer.
        pub primary_model: String,
        /// Name of the model that is configured as backup.
        pub backup_model: String,
        /// Why the backup model was chosen.
        pub reason: BackupReason,
        /// Time from the start of both requests to the choice, in milliseconds.
        pub selection_latency_ms: JsonNumber,
        /// Time until the backup model was ready, in milliseconds.
        pub backup_ready_ms: JsonNumber,
        /// Time until the primary model was ready, in milliseconds.
        pub primary_ready_ms: JsonNumber,
    }
}

open_enum! {
    /// Why a backup model was chosen.
    pub enum BackupReason {
        /// The request to the primary model failed.
        PrimaryFailed = "primary_failed",
        /// The backup was ready, and the time in which the primary is preferred was over.
        PreferenceExpired = "preference_expired",
        /// The backup was the first to be ready after the time in which the primary is preferred.
        FirstUsable = "first_usable",
    }
}

open_object! {
    /// A picture or another attachment of a message.
    pub struct Multimedia {
        /// URL from which the attachment can be loaded.
        pub url: String,
        /// Description of the attachment; optional in the contract.
        pub summary: String,
    }
}
