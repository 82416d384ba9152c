//! What is said or written in a call or chat.

use super::json_number::JsonNumber;
use super::open_enum::open_enum;
use super::open_object::{json_key, open_object};

open_object! {
    /// Something said or written.
    pub struct Utterance {
        /// The text. "(unintelligible audio)" where nobody could make it out.
        pub content: String,
        /// The words with their times. Voice only.
        pub words: Vec<Word>,
        /// Where the utterance came from. Voice only.
        pub metadata: UtteranceMetadata,
        /// Pictures and the like. Chat only.
        pub multimedia: Vec<Multimedia>,
        /// Id of the message. Chat only.
        pub message_id: String,
        /// When it was written, ms since 1970. Chat only.
        pub created_timestamp: i64,
    }
}

open_object! {
    /// A word and its time, in seconds from the start of the call; not exact.
    pub struct Word {
        /// The word.
        pub word: String,
        /// Start, seconds.
        pub start: JsonNumber,
        /// End, seconds.
        pub end: JsonNumber,
    }
}

open_object! {
    /// Where an utterance came from.
    pub struct UtteranceMetadata shows(response_id, interrupt_id, is_backchannel) {
        /// Number of the agent's response within the call.
        pub response_id: i64,
        /// Number of the interruption, custom models only.
        pub interrupt_id: i64,
        /// Whether it is an "uh-huh".
        pub is_backchannel: bool,
        /// Set when a backup model took over.
        pub backup_model_used: BackupModelUsed,
    }
}

open_object! {
    /// How a backup model came to answer.
    pub struct BackupModelUsed shows(model, primary_model, backup_model, reason) {
        /// The model that answered.
        pub model: String,
        /// The model meant to answer.
        pub primary_model: String,
        /// The model configured as backup.
        pub backup_model: String,
        /// Why the backup won.
        pub reason: BackupReason,
        /// From the start of the race to the choice, ms.
        pub selection_latency_ms: JsonNumber,
        /// When the backup was ready, ms.
        pub backup_ready_ms: JsonNumber,
        /// When the primary was ready, ms.
        pub primary_ready_ms: JsonNumber,
    }
}

open_enum! {
    /// Why a backup model won.
    pub enum BackupReason {
        /// The primary failed.
        PrimaryFailed = "primary_failed",
        /// The backup was ready and the primary's head start was over.
        PreferenceExpired = "preference_expired",
        /// The backup was ready first, after the head start.
        FirstUsable = "first_usable",
    }
}

open_object! {
    /// A picture or other attachment.
    pub struct Multimedia {
        /// Where it is.
        pub url: String,
        /// What it shows.
        pub summary: String,
    }
}
