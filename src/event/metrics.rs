//! Latency, cost and token figures.

use super::deferred::Deferred;
use super::number::Number;
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
        pub p50: Number,
        /// 90th percentile.
        pub p90: Number,
        /// 95th percentile.
        pub p95: Number,
        /// 99th percentile.
        pub p99: Number,
        /// Largest.
        pub max: Number,
        /// Smallest.
        pub min: Number,
        /// How many were measured.
        pub num: Number,
        /// Each measurement.
        pub values: Deferred<Vec<Number>>,
    }
}

open_object! {
    /// `call_cost`. Amounts are cents with decimals. Captured events held fewer keys than the contract gives.
    pub struct CallCost shows(total_duration_seconds, total_duration_unit_price, combined_cost) {
        /// Cost by product.
        pub product_costs: Vec<ProductCost>,
        /// Billed seconds.
        pub total_duration_seconds: Number,
        /// Cents per second, all products together.
        pub total_duration_unit_price: Number,
        /// Total in cents.
        pub combined_cost: Number,
    }
}

open_object! {
    /// `chat_cost`. Amounts are cents with decimals.
    pub struct ChatCost shows(combined_cost) {
        /// Cost by product.
        pub product_costs: Vec<ProductCost>,
        /// Total in cents.
        pub combined_cost: Number,
    }
}

open_object! {
    /// One line of a bill.
    pub struct ProductCost shows(product, cost, unit_price) {
        /// Name of the product.
        pub product: String,
        /// Cents.
        pub cost: Number,
        /// Cents per second.
        pub unit_price: Number,
        /// Whether it belongs to the transferred leg.
        pub is_transfer_leg_cost: bool,
    }
}

open_object! {
    /// `llm_token_usage` of a call.
    pub struct TokenUsage shows(average, num_requests) {
        /// Tokens of each request.
        pub values: Deferred<Vec<Number>>,
        /// Mean tokens of a request.
        pub average: Number,
        /// How many requests.
        pub num_requests: Number,
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
        assert_eq!(values.as_json(), r#"[1,"x"]"#);
    }
}
