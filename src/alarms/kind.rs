//! The kinds of alarms. Pure.

/// A kind of alarm. Its name is the same in the log, the metrics, the events and the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AlarmKind {
    /// Deliveries of a handler became dead letters.
    DeadDeliveries,
    /// The oldest delivery of a handler waits for too long.
    OldestUndelivered,
    /// The circuit breaker of a handler has been open for too long.
    BreakerOpen,
    /// Too many requests per minute are rejected (401, 403).
    RejectedRequests,
    /// Events could not be stored.
    NotStored,
    /// A company or an agent sends no events.
    Silence,
    /// The disk under the store is nearly full.
    Disk,
    /// The clock of this machine and the clock of the signer differ.
    ClockSkew,
}

impl AlarmKind {
    pub(crate) const ALL: [Self; 8] = [
        Self::DeadDeliveries,
        Self::OldestUndelivered,
        Self::BreakerOpen,
        Self::RejectedRequests,
        Self::NotStored,
        Self::Silence,
        Self::Disk,
        Self::ClockSkew,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::DeadDeliveries => "dead_deliveries",
            Self::OldestUndelivered => "oldest_undelivered",
            Self::BreakerOpen => "breaker_open",
            Self::RejectedRequests => "rejected_requests",
            Self::NotStored => "not_stored",
            Self::Silence => "silence",
            Self::Disk => "disk",
            Self::ClockSkew => "clock_skew",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alarm| alarm.as_str() == name)
    }

    /// Whether events are lost, or will be: logged as an error instead of a warning.
    pub(super) fn is_data_loss(self) -> bool {
        matches!(self, Self::DeadDeliveries | Self::NotStored | Self::Disk)
    }
}
