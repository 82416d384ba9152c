//! `[[handlers]]`: what is done with stored events.

mod delivery;
mod exec;
pub(super) mod file;
mod kind;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use delivery::DeliveryOrdering;
pub use delivery::DeliverySettings;
pub use delivery::RevisionPolicy;
pub use delivery::TranscriptPolicy;
pub(crate) use exec::ExecSettings;
pub(crate) use exec::ProgramSearchPath;
pub(crate) use file::FileSettings;
pub use kind::HandlerKind;
pub(crate) use kind::RetellSignatureMode;

use crate::base::secret::Secret;

/// One `[[handlers]]` table: which events, how they are delivered, and what the handler's kind needs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct HandlerSettings {
    /// Unique name; the store remembers by it how far the handler has come.
    pub name: String,
    /// What it does.
    pub kind: HandlerKind,
    /// `false` keeps the table and skips its events, which `replay` can deliver later.
    #[serde(default = "default_true")]
    pub enabled: bool,

    /// Event names it wants, such as `["call_ended", "transfer_*"]`; empty means all.
    #[serde(default)]
    pub events: Vec<String>,
    /// Agent ids it wants; empty means all.
    #[serde(default)]
    pub agents: Vec<String>,
    /// Company slugs it wants; empty means all.
    #[serde(default)]
    pub companies: Vec<String>,
    /// `phone_call` or `web_call`; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub call_types: Vec<String>,
    /// `inbound` or `outbound`; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directions: Vec<String>,
    /// A JSON path (RFC 9535) that must select something in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,

    /// Whether the events of a call wait for each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering: Option<DeliveryOrdering>,
    /// Attempts at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u16>,
    /// How long one attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Waits between attempts, such as `["5s", "2m", "1h"]`; after the last one the delivery is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_schedule: Option<Vec<String>>,
    /// How old a delivery may become before it is dead, tried or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// How long an event that waits for another attempt holds back later ones of its call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_timeout_ms: Option<u64>,
    /// Whether it gets further bodies of an event it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revisions: Option<RevisionPolicy>,
    /// Whether it gets every `transcript_updated` or, when late, only the latest of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcripts: Option<TranscriptPolicy>,
    /// Attempts a second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<u32>,

    /// `forward`, `slack`: where to. It may carry a token, so it is shown without its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// `forward`: several destinations, each with deliveries of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<Secret>,
    /// `forward`: signs as Standard Webhooks say, `whsec_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// `forward`: what becomes of Retell's own signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retell_signature: Option<RetellSignatureMode>,
    /// `forward`: headers to add.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// `forward`: status codes that mean done; empty means 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success_statuses: Vec<u16>,
    /// `forward`: how many redirects are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_redirects: Option<u8>,

    /// `slack`: message templates by event name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, String>,

    /// `exec`: the program and its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// `exec`: exit codes that mean: try again. Others than 0 and `fail_exit_codes` do too when this is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry_exit_codes: Vec<i32>,
    /// `exec`: exit codes that mean: give up. 100 does when this and `retry_exit_codes` are empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fail_exit_codes: Vec<i32>,
    /// `exec`: how much of what it prints is looked at, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_limit_bytes: Option<u64>,

    /// `file`: the file lines are appended to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// `file`: at which size it is put away and begun anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_bytes: Option<u64>,
    /// `file`: how many that were put away are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_files: Option<u16>,
}

impl HandlerSettings {
    /// What runs when no `[[handlers]]` is configured: `log` and `call_store`, for every event.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        [HandlerKind::Log, HandlerKind::CallStore].map(|kind| Self::new(kind.as_str(), kind)).into()
    }

    /// A table with a name and a kind only.
    #[must_use]
    pub fn new(name: &str, kind: HandlerKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            enabled: true,
            events: Vec::new(),
            agents: Vec::new(),
            companies: Vec::new(),
            call_types: Vec::new(),
            directions: Vec::new(),
            when: None,
            ordering: None,
            concurrency: None,
            timeout_ms: None,
            retry_schedule: None,
            max_age_ms: None,
            ordering_timeout_ms: None,
            revisions: None,
            transcripts: None,
            rate_per_second: None,
            url: None,
            urls: Vec::new(),
            secret: None,
            retell_signature: None,
            headers: BTreeMap::new(),
            success_statuses: Vec::new(),
            max_redirects: None,
            templates: BTreeMap::new(),
            command: Vec::new(),
            retry_exit_codes: Vec::new(),
            fail_exit_codes: Vec::new(),
            output_limit_bytes: None,
            path: None,
            rotate_bytes: None,
            keep_files: None,
        }
    }
}

fn default_true() -> bool {
    true
}
