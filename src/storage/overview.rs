//! Figures of a whole store, read without looking at every event.

/// How much was accepted, and how far the handlers have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// Events ever accepted, those erased since included; duplicates are none.
    pub accepted: i64,
    /// Of these, in the last hour.
    pub accepted_last_hour: i64,
    /// Of these, in the last 24 hours.
    pub accepted_last_day: i64,
    /// One each, by name.
    pub handlers: Vec<Backlog>,
}

/// What a handler has not finished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Its name.
    pub handler: String,
    /// Events it has not been given yet.
    pub behind: i64,
    /// When the first of these was received, in milliseconds since the Unix epoch.
    pub behind_since_ms: Option<i64>,
    /// Deliveries to be tried again. Counted up to [`Backlog::COUNTED`].
    pub scheduled: i64,
    /// Deliveries given up, counted likewise.
    pub dead: i64,
    /// `open` or `half_open` while what it calls is down; `None` when all is well.
    pub breaker: Option<String>,
}

impl Backlog {
    /// Deliveries of a handler are counted up to this many: a count takes time.
    pub const COUNTED: i64 = 100_000;
}
