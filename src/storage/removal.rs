//! What leaves the store: for its age, for its size, or at a person's request.

use serde::Serialize;

/// What is kept for a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetentionKind {
    /// Events with their bodies, and with them their deliveries and attempts.
    Events,
    /// Deliveries that are finished, with their attempts.
    Deliveries,
    /// Attempts.
    Attempts,
    /// Rows of calls and chats.
    Calls,
    /// Refused requests.
    Rejected,
}

impl RetentionKind {
    /// All of them, in the order they are removed.
    pub const ALL: [Self; 5] = [Self::Events, Self::Deliveries, Self::Attempts, Self::Calls, Self::Rejected];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Deliveries => "deliveries",
            Self::Attempts => "attempts",
            Self::Calls => "calls",
            Self::Rejected => "rejected",
        }
    }
}

/// Whose data a rule is about, by slug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompanyScope {
    /// These.
    Only(Vec<String>),
    /// All others.
    AllExcept(Vec<String>),
}

/// Where the next batch goes on. Opaque; the default is the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeCursor(pub(super) i64, pub(super) i64, pub(super) String);

/// One batch of what is past its time.
#[derive(Clone, Debug)]
pub struct PurgeBatch {
    /// What.
    pub kind: RetentionKind,
    /// Whose.
    pub company_scope: CompanyScope,
    /// What is older than this, in milliseconds since the Unix epoch. An event counts from when it was stored.
    pub before_ms: i64,
    /// After what the last batch looked at.
    pub cursor: PurgeCursor,
    /// Rows looked at, at most.
    pub limit: usize,
    /// Handlers whose unfinished deliveries protect their events, by name; `None`: all that the store knows.
    pub protecting_handlers: Option<Vec<String>>,
    /// What time it is.
    pub now_ms: i64,
}

/// What a batch came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeBatchResult {
    /// Rows removed of the kind that was asked for.
    pub removed: u64,
    /// What went along with them.
    pub cascaded: CascadedCounts,
    /// Where to go on; `None` when everything was looked at.
    pub next_cursor: Option<PurgeCursor>,
}

/// What goes along with events and deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CascadedCounts {
    /// Bytes of bodies.
    pub body_bytes: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Attempts.
    pub attempts: u64,
}

impl std::ops::AddAssign for CascadedCounts {
    fn add_assign(&mut self, more: Self) {
        self.body_bytes += more.body_bytes;
        self.deliveries += more.deliveries;
        self.attempts += more.attempts;
    }
}
