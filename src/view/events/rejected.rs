use std::collections::BTreeMap;

use serde::Serialize;

use crate::security::rejection_reason::RejectionReason;

/// A rejected request without its body.
#[derive(Debug, Serialize)]
pub(crate) struct RejectedRequestView {
    pub id: String,
    /// The slug of the company to whose route it was sent.
    pub company: Option<String>,
    pub received_at_ms: i64,
    /// The IP address of the sender.
    pub source: Option<String>,
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// Headers without secrets, by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// `None` when the body was not read.
    pub size_bytes: Option<u64>,
    pub reason: RejectionReason,
    /// Why the request was rejected and what to do.
    pub diagnosis: String,
    /// Whether the body is stored.
    pub has_body: bool,
}
