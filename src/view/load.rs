//! The result of a load on a receiver.

use std::collections::BTreeMap;

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct LoadReportView {
    /// Number of accepted requests.
    pub accepted: u64,
    /// Accepted requests per second.
    pub per_second: f64,
    pub seconds: f64,
    /// Sum of the sizes of the answered requests' bodies.
    pub body_bytes: u64,
    /// Quantiles and maximum of the latency in milliseconds, by their names `p50` to `p99.9` and `max`.
    pub latency_ms: BTreeMap<&'static str, f64>,
    /// Number of requests that were not accepted, by status or reason.
    pub failed: BTreeMap<String, u64>,
    /// Number of due requests that were not sent, because no connection was free until the end.
    pub not_sent: u64,
    /// Whether every due request was sent and accepted.
    #[serde(skip)]
    pub ok: bool,
}
