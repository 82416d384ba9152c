//! What goes into the journal and what comes out.

use std::fmt;

use bytes::Bytes;

use super::HandlerBacklog;
use crate::base::histogram::HistogramCounts;
use crate::base::id::EventId;

/// The company whose events arrive on the plain webhook route.
pub const DEFAULT_COMPANY_ID: i64 = 1;

/// Stands for the key of events that the receiver makes itself, such as alarms: nobody sent or signed them.
pub(crate) const INTERNAL_KEY_FINGERPRINT: &str = "internal";

/// An authenticated event on its way into the store. Texts are at most 256 bytes and free of NUL.
#[derive(Clone)]
pub struct NewEvent {
    /// Its id, made when it was accepted.
    pub id: EventId,
    /// Whose it is.
    pub company_id: i64,
    /// The event's name; `None` when the body has none.
    pub kind: Option<String>,
    /// The call's id, or the chat's.
    pub call_id: Option<String>,
    /// The agent's id.
    pub agent_id: Option<String>,
    /// What besides company and body makes it an event of its own; see [`IdentityKey`](super::IdentityKey).
    pub dedupe_discriminator: Option<String>,
    /// Whether a second body with the same company, name and call id is a revision of the first.
    pub revisable: bool,
    /// The body is not a JSON object.
    pub unparsed: bool,
    /// Somebody on the line waits for its answer: it goes before other events.
    pub live: bool,
    /// Milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The sender's address.
    pub source: Option<String>,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The query string, without the question mark.
    pub query: Option<String>,
    /// The signature header as sent.
    pub signature: Option<String>,
    /// Which key made the signature; `None` when verification is off.
    pub key_fingerprint: Option<String>,
    /// The raw bytes.
    pub body: Bytes,
}

impl NewEvent {
    /// One of which nothing else is known.
    #[must_use]
    pub fn new(id: EventId, company_id: i64, received_at_ms: i64, body: impl Into<Bytes>) -> Self {
        Self {
            id,
            company_id,
            kind: None,
            call_id: None,
            agent_id: None,
            dedupe_discriminator: None,
            revisable: false,
            unparsed: false,
            live: false,
            received_at_ms,
            source: None,
            content_type: None,
            query: None,
            signature: None,
            key_fingerprint: None,
            body: body.into(),
        }
    }
}

/// What became of an appended event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Kept as an event of its own.
    Stored {
        /// It came after another body for the same event of the same call.
        revision: bool,
        /// It was kept without its columns: its body is no JSON object, or the store refused them.
        unparsed: bool,
    },
    /// The same event is on disk already.
    Duplicate {
        /// The id under which it was first kept.
        original_id: EventId,
    },
}

/// A stored event without its body.
#[derive(Clone, PartialEq, Eq)]
pub struct EventSummary {
    /// Position in the journal: the order of commit.
    pub seq: i64,
    /// Its id.
    pub id: EventId,
    /// The company.
    pub company_id: i64,
    /// The company's slug.
    pub company: String,
    /// The event's name.
    pub kind: Option<String>,
    /// The call's or chat's id.
    pub call_id: Option<String>,
    /// The agent's id.
    pub agent_id: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The sender's address.
    pub source: Option<String>,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The query string.
    pub query: Option<String>,
    /// The signature header.
    pub signature: Option<String>,
    /// Which key made it.
    pub key_fingerprint: Option<String>,
    /// `stored` or `unparsed`.
    pub state: String,
    /// The event this one revises.
    pub revision_of: Option<EventId>,
    /// How often the same body came again.
    pub duplicate_count: u64,
    /// Size of the body.
    pub size_bytes: u64,
}

impl EventSummary {
    /// Whether the receiver made it itself: see [`INTERNAL`].
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.key_fingerprint.as_deref() == Some(INTERNAL_KEY_FINGERPRINT)
    }
}

/// A stored event with its body.
#[derive(Clone)]
pub struct StoredEvent {
    /// Everything but the body.
    pub summary: EventSummary,
    /// The raw bytes as received, or why they cannot be read any more.
    pub body: Result<Bytes, String>,
}

/// Which events to list.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only events of this name.
    pub kind: Option<String>,
    /// Only events of this call or chat.
    pub call_id: Option<String>,
    /// Only events of the company with this slug.
    pub company: Option<String>,
    /// Only those whose body is no JSON object.
    pub unparsed_only: bool,
    /// Received at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// How the store is doing. Counts are since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Transactions committed, for whatever purpose.
    pub commits: u64,
    /// How many events shared a commit, for the commits that held any.
    pub events_per_commit: HistogramCounts,
    /// Keys known from memory only, two an event; the index is written behind intake.
    pub unindexed_keys: u64,
    /// The number of the latest event in the journal.
    pub last_seq: i64,
    /// What each handler has not finished.
    pub backlogs: Vec<HandlerBacklog>,
}

// `Debug` shows ids and sizes: bodies hold what a caller said, signatures a MAC.

impl fmt::Debug for NewEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewEvent")
            .field("id", &self.id)
            .field("event", &self.kind)
            .field("size_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EventSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSummary")
            .field("seq", &self.seq)
            .field("id", &self.id)
            .field("event", &self.kind)
            .field("state", &self.state)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredEvent").field("summary", &self.summary).finish_non_exhaustive()
    }
}
