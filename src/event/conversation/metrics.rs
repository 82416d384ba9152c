//! Latency, cost and token usage of calls and chats.

use crate::event::json::json_number::JsonNumber;
use crate::event::json::lazy_json::LazyJson;
use crate::event::json::open_object::{json_key, open_object};

open_object! {
    /// `latency` of a call, by stage. A stage is present only when the call used it.
    pub struct Latency {
        /// End to end: from the end of the user's words to the beginning of the agent's, without the network to the
        /// user.
        pub e2e: LatencyStats,
        /// Speech recognition (transcription) of the user's audio.
        pub asr: LatencyStats,
        /// Language model: from the request to the first chunk that can be spoken.
        pub llm: LatencyStats,
        /// Network round trip to the WebSocket of a custom model; custom models only.
        pub llm_websocket_network_rtt: LatencyStats,
        /// Speech synthesis: from its start to the first byte of audio.
        pub tts: LatencyStats,
        /// Retrieval from the knowledge base; only for agents that use one.
        pub knowledge_base: LatencyStats,
        /// Speech-to-speech model: from the request to the first byte; only for agents that use one.
        pub s2s: LatencyStats,
    }
}

open_object! {
    /// Distribution of one latency. All values except `num` are milliseconds.
    pub struct LatencyStats debug(p50, p90, p95, p99, max, min, num) {
        /// Median latency in milliseconds (50th percentile).
        pub p50: JsonNumber,
        /// 90th percentile of the latency, in milliseconds.
        pub p90: JsonNumber,
        /// 95th percentile of the latency, in milliseconds.
        pub p95: JsonNumber,
        /// 99th percentile of the latency, in milliseconds.
        pub p99: JsonNumber,
        /// Largest measured latency, in milliseconds.
        pub max: JsonNumber,
        /// Smallest measured latency, in milliseconds.
        pub min: JsonNumber,
        /// Number of measurements the distribution is made of.
        pub num: JsonNumber,
        /// All measurements in order, in milliseconds.
        pub values: LazyJson<Vec<JsonNumber>>,
    }
}

open_object! {
    /// `call_cost`: the cost of a call. Amounts are cents with decimals. Captured events had fewer fields than the
    /// contract lists.
    pub struct CallCost debug(total_duration_seconds, total_duration_unit_price, combined_cost) {
        /// Cost of every product that was used, such as telephony, voice and model.
        pub product_costs: Vec<ProductCost>,
        /// Duration of the call in seconds, as billed.
        pub total_duration_seconds: JsonNumber,
        /// Price of all products together, in cents per second.
        pub total_duration_unit_price: JsonNumber,
        /// Total of all products, in cents.
        pub combined_cost: JsonNumber,
    }
}

open_object! {
    /// `chat_cost`: the cost of a chat. Amounts are cents with decimals.
    pub struct ChatCost debug(combined_cost) {
        /// Cost of every product that was used, such as telephony, voice and model.
        pub product_costs: Vec<ProductCost>,
        /// Total of all products, in cents.
        pub combined_cost: JsonNumber,
    }
}

open_object! {
    /// Cost of one product in a call or chat.
    pub struct ProductCost debug(product, cost, unit_price) {
        /// Name of the product, such as `elevenlabs_tts` or `us_telephony`.
        pub product: String,
        /// Cost of the product for the whole call or chat, in cents.
        pub cost: JsonNumber,
        /// Price of the product, in cents per second.
        pub unit_price: JsonNumber,
        /// Whether the cost belongs to the transferred leg of the call.
        pub is_transfer_leg_cost: bool,
    }
}

open_object! {
    /// `llm_token_usage` of a call. Absent for custom and speech-to-speech models.
    pub struct TokenUsage debug(average, num_requests) {
        /// Number of tokens of every request to the model.
        pub values: LazyJson<Vec<JsonNumber>>,
        /// Average number of tokens per request.
        pub average: JsonNumber,
        /// Number of requests to the model.
        pub num_requests: JsonNumber,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_element_type_is_reported_by_parse_only() {
        let usage: TokenUsage = serde_json::from_str(r#"{"values":[1,"x"],"average":1.50}"#).unwrap();
        let values = usage.values.clone().unwrap();
        assert!(values.parse().is_err());
        assert_eq!(usage.average.map(|n| n.to_string()).as_deref(), Some("1.50"));
        assert_eq!(values.as_str(), r#"[1,"x"]"#);
    }
}
