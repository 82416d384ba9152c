//! Removal of data that is past its retention.

use enum_map::Enum;
use serde::Serialize;

/// A kind of data with its own retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetentionKind {
    /// Events with their bodies, deliveries and attempts.
    Events,
    /// Finished deliveries with their attempts.
    Deliveries,
    Attempts,
    /// Rows of calls and chats.
    Calls,
    Rejected,
}

impl RetentionKind {
    /// All kinds in the order in which they are removed.
    pub const ALL: [Self; 5] = [Self::Events, Self::Deliveries, Self::Attempts, Self::Calls, Self::Rejected];

    /// The name in settings, logs and `--json`, such as `events`.
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

/// The companies, by slug, whose data a retention rule covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompanyScope {
    Only(Vec<String>),
    AllExcept(Vec<String>),
}

/// The position where the next batch continues. Opaque; the default is the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeCursor(pub(super) [i64; 5]);

/// One batch of data to be removed.
#[derive(Clone, Debug)]
pub struct PurgeBatch {
    pub kind: RetentionKind,
    pub company_scope: CompanyScope,
    /// Remove what is older than this, in milliseconds since the Unix epoch. The age of an event begins when it is
    /// stored.
    pub before_ms: i64,
    /// The position after the previous batch.
    pub cursor: PurgeCursor,
    /// Maximum number of rows to examine, removed or not.
    pub limit: usize,
    /// Names of the handlers whose unfinished deliveries protect their events; `None` for all handlers in the store.
    pub protecting_handlers: Option<Vec<String>>,
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// The result of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeBatchResult {
    /// Removed rows of the requested kind.
    pub removed: u64,
    pub cascaded: CascadedCounts,
    /// The position for the next batch; `None` at the end.
    pub next_cursor: Option<PurgeCursor>,
}

/// Counts of what was removed together with events and deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CascadedCounts {
    pub body_bytes: u64,
    pub deliveries: u64,
    pub attempts: u64,
}

impl std::ops::AddAssign for CascadedCounts {
    fn add_assign(&mut self, more: Self) {
        self.body_bytes += more.body_bytes;
        self.deliveries += more.deliveries;
        self.attempts += more.attempts;
    }
}
