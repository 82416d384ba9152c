use serde::Serialize;

/// A configured company, or the default one.
#[derive(Debug, Serialize)]
pub(crate) struct CompanyView {
    pub slug: String,
    /// The name that is shown to people; `None` when it is not set.
    pub name: Option<String>,
    /// The URL for Retell's dashboard, without a password.
    pub webhook_url: String,
    /// Number of API keys in the settings.
    pub keys: usize,
    /// Ids of the agents in the settings; empty when events of all agents are expected.
    pub agent_ids: Vec<String>,
}
