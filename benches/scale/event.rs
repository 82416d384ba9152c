//! The stored events: each call has four, spread among those of other calls, as calls in parallel cause them.

use clap::ValueEnum;
use retell_webhook::internals::{EventIdGenerator, NewEvent};
use serde_json::{Value, json};

use crate::fill::Companies;

pub const EVENTS_PER_CALL: u64 = 4;
/// Calls in progress at the same time.
const PARALLEL_CALLS: u64 = 250;
const SPAN_MS: u64 = 60 * 24 * 3_600_000;
const AGENTS: u64 = 50;
const KINDS: [&str; 4] = ["call_started", "transcript_updated", "call_ended", "call_analyzed"];
const REASONS: [&str; 6] =
    ["user_hangup", "agent_hangup", "call_transfer", "dial_no_answer", "voicemail_reached", "inactivity"];
const SENTIMENTS: [&str; 4] = ["Positive", "Neutral", "Negative", "Unknown"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BodySize {
    Small,
    Mix,
}

/// Event `number` of `total`. Every value is derived from the number, so two runs store the same events.
pub fn event(ids: &EventIdGenerator, companies: &Companies, number: u64, total: u64, size: BodySize) -> NewEvent {
    let wave = number / (PARALLEL_CALLS * EVENTS_PER_CALL);
    let within = number % (PARALLEL_CALLS * EVENTS_PER_CALL);
    let call = wave * PARALLEL_CALLS + within % PARALLEL_CALLS;
    let stage = usize::try_from(within / PARALLEL_CALLS).unwrap_or(0);
    let at_ms = |number: u64| {
        let ago_ms = u128::from(SPAN_MS) * u128::from(total - number) / u128::from(total);
        companies.now_ms - i64::try_from(ago_ms).unwrap_or(0)
    };
    let received_at_ms = at_ms(number);
    let call_started_ms = at_ms(wave * PARALLEL_CALLS * EVENTS_PER_CALL + within % PARALLEL_CALLS);
    let mixed = scramble(call);
    let call_id = format!("call_{:016x}{mixed:016x}", scramble(mixed));
    let agent_id = if call == 7 { "agent_rare".to_owned() } else { format!("agent_{:02}", mixed % AGENTS) };
    let body = body(KINDS[stage], &call_id, &agent_id, call_started_ms, mixed, size, number);
    NewEvent {
        kind: Some(if number == total / 2 { "alert_triggered" } else { KINDS[stage] }.to_owned()),
        call_id: Some(call_id),
        agent_id: Some(agent_id),
        unparsed: number == total / 3,
        revisable: stage != 1,
        source: Some("100.20.5.228".to_owned()),
        content_type: Some("application/json".to_owned()),
        signature: Some(format!("v={received_at_ms},d={mixed:016x}{:016x}{0:016x}{0:016x}", scramble(number))),
        key_fingerprint: Some("c0ffee12".to_owned()),
        ..NewEvent::new(ids.next_id(received_at_ms), companies.of_call(call), received_at_ms, body)
    }
}

fn body(kind: &str, id: &str, agent: &str, started_ms: i64, mixed: u64, size: BodySize, number: u64) -> String {
    let caller = format!("+1202555{:04}", mixed % 10_000);
    let mut call = json!({
        "call_id": id, "call_type": "phone_call", "agent_id": agent, "agent_version": mixed % 3,
        "agent_name": format!("Agent of {agent}"), "call_status": "ended", "direction": "inbound",
        "from_number": caller, "to_number": "+12137771234", "start_timestamp": started_ms,
        "metadata": {"n": number}, "retell_llm_dynamic_variables": {"customer_name": format!("Customer {mixed:08x}")},
        "opt_out_sensitive_data_storage": false, "telephony_identifier": {"twilio_call_sid": format!("CA{mixed:016x}")},
    });
    if kind == "call_ended" || kind == "call_analyzed" {
        let duration_ms = i64::try_from(mixed % 300_000).unwrap_or(0);
        call["end_timestamp"] = json!(started_ms + duration_ms);
        call["duration_ms"] = json!(duration_ms);
        call["disconnection_reason"] = json!(REASONS[index(mixed / 7, REASONS.len())]);
    }
    if kind == "call_analyzed" {
        let sentiment = SENTIMENTS[index(mixed / 11, SENTIMENTS.len())];
        call["call_analysis"] = json!({"user_sentiment": sentiment, "call_successful": mixed.is_multiple_of(3)});
    }
    if let (BodySize::Mix, turns @ 1..) = (size, [0, 55, 190][index(number, 3)]) {
        call["transcript_object"] = transcript(mixed, turns);
    }
    json!({"event": kind, "call": call}).to_string()
}

/// A conversation of about 200 bytes per turn; a longer one of the same call begins with the shorter one.
fn transcript(mixed: u64, turns: u64) -> Value {
    const WORDS: [&str; 16] = [
        "appointment",
        "Tuesday",
        "morning",
        "please",
        "confirm",
        "number",
        "doctor",
        "afternoon",
        "insurance",
        "name",
        "thanks",
        "moment",
        "available",
        "address",
        "reschedule",
        "question",
    ];
    let turn = |turn: u64| {
        let role = if turn.is_multiple_of(2) { "agent" } else { "user" };
        let words = (0..14).map(|at| WORDS[index(scramble(mixed + turn * 64 + at), WORDS.len())]);
        let content = words.collect::<Vec<_>>().join(" ");
        json!({"role": role, "content": content, "words": [{"start": turn as f64 * 3.1, "end": turn as f64 * 3.1 + 2.2}]})
    };
    (0..turns).map(turn).collect()
}

fn index(number: u64, len: usize) -> usize {
    usize::try_from(number % len as u64).unwrap_or(0)
}

/// Spreads consecutive numbers over 64 bits, because Retell's ids are random.
fn scramble(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}
