//! Rows that the alarm check keeps in the store: raised alarms, and hourly event counts (activity).

use crate::base::id::CompanyId;

/// A kind of alarm. Its name is the same in the log, the metrics, the events and the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
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
    /// Files of the store were deleted or replaced while the receiver runs.
    StoreFiles,
}

impl AlarmKind {
    pub const ALL: [Self; 9] = [
        Self::DeadDeliveries,
        Self::OldestUndelivered,
        Self::BreakerOpen,
        Self::RejectedRequests,
        Self::NotStored,
        Self::Silence,
        Self::Disk,
        Self::ClockSkew,
        Self::StoreFiles,
    ];

    /// The name in the store, in logs and in `--json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeadDeliveries => "dead_deliveries",
            Self::OldestUndelivered => "oldest_undelivered",
            Self::BreakerOpen => "breaker_open",
            Self::RejectedRequests => "rejected_requests",
            Self::NotStored => "not_stored",
            Self::Silence => "silence",
            Self::Disk => "disk",
            Self::ClockSkew => "clock_skew",
            Self::StoreFiles => "store_files",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alarm| alarm.as_str() == name)
    }

    /// Whether events are lost, or will be: logged as an error instead of a warning.
    #[must_use]
    pub fn is_data_loss(self) -> bool {
        matches!(self, Self::DeadDeliveries | Self::NotStored | Self::Disk | Self::StoreFiles)
    }
}

/// A raised alarm, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmRow {
    pub kind: AlarmKind,
    /// The handler, company or agent that the alarm is about; empty when it is about the whole receiver.
    pub subject: String,
    /// When the alarm was raised, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    pub last_notified_ms: i64,
    /// What is wrong and what to do about it, without personal data.
    pub text: String,
}

/// Number of events that a company or an agent received in one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityRow {
    pub company_id: CompanyId,
    /// `None` for the whole company.
    pub agent_id: Option<String>,
    /// Hours since the Unix epoch.
    pub hour: i64,
    pub event_count: u64,
    /// When the latest event of the hour was received, in milliseconds since the Unix epoch.
    pub last_event_at_ms: i64,
}
