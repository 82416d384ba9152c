//! Figures of a whole store, read without looking at every event.

use super::BreakerState;

/// How much was accepted, and how far the handlers have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreOverview {
    /// Events ever accepted, those erased since included; duplicates are none.
    pub accepted: i64,
    /// Of these, in the last hour.
    pub accepted_last_hour: i64,
    /// Of these, in the last 24 hours.
    pub accepted_last_day: i64,
    /// One each, by name.
    pub backlogs: Vec<HandlerBacklog>,
}

/// What a handler has not finished. Deliveries are counted up to [`HandlerBacklog::COUNTED`], or fewer when asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerBacklog {
    /// Its name.
    pub handler: String,
    /// Events it has not been given yet, or is at.
    pub behind: i64,
    /// When the first of these was received, in milliseconds since the Unix epoch.
    pub behind_since_ms: Option<i64>,
    /// Deliveries that wait for their first attempt.
    pub pending: i64,
    /// Deliveries of which an attempt is under way or about to begin.
    pub running: i64,
    /// Deliveries to be tried again.
    pub scheduled: i64,
    /// Since when the one that waits for longest waits, tried or not: received, or replayed. With more waiting than are
    /// counted, the oldest of those that were.
    pub oldest_waiting_since_ms: Option<i64>,
    /// Deliveries given up.
    pub dead: i64,
    /// Of the latest thousand of these, those given up since the time asked about.
    pub recent_dead: i64,
    /// Whether attempts are made.
    pub breaker_state: BreakerState,
    /// Since when not all of them are, in milliseconds since the Unix epoch.
    pub breaker_since_ms: Option<i64>,
}

impl HandlerBacklog {
    /// Deliveries of a handler are counted up to this many: a count takes time.
    pub const MAX_COUNTED: i64 = 100_000;
}
