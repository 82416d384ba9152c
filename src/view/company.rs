//! Companies.

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct CompanyView {
    pub slug: String,
    /// The path of the URL that Retell sends its events to.
    pub webhook_path: String,
    /// Number of configured keys.
    pub keys: usize,
    /// The configured agent ids; empty when any agent is accepted.
    pub agent_ids: Vec<String>,
}
