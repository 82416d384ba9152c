//! `[[handlers]]`: where stored events are delivered.

mod delivery;
mod exec;
mod file;
mod kind;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use delivery::DeliveryOrdering;
pub use delivery::DeliverySettings;
pub use delivery::RevisionPolicy;
pub use delivery::TranscriptPolicy;
pub(crate) use exec::ExecSettings;
pub(crate) use exec::ProgramSearchPath;
pub(crate) use file::{FileSettings, find_shared_file};
pub use kind::HandlerKind;
pub(crate) use kind::RetellSignatureMode;

use crate::base::secret::Secret;
use crate::config::CompanySlug;
use crate::config::values::duration_ms;

/// One `[[handlers]]` table: a filter for events, delivery settings, and the settings of the handler's kind.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
pub struct HandlerSettings {
    /// Unique name of 1 to 64 letters, digits, `-` or `_`. The store keeps the handler's position in the journal
    /// under it.
    #[schemars(example = &"crm")]
    pub name: String,
    /// What the handler does with an event.
    #[schemars(example = &"forward")]
    pub kind: HandlerKind,
    /// `false` skips the handler's events; `replay` can deliver them later.
    #[serde(default = "default_true")]
    pub enabled: bool,

    /// Names of the events that are delivered; `*` matches any characters. Empty: all events from Retell. The
    /// receiver's own events (`alarm_*`, `appointment_*`) are delivered only when a name matches them.
    #[serde(default)]
    pub events: Vec<String>,
    /// Ids of the agents whose events are delivered; empty: all agents.
    #[serde(default)]
    pub agents: Vec<String>,
    /// Slugs of the companies whose events are delivered; empty: all companies.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub companies: Vec<CompanySlug>,
    /// Types of the calls whose events are delivered: `phone_call`, `web_call`. Empty: all types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["phone_call"])]
    pub call_types: Vec<String>,
    /// Directions of the calls whose events are delivered: `inbound`, `outbound`. Empty: both directions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["inbound"])]
    pub directions: Vec<String>,
    /// JSONPath (RFC 9535) that must select at least one node of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"$[?@.duration_ms > 60000]")]
    pub when: Option<String>,

    /// Whether the deliveries of a call form a sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "call"))]
    pub ordering: Option<DeliveryOrdering>,
    /// Number of attempts at the same time, 1 to 1000. Kind `call_store`: 256 when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 16))]
    pub concurrency: Option<u16>,
    /// Timeout of one attempt in milliseconds, 100 to 3600000.
    #[serde(rename = "timeout_ms", default, skip_serializing_if = "Option::is_none", with = "duration_ms::option")]
    #[schemars(with = "Option<u64>", extend("default" = 30_000))]
    pub timeout: Option<Duration>,
    /// Delays between attempts, each at most 7 days and varied randomly by up to a fifth. A delivery whose last attempt
    /// failed is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = ["5s", "30s", "2m", "10m", "1h", "6h", "24h"]))]
    pub retry_schedule: Option<Vec<String>>,
    /// Age in milliseconds at which a delivery is dead, attempted or not, at least 1000.
    #[serde(rename = "max_age_ms", default, skip_serializing_if = "Option::is_none", with = "duration_ms::option")]
    #[schemars(with = "Option<u64>", extend("default" = 259_200_000))]
    pub max_age: Option<Duration>,
    /// Milliseconds for which a delivery that waits for its next attempt blocks later deliveries of its call.
    #[serde(
        rename = "ordering_timeout_ms",
        default,
        skip_serializing_if = "Option::is_none",
        with = "duration_ms::option"
    )]
    #[schemars(with = "Option<u64>", extend("default" = 600_000))]
    pub ordering_timeout: Option<Duration>,
    /// Whether revisions, further bodies of an event that was received before, are delivered. Kind `slack`: `skip` when
    /// unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "deliver"))]
    pub revisions: Option<RevisionPolicy>,
    /// Which `transcript_updated` events are delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "all"))]
    pub transcripts: Option<TranscriptPolicy>,
    /// Maximum number of attempts per second, at least 1. Unset: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &10)]
    pub rate_per_second: Option<u32>,

    /// Kinds `forward` and `slack`: destination URL. It is displayed without its path, which may hold a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"https://example.com/hook")]
    pub url: Option<Secret>,
    /// Kind `forward`: several destinations instead of `url`, each with separate deliveries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>", example = ["https://a.example/hook", "https://b.example/hook"])]
    pub urls: Vec<Secret>,
    /// Kind `forward`: secret that signs requests as in Standard Webhooks, `whsec_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"whsec_...")]
    pub secret: Option<Secret>,
    /// Kind `forward`: what the `X-Retell-Signature` header of requests holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "none"))]
    pub retell_signature: Option<RetellSignatureMode>,
    /// Kind `forward`: additional request headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>", extend("examples" = [{"authorization": "Bearer ..."}]))]
    pub headers: BTreeMap<String, Secret>,
    /// Kind `forward`: status codes that count as success, from 200 to 599. Empty: 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = [200, 201, 202, 204])]
    pub success_statuses: Vec<u16>,
    /// Kind `forward`: number of redirects that are followed, at most 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 0))]
    pub max_redirects: Option<u8>,

    /// Kind `slack`: message templates by event name. An empty template sends no message.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("examples" = [{"call_ended": "{{ who }}: {{ outcome }}"}]))]
    pub templates: BTreeMap<String, String>,

    /// Kind `exec`: the program and its arguments, run without a shell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["/usr/local/bin/on-call"])]
    pub command: Vec<String>,
    /// Kind `exec`: exit codes after which the delivery is retried. Empty: every code except 0 and `fail_exit_codes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = [69, 75])]
    pub retry_exit_codes: Vec<i32>,
    /// Kind `exec`: exit codes after which the delivery is dead. Code 100 is one when this list and
    /// `retry_exit_codes` are empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = [65])]
    pub fail_exit_codes: Vec<i32>,
    /// Kind `exec`: bytes of the program's output that are kept in memory, at most 16777216. The rest is discarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 65_536))]
    pub output_limit_bytes: Option<u64>,

    /// Kind `file`: the file that lines are appended to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"data/events.jsonl")]
    pub path: Option<PathBuf>,
    /// Kind `file`: size in bytes at which the file is rotated, at least 1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 104_857_600))]
    pub rotate_bytes: Option<u64>,
    /// Kind `file`: number of rotated files that are kept, 1 to 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 10))]
    pub keep_files: Option<u16>,
}

impl HandlerSettings {
    /// The handlers without any `[[handlers]]` table: `log` and `call_store`, for every event.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        [HandlerKind::Log, HandlerKind::CallStore].map(|kind| Self::new(kind.as_str(), kind)).into()
    }

    /// Adds the built-in handlers that no table replaces. A table replaces the one whose kind or name it has; with
    /// `enabled = false` it only turns it off.
    pub(crate) fn add_built_in(tables: &mut Vec<Self>) {
        for built_in in Self::defaults() {
            let replaces = |table: &Self| table.kind == built_in.kind || table.name == built_in.name;
            if !tables.iter().any(replaces) {
                tables.push(built_in);
            }
        }
    }

    /// A table with this name and kind in which every other key is unset.
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
            timeout: None,
            retry_schedule: None,
            max_age: None,
            ordering_timeout: None,
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
