//! Events as they are appended to the journal and read from it.

mod body_error;
mod position;

use std::fmt;

use bytes::Bytes;

pub(crate) use self::body_error::{BodyError, BodyErrorKind};
pub(crate) use self::position::{Position, Seq};
use super::HandlerBacklog;
use crate::base::histogram::HistogramCounts;
use crate::base::id::{CompanyId, EventId};

/// The company whose events arrive on the plain webhook route.
pub const DEFAULT_COMPANY_ID: CompanyId = CompanyId::new(1);

/// How an event came into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOrigin {
    /// Sent by Retell as a webhook request.
    Retell,
    /// Made by the receiver itself: alarms and appointments. Not signed by anyone.
    Internal,
    /// Imported by an operator from an export.
    Import,
    /// Fetched from Retell afterwards, because no webhook request delivered it.
    Backfill,
}

impl EventOrigin {
    const ALL: [Self; 4] = [Self::Retell, Self::Internal, Self::Import, Self::Backfill];

    /// The name in the store and in `--json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retell => "retell",
            Self::Internal => "internal",
            Self::Import => "import",
            Self::Backfill => "backfill",
        }
    }

    /// The origin with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == name)
    }
}

/// Whether the columns of an event could be filled from its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventState {
    Stored,
    /// Stored without columns: the body is not a JSON object with an event name, or the store did not accept the
    /// columns.
    Unparsed,
}

impl EventState {
    const ALL: [Self; 2] = [Self::Stored, Self::Unparsed];

    /// The name in the store and in `--json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Unparsed => "unparsed",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// An authenticated event to be appended. Texts are at most 256 bytes and contain no NUL.
#[derive(Clone)]
pub struct NewEvent {
    /// Generated when the request was accepted; begins with that time.
    pub id: EventId,
    /// Id of the company in the store, see
    /// `CompanyStore::get_or_create_company_ids`.
    pub company_id: CompanyId,
    /// The event kind, such as `call_ended`; `None` when the body has none.
    pub kind: Option<String>,
    /// Retell's id of the call or chat.
    pub call_id: Option<String>,
    /// Retell's id of the agent.
    pub agent_id: Option<String>,
    /// Distinguishes events of one company with the same body; see [`IdentityKey`](super::IdentityKey).
    pub dedupe_discriminator: Option<String>,
    /// Whether a second body with the same company, kind and call id is a revision of the first.
    pub revisable: bool,
    /// Whether the body is something other than a JSON object.
    pub unparsed: bool,
    /// Whether a caller waits for the answer to this request; it is then written before other events.
    pub live: bool,
    /// Milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The IP address of the sender, behind trusted proxies.
    pub source: Option<String>,
    /// Value of the `Content-Type` header.
    pub content_type: Option<String>,
    /// The query string, without the question mark.
    pub query: Option<String>,
    /// Value of the `X-Retell-Signature` header as sent.
    pub signature: Option<String>,
    /// Fingerprint of the key that made the signature; `None` when verification is off, for an internal event, and for
    /// an imported one whose key is unknown.
    pub key_fingerprint: Option<String>,
    /// How the event came into the store.
    pub origin: EventOrigin,
    /// The body, byte for byte as it was signed.
    pub body: Bytes,
}

impl NewEvent {
    /// An event from Retell of which only these values are known.
    #[must_use]
    pub fn new(id: EventId, company_id: CompanyId, received_at_ms: i64, body: impl Into<Bytes>) -> Self {
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
            origin: EventOrigin::Retell,
            body: body.into(),
        }
    }
}

/// The outcome of appending an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    Stored {
        /// Whether an event with another body was stored before for the same event of the same call.
        revision: bool,
        /// Whether it was stored without its columns: the body is not a JSON object, or SQLite did not accept the
        /// columns.
        unparsed: bool,
    },
    /// An event with the same identity is stored already.
    Duplicate {
        /// The id of that event.
        original_id: EventId,
    },
}

/// A stored event without its body.
#[derive(Clone, PartialEq, Eq)]
pub struct EventSummary {
    /// The event's number in the journal, which is in the order of commit.
    pub seq: Seq,
    pub id: EventId,
    pub company_id: CompanyId,
    /// The slug of the company.
    pub company: String,
    pub kind: Option<String>,
    pub call_id: Option<String>,
    pub agent_id: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    pub source: Option<String>,
    pub content_type: Option<String>,
    pub query: Option<String>,
    pub signature: Option<String>,
    /// See [`NewEvent::key_fingerprint`].
    pub key_fingerprint: Option<String>,
    pub origin: EventOrigin,
    pub state: EventState,
    /// The first event of the call with this kind, if this one is a revision.
    pub revision_of: Option<EventId>,
    /// How often the same body was received again.
    pub duplicate_count: u64,
    pub size_bytes: u64,
}

impl EventSummary {
    /// The position after the event.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::after(self.seq)
    }

    /// The position before the event.
    #[must_use]
    pub fn position_before(&self) -> Position {
        Position::after(Seq(self.seq.0 - 1))
    }

    /// Whether the receiver made the event itself.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.origin == EventOrigin::Internal
    }
}

/// A stored event with its body.
#[derive(Clone)]
pub struct StoredEvent {
    pub summary: EventSummary,
    /// The raw bytes as received, or the reason why they cannot be read.
    pub body: Result<Bytes, BodyError>,
}

/// Selects events; all set conditions must hold. The default selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only events of these kinds, such as `call_ended`; empty for all.
    pub kinds: Vec<String>,
    /// Only events of this call or chat.
    pub call_id: Option<String>,
    /// Only events of the company with this slug.
    pub company: Option<String>,
    /// Only events in the state `unparsed`.
    pub unparsed_only: bool,
    /// Received at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// Received before this time.
    pub until_ms: Option<i64>,
    /// Maximum number of events; `None` for no limit.
    pub limit: Option<usize>,
}

/// Figures about the store, for metrics. Counts begin when the store is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Committed transactions of the writer.
    pub commits: u64,
    /// Number of events per commit, for commits with at least one.
    pub events_per_commit: HistogramCounts,
    /// Recent keys, two per event, that the identity index on disk does not hold yet.
    pub unindexed_keys: u64,
    /// Sequence number of the latest event.
    pub last_seq: i64,
    pub backlogs: Vec<HandlerBacklog>,
}

// Written by hand, to show ids and sizes only: a body holds what a caller said, a signature holds a MAC.

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
