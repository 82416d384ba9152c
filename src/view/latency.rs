//! Numbers and durations of attempts or invocations.

use std::collections::BTreeMap;

use serde::Serialize;

/// Numbers and durations by group.
#[derive(Serialize)]
pub(crate) struct LatencyStatsView {
    /// The start of the first hour that is counted, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// The end of the last hour that is counted.
    pub until_ms: Option<i64>,
    pub groups: Vec<LatencyGroupView>,
}

#[derive(Serialize)]
pub(crate) struct LatencyGroupView {
    /// The handler, the function or the slug of the company; `None` for a group of a time.
    pub key: Option<String>,
    /// The start of the day or hour, in milliseconds since the Unix epoch.
    pub start_ms: Option<i64>,
    pub count: u64,
    pub by_outcome: BTreeMap<String, u64>,
    /// The time within which half of them ended; at most a quarter more than measured, as the others.
    pub p50_ms: Option<u64>,
    pub p90_ms: Option<u64>,
    pub p99_ms: Option<u64>,
}
