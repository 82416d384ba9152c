//! Latency, cost and token figures.

use super::json_number::JsonNumber;
use super::lazy_json::LazyJson;
use super::open_object::{json_key, open_object};

open_object! {
    /// `latency` of a call, by stage.
    pub struct Latency {
        /// From the end of the user's words to the beginning of the agent's.
        pub e2e: LatencyStats,
        /// Speech recognition.
        pub asr: LatencyStats,
        /// Language model.
        pub llm: LatencyStats,
        /// Round trip to a custom model's socket.
        pub llm_websocket_network_rtt: LatencyStats,
        /// Speech synthesis.
        pub tts: LatencyStats,
        /// Knowledge base look-up.
        pub knowledge_base: LatencyStats,
        /// Speech-to-speech model.
        pub s2s: LatencyStats,
    }
}

open_object! {
    /// Distribution of one latency. Milliseconds, except `num`.
    pub struct LatencyStats shows(p50, p90, p95, p99, max, min, num) {
        /// Median.
        pub p50: JsonNumber,
        /// 90th percentile.
        pub p90: JsonNumber,
        /// 95th percentile.
        pub p95: JsonNumber,
        /// 99th percentile.
        pub p99: JsonNumber,
        /// Largest.
        pub max: JsonNumber,
        /// Smallest.
        pub min: JsonNumber,
        /// How many were measured.
        pub num: JsonNumber,
        /// Each measurement.
        pub values: LazyJson<Vec<JsonNumber>>,
    }
}

open_object! {
    /// `call_cost`. Amounts are cents with decimals. Captured events held fewer keys than the contract gives.
    pub struct CallCost shows(total_duration_seconds, total_duration_unit_price, combined_cost) {
        /// Cost by product.
        pub product_costs: Vec<ProductCost>,
        /// Billed seconds.
        pub total_duration_seconds: JsonNumber,
        /// Cents per second, all products together.
        pub total_duration_unit_price: JsonNumber,
        /// Total in cents.
        pub combined_cost: JsonNumber,
    }
}

open_object! {
    /// `chat_cost`. Amounts are cents with decimals.
    pub struct ChatCost shows(combined_cost) {
        /// Cost by product.
        pub product_costs: Vec<ProductCost>,
        /// Total in cents.
        pub combined_cost: JsonNumber,
    }
}

open_object! {
    /// One line of a bill.
    pub struct ProductCost shows(product, cost, unit_price) {
        /// Name of the product.
        pub product: String,
        /// Cents.
        pub cost: JsonNumber,
        /// Cents per second.
        pub unit_price: JsonNumber,
        /// Whether it belongs to the transferred leg.
        pub is_transfer_leg_cost: bool,
    }
}

open_object! {
    /// `llm_token_usage` of a call.
    pub struct TokenUsage shows(average, num_requests) {
        /// Tokens of each request.
        pub values: LazyJson<Vec<JsonNumber>>,
        /// Mean tokens of a request.
        pub average: JsonNumber,
        /// How many requests.
        pub num_requests: JsonNumber,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_list_shows_only_when_parsed() {
        let usage: TokenUsage = serde_json::from_str(r#"{"values":[1,"x"],"average":1.50}"#).unwrap();
        let values = usage.values.clone().unwrap();
        assert!(values.parse().is_err());
        assert_eq!(usage.average.map(|n| n.to_string()).as_deref(), Some("1.50"));
        assert_eq!(values.as_str(), r#"[1,"x"]"#);
    }
}
