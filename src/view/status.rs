//! The state of a receiver and its store.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::EventView;
use crate::config::{RetentionDays, RetentionSettings};

/// Whether the receiver is up, what it received, and what is waiting. What is read from the store is `None` when the
/// store cannot be read.
#[derive(Debug, Serialize)]
pub(crate) struct StatusView {
    pub receiver: ReceiverStatusView,
    pub events: Option<EventCountsView>,
    /// The latest event from Retell.
    pub last_event: Option<EventView>,
    pub handlers: Option<Vec<BacklogView>>,
    /// Raised alarms; those of a receiver that is down were raised when it stopped.
    pub alarms: Option<Vec<AlarmView>>,
    pub store: StoreStatusView,
    pub retention: RetentionView,
    pub warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ReceiverStatusView {
    pub url: String,
    pub up: bool,
    pub ready: bool,
    /// The response of `/health/ready`; a string when it is not JSON.
    pub response: Option<Value>,
}

/// Numbers of accepted events, including those that were removed since.
#[derive(Debug, Serialize)]
pub(crate) struct EventCountsView {
    pub accepted: i64,
    pub accepted_last_hour: i64,
    pub accepted_last_day: i64,
}

/// The unfinished work of a handler. Counting stops at a maximum.
#[derive(Debug, Serialize)]
pub(crate) struct BacklogView {
    pub handler: String,
    /// Events without a delivery yet, and pending and running deliveries.
    pub behind: i64,
    pub behind_since_ms: Option<i64>,
    pub pending: i64,
    pub running: i64,
    pub scheduled: i64,
    pub dead: i64,
    pub oldest_undelivered_since_ms: Option<i64>,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// Since when the breaker is not closed.
    pub breaker_since_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct AlarmView {
    /// The kind of alarm, such as `rejected_requests`.
    pub alarm: String,
    /// The handler, company or agent; `None` when it is about the whole receiver.
    pub subject: Option<String>,
    pub since_ms: i64,
    /// What is wrong and what to do about it.
    pub text: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct StoreStatusView {
    pub path: String,
    pub size_bytes: Option<u64>,
    /// Why the store cannot be read.
    pub error: Option<String>,
}

/// The settings of `[retention]`, and those of companies by slug.
#[derive(Debug, Serialize)]
pub(crate) struct RetentionView {
    pub default: RetentionSettings,
    pub companies: BTreeMap<String, RetentionDays>,
}
