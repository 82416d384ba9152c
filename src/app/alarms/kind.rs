//! What there are alarms about. Pure.

/// The kinds of alarms; their names are those of `[alarms]` as far as there is one key only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::app) enum AlarmKind {
    /// A handler gives up on deliveries.
    DeadDeliveries,
    /// A delivery waits for long.
    OldestUndelivered,
    /// Attempts at a handler rest.
    BreakerOpen,
    /// Many requests are refused.
    RejectedRequests,
    /// Events cannot be stored.
    NotStored,
    /// A company or an agent sends nothing.
    Silence,
    /// The disk is nearly full.
    Disk,
    /// This machine's clock is wrong, or that of whoever signs.
    ClockSkew,
}

impl AlarmKind {
    pub(in crate::app) const ALL: [Self; 8] = [
        Self::DeadDeliveries,
        Self::OldestUndelivered,
        Self::BreakerOpen,
        Self::RejectedRequests,
        Self::NotStored,
        Self::Silence,
        Self::Disk,
        Self::ClockSkew,
    ];

    pub(in crate::app) fn as_str(self) -> &'static str {
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

    /// Whether something is lost, or will be.
    pub(super) fn is_data_loss(self) -> bool {
        matches!(self, Self::DeadDeliveries | Self::NotStored | Self::Disk)
    }
}
