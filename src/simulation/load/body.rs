//! Request bodies that all differ, so that none is a duplicate.
//!
//! The unique part of the call id is at the end of each body. Retell does not guarantee an order of the members of an
//! object, and everything before the id can be hashed once for all requests.

use serde_json::Value;

use crate::simulation::call::{CallEnding, SimulatedCall};

/// The text after the unique part of the call id.
pub(super) const BODY_SUFFIX: &[u8; 3] = b"\"}}";
/// Number of hex digits in the unique part of a call id.
pub(super) const UNIQUE_DIGITS: usize = 27;
/// Prefix of all call ids of a load.
const CALL_ID_PREFIX: &str = "call_test_";
/// Number of bodies per size. They differ in people, words and times.
const VARIANTS_PER_SIZE: u64 = 16;
/// Length of a conversation that fills the largest body.
const CONVERSATION_MS: u32 = 240_000;
/// Every load has the same conversations.
const SEED: u64 = 0x5eed;

/// The size of the bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBodySize {
    /// About 0.6 kB, as `call_started`.
    Small,
    /// About 12 kB, as `call_ended`.
    Medium,
    /// About 40 kB, as `call_analyzed`.
    Large,
    /// The three sizes, one after the other.
    Mix,
}

impl LoadBodySize {
    /// All values, in the order in which help texts list them.
    pub const ALL: [Self; 4] = [Self::Small, Self::Medium, Self::Large, Self::Mix];

    /// The value of the option that selects the size.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
            Self::Mix => "mix",
        }
    }

    /// The sizes of consecutive requests, repeated.
    fn rotation(self) -> &'static [Self] {
        match self {
            Self::Small => &[Self::Small],
            Self::Medium => &[Self::Medium],
            Self::Large => &[Self::Large],
            Self::Mix => &[Self::Small, Self::Medium, Self::Large],
        }
    }

    /// `None` for an event without a conversation.
    fn max_bytes(self) -> Option<usize> {
        match self {
            Self::Small | Self::Mix => None,
            Self::Medium => Some(12 * 1024),
            Self::Large => Some(40 * 1024),
        }
    }
}

/// The bodies up to the unique part of the call id, in the order of their use.
pub(super) fn body_prefixes(size: LoadBodySize, now_ms: i64) -> Result<Vec<String>, serde_json::Error> {
    let variants = (0..VARIANTS_PER_SIZE).flat_map(|variant| size.rotation().iter().map(move |size| (*size, variant)));
    variants.map(|(size, variant)| body_prefix(size, variant, now_ms)).collect()
}

fn body_prefix(size: LoadBodySize, variant: u64, now_ms: i64) -> Result<String, serde_json::Error> {
    let call = SimulatedCall::new(SEED, variant, now_ms);
    let Some(max_bytes) = size.max_bytes() else { return with_id_at_end(&call.call_started()) };
    let mut call = call.extended_to(CONVERSATION_MS, now_ms);
    loop {
        let body = match variant % 2 {
            0 => call.call_ended(CallEnding::HungUp),
            _ => call.call_analyzed(CallEnding::HungUp),
        };
        if body.len() <= max_bytes || call.turns.is_empty() {
            return with_id_at_end(&body);
        }
        // Most of the body is the conversation, so this is close to the size at once.
        let fitting = call.turns.len() * max_bytes / body.len();
        call.turns.truncate(fitting.min(call.turns.len() - 1));
    }
}

/// The event without the end of its call id and what follows.
fn with_id_at_end(body: &[u8]) -> Result<String, serde_json::Error> {
    let mut event: Value = serde_json::from_slice(body)?;
    if let Some(call) = event["call"].as_object_mut() {
        call.remove("call_id");
    }
    let mut call = event["call"].to_string();
    call.pop(); // the brace that closes the call, because the id follows
    Ok(format!(r#"{{"event":{},"call":{call},"call_id":"{CALL_ID_PREFIX}"#, event["event"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_events_of_the_requested_size_with_the_id_at_the_end() {
        for (size, size_bytes, count) in [
            (LoadBodySize::Small, 400..1_000, 16),
            (LoadBodySize::Medium, 9_000..12_400, 16),
            (LoadBodySize::Large, 36_000..41_100, 16),
            (LoadBodySize::Mix, 400..42_000, 48),
        ] {
            let prefixes = body_prefixes(size, 1_790_000_000_000).unwrap();
            assert_eq!(prefixes.len(), count);
            for prefix in prefixes {
                let body = format!("{prefix}{}\"}}}}", "0".repeat(UNIQUE_DIGITS));
                assert!(size_bytes.contains(&body.len()), "{size:?}: {}", body.len());
                let event: Value = serde_json::from_str(&body).unwrap();
                assert_eq!(event["call"]["call_id"].as_str().unwrap(), format!("call_test_{}", "0".repeat(27)));
                assert!(event["call"]["agent_id"].is_string() && event["event"].is_string());
            }
        }
    }
}
