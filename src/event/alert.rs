//! Incidents that alert rules raise and resolve.

use super::json::json_number::JsonNumber;
use super::json::open_enum::open_enum;
use super::json::open_object::{json_key, open_object};
use super::json::raw_json::RawJson;

open_object! {
    /// `alert`: an incident and the rule that raised it. Retell sends `alert_triggered` and `alert_resolved` once
    /// each, without retries.
    pub struct Alert debug(alert_incident_id, alert_rule_id, org_id, metric_type, current_value) {
        /// Id of the incident, the same on `alert_triggered` and `alert_resolved`.
        pub alert_incident_id: String,
        /// Id of the Retell workspace that owns the rule.
        pub org_id: String,
        /// Id of the rule that raised the incident.
        pub alert_rule_id: String,
        /// Name of the rule when the incident was raised.
        pub name: String,
        /// The metric that the rule watches.
        pub metric_type: MetricType,
        /// Filter that selects the calls or chats to measure, such as agents and tags.
        pub filter: RawJson,
        /// Whether the threshold is a value or a change against the previous window.
        pub threshold_type: ThresholdType,
        /// The threshold: for absolute ones in the unit of the metric (cents for costs), for relative ones in
        /// percent.
        pub threshold_value: JsonNumber,
        /// Comparison of the measured value with the threshold.
        pub comparator: Comparator,
        /// Interval between two evaluations of the rule: `1m`, `5m`, `30m`, `1h`, `12h` or `24h`.
        pub frequency: String,
        /// Length of the measured time window, from `1m` to `7d`.
        pub window: String,
        /// E-mail addresses that are notified.
        pub emails: Vec<String>,
        /// Webhook URLs that are notified, this receiver's among them.
        pub webhook_urls: Vec<String>,
        /// Measured value that raised or resolved the incident.
        pub current_value: JsonNumber,
        /// Value of the previous window; null for absolute thresholds.
        pub previous_value: JsonNumber,
        /// When the incident was raised, in milliseconds since the Unix epoch.
        pub triggered_timestamp: i64,
        /// When the incident was resolved, in milliseconds since the Unix epoch; null on `alert_triggered`.
        pub resolved_timestamp: i64,
    }
}

open_enum! {
    /// The metric that an alert rule watches.
    pub enum MetricType {
        /// Number of calls in the window.
        CallCount = "call_count",
        /// Number of calls in progress at the same time.
        ConcurrencyUsed = "concurrency_used",
        /// Share of calls whose analysis says `call_successful`.
        CallSuccessRate = "call_success_rate",
        /// Share of calls whose user sentiment is negative.
        NegativeSentimentRate = "negative_sentiment_rate",
        /// Response time of custom functions.
        CustomFunctionLatency = "custom_function_latency",
        /// Number of failed custom function requests.
        CustomFunctionFailureCount = "custom_function_failure_count",
        /// Number of call transfers that failed.
        TransferCallFailureCount = "transfer_call_failure_count",
        /// Number of calls that failed quality assurance.
        QaNotPassedCount = "qa_not_passed_count",
        /// Total cost of calls, in cents.
        TotalCallCost = "total_call_cost",
        /// Number of errors answered by Retell's API.
        ApiErrorCount = "api_error_count",
        /// Number of chats in the window.
        ChatCount = "chat_count",
        /// Share of chats whose analysis says `chat_successful`.
        ChatSuccessRate = "chat_success_rate",
        /// Share of chats whose user sentiment is negative.
        ChatNegativeSentimentRate = "chat_negative_sentiment_rate",
        /// Total cost of chats, in cents.
        TotalChatCost = "total_chat_cost",
    }
}

open_enum! {
    /// How `threshold_value` is compared with the metric.
    pub enum ThresholdType {
        /// The threshold is a value of the metric.
        Absolute = "absolute",
        /// The threshold is a change in percent against the previous window.
        Relative = "relative",
    }
}

open_enum! {
    /// Comparison of a measured value with the threshold. The documentation also allows symbols such as `>`; these
    /// become [`Other`](Self::Other).
    pub enum Comparator {
        /// The value is greater than the threshold.
        Gt = "gt",
        /// The value is greater than or equal to the threshold.
        Ge = "ge",
        /// The value is less than the threshold.
        Lt = "lt",
        /// The value is less than or equal to the threshold.
        Le = "le",
    }
}
