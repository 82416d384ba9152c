//! The state of a receiver and of its store.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::config::{RetentionDays, RetentionSettings};
use crate::view::EventView;
use crate::view::named_value::named_values;

named_values! {
    /// The state of a handler's circuit breaker.
    BreakerStateView {
        Closed = "closed",
        /// No attempts are made until a pause has passed.
        Open = "open",
        /// A single attempt decides.
        HalfOpen = "half_open",
    }
}

named_values! {
    AlarmKindView {
        DeadDeliveries = "dead_deliveries",
        OldestUndelivered = "oldest_undelivered",
        BreakerOpen = "breaker_open",
        RejectedRequests = "rejected_requests",
        NotStored = "not_stored",
        Silence = "silence",
        Disk = "disk",
        ClockSkew = "clock_skew",
        StoreFiles = "store_files",
    }
}

/// Whether a receiver is up, what it received, and what is waiting. The fields of a store that cannot be read are
/// `None`.
#[derive(Debug, Serialize)]
pub(crate) struct StatusView {
    pub receiver: ReceiverStatusView,
    /// Why what responds is not the receiver of the store; `None` if it is, and if nothing responds.
    pub other_receiver: Option<String>,
    pub events: Option<EventCountsView>,
    /// The latest event that Retell sent.
    pub last_event: Option<EventView>,
    pub handlers: Option<Vec<HandlerStatusView>>,
    /// Raised alarms; those of a receiver that is down were raised when it stopped.
    pub alarms: Option<Vec<AlarmView>>,
    pub store: StoreStatusView,
    pub retention: RetentionView,
    /// What an operator should look into, each with the next step.
    pub warnings: Vec<String>,
}

/// The response of a receiver to the readiness check.
#[derive(Debug, Serialize)]
pub(crate) struct ReceiverStatusView {
    /// Without its password.
    pub url: String,
    /// Whether it responded.
    pub up: bool,
    pub ready: bool,
    /// What the receiver itself warns about.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// The id of its process; `None` without a response, and for a program that is not a receiver.
    pub instance: Option<String>,
    /// The body of the response, a string when it is not JSON; `None` without a response.
    pub response: Option<Value>,
}

/// Numbers of accepted events. Duplicates do not count.
#[derive(Debug, Serialize)]
pub(crate) struct EventCountsView {
    /// Including those that were removed since.
    pub accepted: i64,
    pub accepted_last_hour: i64,
    pub accepted_last_day: i64,
}

/// The unfinished work of a handler. Deliveries are counted up to 10,000, because counting takes time.
#[derive(Debug, Serialize)]
pub(crate) struct HandlerStatusView {
    pub handler: String,
    /// Whether the settings contain the handler and enable it.
    pub configured: bool,
    /// Events without a delivery yet, and pending and running deliveries.
    pub behind: i64,
    pub behind_since_ms: Option<i64>,
    pub pending: i64,
    pub running: i64,
    pub scheduled: i64,
    pub dead: i64,
    pub oldest_undelivered_since_ms: Option<i64>,
    pub breaker: BreakerStateView,
    pub breaker_since_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct AlarmView {
    pub alarm: AlarmKindView,
    /// The handler, company or agent that it is about; `None` when it is about the whole receiver.
    pub subject: Option<String>,
    pub since_ms: i64,
    pub text: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct StoreStatusView {
    /// Where the store is: a path, or a URL without its password.
    pub path: String,
    pub size_bytes: Option<u64>,
    /// The id of the receiver that has, or had, the store open.
    pub instance: Option<String>,
    /// Why the store cannot be read.
    pub error: Option<String>,
}

/// The settings of `[retention]`, and those of companies by slug.
#[derive(Debug, Serialize)]
pub(crate) struct RetentionView {
    pub default: RetentionSettings,
    pub companies: BTreeMap<String, RetentionDays>,
}
