//! Rows that the alarm check keeps in the store: raised alarms, and hourly event counts (activity).

/// A raised alarm, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmRow {
    /// The kind of alarm, such as `rejected_requests`.
    pub kind: String,
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
    pub company_id: i64,
    /// `None` for the whole company.
    pub agent_id: Option<String>,
    /// Hours since the Unix epoch.
    pub hour: i64,
    pub event_count: u64,
    /// When the latest event of the hour was received, in milliseconds since the Unix epoch.
    pub last_event_at_ms: i64,
}
