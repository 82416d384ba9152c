//! What watching leaves in the store.

/// An alarm that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmRow {
    /// Its kind.
    pub kind: String,
    /// The handler, company or agent it is about; empty when it is about all.
    pub subject: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// When it was last said.
    pub last_notified_ms: i64,
    /// What is wrong and what to do, without personal data.
    pub text: String,
}

/// How many events of a company or an agent came in an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityRow {
    /// The company.
    pub company_id: i64,
    /// The agent; `None` for the whole company.
    pub agent_id: Option<String>,
    /// Hours since the Unix epoch.
    pub hour: i64,
    /// How many.
    pub event_count: u64,
    /// When the latest of them was received, in milliseconds since the Unix epoch.
    pub last_event_at_ms: i64,
}
