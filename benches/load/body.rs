//! Event bodies in the form that Retell sends, filled with pseudo-random words.
//!
//! The template ends directly before the unique part of the call id. Retell does not guarantee an order of the
//! members of an object, and with the id last, everything before it can be hashed once (see `RequestTemplate`).

use std::fmt::Write;

use serde_json::{Value, json};

use crate::BenchError;
use crate::args::RequestSize;

/// The text after the unique part of the call id.
pub const BODY_SUFFIX: &[u8; 3] = b"\"}}";

/// Number of hex digits in the unique part of a call id.
pub const UNIQUE_DIGITS: usize = 27;

/// Prefix of all call ids of the benchmark.
const CALL_ID_PREFIX: &str = "call_test_";

/// The words of the generated conversations.
const VOCABULARY: &str = "I you the appointment Thursday would like to please confirm number \
    address calling about delivery which arrived yesterday and morning afternoon quarter past \
    nine thank very much that's fine could repeat it once more invoice café Müller street is \
    in transit certainly let me check for señora";

/// A small generator of pseudo-random numbers (splitmix64) and words.
pub struct RandomWords {
    state: u64,
    words: Vec<&'static str>,
}

impl RandomWords {
    pub fn new(seed: u64) -> Self {
        let words = VOCABULARY.split_whitespace().collect();
        Self { state: seed, words }
    }

    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        splitmix64(self.state)
    }

    /// A number from `low` up to but not including `high`.
    fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next_u64() % (high - low)
    }

    fn hex_digits(&mut self, digits: usize) -> String {
        let mut text = String::new();
        while text.len() < digits {
            text += &format!("{:016x}", self.next_u64());
        }
        text.truncate(digits);
        text
    }

    fn word(&mut self) -> &'static str {
        let index = self.next_u64() % self.words.len() as u64;
        self.words[usize::try_from(index).unwrap_or(0)]
    }
}

/// The mixing step of splitmix64. It is a bijection, so different sequence numbers give different call ids.
pub fn splitmix64(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The text of an event of about the requested size, up to the unique part of the call id.
pub fn event_template(
    size: RequestSize,
    variant: u64,
    now: u64,
    random: &mut RandomWords,
) -> Result<String, BenchError> {
    let (name, bytes) = match (size, variant % 2) {
        (RequestSize::Small | RequestSize::Mix, _) => ("call_started", 0),
        (RequestSize::Medium, 0) => ("call_ended", 12 * 1024),
        (RequestSize::Medium, _) => ("call_analyzed", 12 * 1024),
        (RequestSize::Large, 0) => ("call_ended", 40 * 1024),
        (RequestSize::Large, _) => ("call_analyzed", 40 * 1024),
    };
    let mut call = call_started_fields(now, random);
    if name != "call_started" {
        merge_fields(&mut call, call_ended_fields(now, random));
    }
    if name == "call_analyzed" {
        merge_fields(&mut call, json!({"call_analysis": call_analysis(random)}));
    }
    let mut text = format!(r#"{{"event":"{name}","call":{call}"#);
    text.pop(); // the brace that closes the call, because more members follow
    if bytes > 0 {
        let room = bytes - text.len();
        text += &transcript_fields(room, random);
    }
    write!(text, r#","call_id":"{CALL_ID_PREFIX}"#)?;
    check_is_json(&text)?;
    Ok(text)
}

/// A malformed template would invalidate the whole measurement.
fn check_is_json(text: &str) -> Result<(), BenchError> {
    let whole = format!("{text}{}\"}}}}", "0".repeat(UNIQUE_DIGITS));
    match serde_json::from_str::<Value>(&whole) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("a request body is not JSON: {error}").into()),
    }
}

fn merge_fields(call: &mut Value, more: Value) {
    if let (Value::Object(call), Value::Object(more)) = (call, more) {
        call.extend(more);
    }
}

fn call_started_fields(now: u64, random: &mut RandomWords) -> Value {
    json!({
        "call_type": "phone_call",
        "agent_id": format!("agent_{}", random.hex_digits(30)),
        "agent_version": random.range(0, 40),
        "agent_name": format!("Front desk {}", random.word()),
        "call_status": "ongoing",
        "from_number": format!("+1415555{:04}", random.range(100, 200)),
        "to_number": format!("+1212555{:04}", random.range(100, 200)),
        "direction": "inbound",
        "telephony_identifier": {"twilio_call_sid": format!("CA{}", random.hex_digits(32))},
        "metadata": {"ticket": random.range(1000, 10_000_000)},
        "retell_llm_dynamic_variables": {"customer_name": random.word()},
        "start_timestamp": now - random.range(1000, 600_000),
        "data_storage_setting": "everything",
        "opt_out_sensitive_data_storage": false,
    })
}

fn call_ended_fields(now: u64, random: &mut RandomWords) -> Value {
    let folder = random.hex_digits(32);
    json!({
        "call_status": "ended",
        "end_timestamp": now,
        "duration_ms": random.range(20_000, 600_000),
        "disconnection_reason": "user_hangup",
        "recording_url": format!("https://recordings.example.com/{folder}/recording.wav"),
        "public_log_url": format!("https://recordings.example.com/{folder}/public.log"),
        "latency": {
            "e2e": {"p50": random.range(600, 900), "p90": 1290, "p99": 1904, "num": 14},
            "llm": {"p50": random.range(300, 500), "p90": 702, "p99": 1103, "num": 14},
        },
        "call_cost": {
            "product_costs": [{"product": "elevenlabs_tts", "unit_price": 0.116_667, "cost": 7}],
            "total_duration_seconds": random.range(20, 600),
            "combined_cost": 8.25,
        },
    })
}

fn call_analysis(random: &mut RandomWords) -> Value {
    let summary: Vec<&str> = (0..30).map(|_| random.word()).collect();
    json!({
        "call_summary": summary.join(" "),
        "in_voicemail": false,
        "user_sentiment": "Positive",
        "call_successful": true,
        "custom_analysis_data": {"topic": random.word(), "rating": random.range(1, 6)},
    })
}

/// The conversation as text and as utterances with word times, in about `room` bytes.
fn transcript_fields(room: usize, random: &mut RandomWords) -> String {
    let mut text = String::new();
    let mut turns = String::new();
    let mut clock = 0.4;
    let mut role = "agent";
    while text.len() + turns.len() + 600 < room {
        let (content, words) = transcript_turn(&mut clock, random);
        let speaker = if role == "agent" { "Agent" } else { "User" };
        text += &format!(r"{speaker}: {content}\n");
        if !turns.is_empty() {
            turns.push(',');
        }
        turns += &format!(r#"{{"role":"{role}","content":"{content}","words":[{words}]}}"#);
        role = if role == "agent" { "user" } else { "agent" };
    }
    format!(r#","transcript":"{text}","transcript_object":[{turns}]"#)
}

/// One turn of the conversation: its text and its words as JSON.
fn transcript_turn(clock: &mut f64, random: &mut RandomWords) -> (String, String) {
    let mut content = String::new();
    let mut words = String::new();
    for index in 0..random.range(4, 16) {
        let word = random.word();
        let start = *clock;
        let end = start + random.range(80, 600) as f64 / 1000.0;
        *clock = end + random.range(5, 90) as f64 / 1000.0;
        if index > 0 {
            content.push(' ');
            words.push(',');
        }
        content += word;
        words += &format!(r#"{{"word":"{word}","start":{start:.3},"end":{end:.3}}}"#);
    }
    (content, words)
}
