//! What watching leaves in the store.

/// An alarm that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmRow {
    /// Its kind.
    pub alarm: String,
    /// The handler, company or agent it is about; empty when it is about all.
    pub subject: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// When it was last said.
    pub told_ms: i64,
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
    pub events: u64,
    /// When the latest of them was received, in milliseconds since the Unix epoch.
    pub last_ms: i64,
}
