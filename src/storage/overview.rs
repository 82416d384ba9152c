//! Figures of the whole store that can be read in bounded time, without scanning events.

use super::{BreakerState, UnknownValueError};

/// Numbers of accepted events, and the backlog of every handler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreOverview {
    /// Events ever accepted, including those that were removed since. Duplicates do not count.
    pub accepted: i64,
    pub accepted_last_hour: i64,
    /// Events accepted in the last 24 hours.
    pub accepted_last_day: i64,
    /// Sorted by the name of the handler.
    pub backlogs: Vec<HandlerBacklog>,
}

/// The unfinished work of a handler. Deliveries are counted up to [`HandlerBacklog::MAX_COUNTED`] or a smaller number
/// that the caller gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerBacklog {
    pub handler: String,
    /// Events without a delivery yet, and pending and running deliveries.
    pub behind: i64,
    /// When the first of these events was received, in milliseconds since the Unix epoch.
    pub behind_since_ms: Option<i64>,
    /// Deliveries that wait for their first attempt.
    pub pending: i64,
    pub running: i64,
    /// Deliveries that wait for another attempt.
    pub scheduled: i64,
    /// Since when the oldest unfinished delivery waits (when its event was received or replayed). If not all are
    /// counted, the oldest of those that are.
    pub oldest_waiting_since_ms: Option<i64>,
    pub dead: i64,
    /// Dead letters since the time that the caller gave, among the latest 1,000.
    pub recent_dead: i64,
    pub breaker_state: BreakerState,
    /// Since when the breaker is not closed, in milliseconds since the Unix epoch.
    pub breaker_since_ms: Option<i64>,
    /// A row of the handler or of its deliveries that has a value that this version does not know. Such rows are left out
    /// of the figures.
    pub(crate) damage: Option<UnknownValueError>,
}

impl HandlerBacklog {
    /// Deliveries of a handler are counted up to this number, because counting takes time.
    pub const MAX_COUNTED: i64 = 10_000;
}
