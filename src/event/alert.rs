//! Incidents of alert rules.

use super::json_number::JsonNumber;
use super::open_enum::open_enum;
use super::open_object::{json_key, open_object};
use super::raw_json::RawJson;

open_object! {
    /// `alert`: an incident with the rule that raised it. Retell sends each of its two events once, without retry.
    pub struct Alert shows(alert_incident_id, alert_rule_id, org_id, metric_type, current_value) {
        /// Id of the incident, the same on both events.
        pub alert_incident_id: String,
        /// The workspace.
        pub org_id: String,
        /// The rule.
        pub alert_rule_id: String,
        /// Name of the rule.
        pub name: String,
        /// What is measured.
        pub metric_type: MetricType,
        /// Which calls or chats count.
        pub filter: RawJson,
        /// How the threshold is meant.
        pub threshold_type: ThresholdType,
        /// The threshold, in the unit of the metric (cents for costs) or in percent.
        pub threshold_value: JsonNumber,
        /// How the value is compared with the threshold.
        pub comparator: Comparator,
        /// How often the rule is looked at, such as `5m`.
        pub frequency: String,
        /// The span measured, such as `1h`.
        pub window: String,
        /// Who is told by mail.
        pub emails: Vec<String>,
        /// Which addresses are told.
        pub webhook_urls: Vec<String>,
        /// The value that raised or closed the incident.
        pub current_value: JsonNumber,
        /// The value of the span before; null for absolute thresholds.
        pub previous_value: JsonNumber,
        /// When it was raised, ms since 1970.
        pub triggered_timestamp: i64,
        /// When it was closed, ms since 1970; null while open.
        pub resolved_timestamp: i64,
    }
}

open_enum! {
    /// What a rule measures.
    pub enum MetricType {
        /// Number of calls.
        CallCount = "call_count",
        /// Slots in use.
        ConcurrencyUsed = "concurrency_used",
        /// Share of successful calls.
        CallSuccessRate = "call_success_rate",
        /// Share of calls with a negative mood.
        NegativeSentimentRate = "negative_sentiment_rate",
        /// Latency of custom functions.
        CustomFunctionLatency = "custom_function_latency",
        /// Failures of custom functions.
        CustomFunctionFailureCount = "custom_function_failure_count",
        /// Failed transfers.
        TransferCallFailureCount = "transfer_call_failure_count",
        /// Calls that failed quality assurance.
        QaNotPassedCount = "qa_not_passed_count",
        /// Cost of calls, cents.
        TotalCallCost = "total_call_cost",
        /// Errors of the API.
        ApiErrorCount = "api_error_count",
        /// Number of chats.
        ChatCount = "chat_count",
        /// Share of successful chats.
        ChatSuccessRate = "chat_success_rate",
        /// Share of chats with a negative mood.
        ChatNegativeSentimentRate = "chat_negative_sentiment_rate",
        /// Cost of chats, cents.
        TotalChatCost = "total_chat_cost",
    }
}

open_enum! {
    /// How a threshold is meant.
    pub enum ThresholdType {
        /// A value of the metric.
        Absolute = "absolute",
        /// A change against the span before.
        Relative = "relative",
    }
}

open_enum! {
    /// How a value is compared. The documentation also allows the symbols; they are kept as `Other`.
    pub enum Comparator {
        /// Greater.
        Gt = "gt",
        /// Greater or equal.
        Ge = "ge",
        /// Less.
        Lt = "lt",
        /// Less or equal.
        Le = "le",
    }
}
