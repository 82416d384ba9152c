//! Event texts in the shape Retell sends, filled with pseudo-random words.
//!
//! The text ends just before the unique part of the call id. Retell gives no
//! promise about the order of the members of an object, and with the id last
//! everything before it can be hashed once (see `sign`).

use std::fmt::Write;

use serde_json::{Value, json};

use crate::Fail;
use crate::args::Size;

/// What follows the unique part of the call id.
pub const ENDING: &[u8; 3] = b"\"}}";

/// Hex digits of the unique part of a call id.
pub const UNIQUE: usize = 27;

/// Start of every made-up call id.
const CALL_ID: &str = "call_test_";

/// Words of one turn of the conversation are chosen from these.
const WORDS: &str = "I you the appointment Thursday would like to please confirm number \
    address calling about delivery which arrived yesterday and morning afternoon quarter past \
    nine thank very much that's fine could repeat it once more invoice café Müller street is \
    on its way certainly let me check for señora";

/// A small generator of pseudo-random numbers (splitmix64) and words.
pub struct Random {
    state: u64,
    words: Vec<&'static str>,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        let words = WORDS.split_whitespace().collect();
        Self { state: seed, words }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.state)
    }

    /// A number from `low` up to but not including `high`.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    fn hex(&mut self, digits: usize) -> String {
        let mut text = String::new();
        while text.len() < digits {
            text += &format!("{:016x}", self.next());
        }
        text.truncate(digits);
        text
    }

    fn word(&mut self) -> &'static str {
        let index = self.next() % self.words.len() as u64;
        self.words[usize::try_from(index).unwrap_or(0)]
    }
}

/// The mixing step of splitmix64. It maps different numbers to different ones,
/// on which the call ids rely.
pub fn scramble(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The text of an event of about the wanted size, up to its unique part.
pub fn event(size: Size, variant: u64, now: u64, random: &mut Random) -> Result<String, Fail> {
    let (name, bytes) = match (size, variant % 2) {
        (Size::Small | Size::Mix, _) => ("call_started", 0),
        (Size::Medium, 0) => ("call_ended", 12 * 1024),
        (Size::Medium, _) => ("call_analyzed", 12 * 1024),
        (Size::Large, 0) => ("call_ended", 40 * 1024),
        (Size::Large, _) => ("call_analyzed", 40 * 1024),
    };
    let mut call = started(now, random);
    if name != "call_started" {
        merge(&mut call, ended(now, random));
    }
    if name == "call_analyzed" {
        merge(&mut call, json!({"call_analysis": analysis(random)}));
    }
    let mut text = format!(r#"{{"event":"{name}","call":{call}"#);
    text.pop(); // the brace that closes the call: more members follow
    if bytes > 0 {
        let room = bytes - text.len();
        text += &transcript(room, random);
    }
    write!(text, r#","call_id":"{CALL_ID}"#)?;
    check(&text)?;
    Ok(text)
}

/// A malformed template would make every measured figure worthless.
fn check(text: &str) -> Result<(), Fail> {
    let whole = format!("{text}{}\"}}}}", "0".repeat(UNIQUE));
    match serde_json::from_str::<Value>(&whole) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("a request body is not JSON: {error}").into()),
    }
}

fn merge(call: &mut Value, more: Value) {
    if let (Value::Object(call), Value::Object(more)) = (call, more) {
        call.extend(more);
    }
}

fn started(now: u64, random: &mut Random) -> Value {
    json!({
        "call_type": "phone_call",
        "agent_id": format!("agent_{}", random.hex(30)),
        "agent_version": random.between(0, 40),
        "agent_name": format!("Front desk {}", random.word()),
        "call_status": "ongoing",
        "from_number": format!("+1415555{:04}", random.between(100, 200)),
        "to_number": format!("+1212555{:04}", random.between(100, 200)),
        "direction": "inbound",
        "telephony_identifier": {"twilio_call_sid": format!("CA{}", random.hex(32))},
        "metadata": {"ticket": random.between(1000, 10_000_000)},
        "retell_llm_dynamic_variables": {"customer_name": random.word()},
        "start_timestamp": now - random.between(1000, 600_000),
        "data_storage_setting": "everything",
        "opt_out_sensitive_data_storage": false,
    })
}

fn ended(now: u64, random: &mut Random) -> Value {
    let folder = random.hex(32);
    json!({
        "call_status": "ended",
        "end_timestamp": now,
        "duration_ms": random.between(20_000, 600_000),
        "disconnection_reason": "user_hangup",
        "recording_url": format!("https://recordings.example.com/{folder}/recording.wav"),
        "public_log_url": format!("https://recordings.example.com/{folder}/public.log"),
        "latency": {
            "e2e": {"p50": random.between(600, 900), "p90": 1290, "p99": 1904, "num": 14},
            "llm": {"p50": random.between(300, 500), "p90": 702, "p99": 1103, "num": 14},
        },
        "call_cost": {
            "product_costs": [{"product": "elevenlabs_tts", "unit_price": 0.116_667, "cost": 7}],
            "total_duration_seconds": random.between(20, 600),
            "combined_cost": 8.25,
        },
    })
}

fn analysis(random: &mut Random) -> Value {
    let summary: Vec<&str> = (0..30).map(|_| random.word()).collect();
    json!({
        "call_summary": summary.join(" "),
        "in_voicemail": false,
        "user_sentiment": "Positive",
        "call_successful": true,
        "custom_analysis_data": {"topic": random.word(), "rating": random.between(1, 6)},
    })
}

/// The conversation as text and with the time of every word, in about `room` bytes.
fn transcript(room: usize, random: &mut Random) -> String {
    let mut text = String::new();
    let mut turns = String::new();
    let mut clock = 0.4;
    let mut role = "agent";
    while text.len() + turns.len() + 600 < room {
        let (content, words) = turn(&mut clock, random);
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

/// What one side says without being interrupted.
fn turn(clock: &mut f64, random: &mut Random) -> (String, String) {
    let (mut content, mut words) = (String::new(), String::new());
    for index in 0..random.between(4, 16) {
        let word = random.word();
        let start = *clock;
        let end = start + random.between(80, 600) as f64 / 1000.0;
        *clock = end + random.between(5, 90) as f64 / 1000.0;
        if index > 0 {
            content.push(' ');
            words.push(',');
        }
        content += word;
        words += &format!(r#"{{"word":"{word}","start":{start:.3},"end":{end:.3}}}"#);
    }
    (content, words)
}
