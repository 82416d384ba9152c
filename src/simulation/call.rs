//! A simulated call or chat, and the bodies that Retell would send about it.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::business::{AREA_CODES, BUSINESSES, Business, CALLER_NAMES, DAYS, HOURS};
use super::random::SeededRandom;
use super::transcript::{self, SimulatedToolCall, SimulatedTurn};
use crate::event::EventKind;

/// Calls ended at least this long ago, so that no time in their events is in the future.
const MIN_CALL_AGE_MS: i64 = 180_000;

pub(super) struct SimulatedCall {
    pub(super) id: String,
    pub(super) chat_id: String,
    business: &'static Business,
    caller_name: &'static str,
    day: &'static str,
    hour: &'static str,
    /// Phone number of the user.
    caller_number: String,
    is_outbound: bool,
    start_ms: i64,
    duration_ms: u32,
    pub(super) turns: Vec<SimulatedTurn>,
    /// Seed of the latencies, so that all events of the call have the same ones.
    metrics_seed: u64,
    random: SeededRandom,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CallEnding {
    HungUp,
    Transferred,
}

impl SimulatedCall {
    /// Call `number` of a run with `seed` that began at `now_ms`. People and conversation depend on seed and number
    /// only. The id and the times also depend on `now_ms`, so that a second run with the same seed makes different
    /// calls.
    pub(super) fn new(seed: u64, number: u64, now_ms: i64) -> Self {
        let mut random = SeededRandom::new(seed, number);
        let unique = SeededRandom::new(seed ^ now_ms.cast_unsigned(), number).hex_digits(27);
        // The order of the draws is a part of the format: another order gives other calls for the same seed.
        let business = &BUSINESSES[usize::try_from(random.range(0, 3)).unwrap_or(0)];
        let caller_number = format!("+1{}55501{:02}", random.choose(&AREA_CODES), random.range(0, 100));
        let caller_name = random.choose(&CALLER_NAMES);
        let day = random.choose(&DAYS);
        let hour = random.choose(&HOURS);
        let mut call = Self {
            id: format!("call_test_{unique}"),
            chat_id: format!("chat_test_{unique}"),
            business,
            caller_name,
            day,
            hour,
            caller_number,
            is_outbound: false,
            start_ms: 0,
            duration_ms: 0,
            turns: Vec::new(),
            metrics_seed: random.next_u64(),
            random,
        };
        call.generate_turns(0);
        call.set_start_time(now_ms);
        call
    }

    /// Extends the conversation to `min_duration_ms`. The same people repeat it with new days and hours.
    pub(super) fn extended_to(mut self, min_duration_ms: u32, now_ms: i64) -> Self {
        self.generate_turns(min_duration_ms);
        self.set_start_time(now_ms);
        self
    }

    pub(super) fn into_outbound(mut self) -> Self {
        self.is_outbound = true;
        self
    }

    /// A call in which an appointment is booked, with the dental reception. The tool calls of its dialogue are
    /// removed, because the functions of the receiver are called instead.
    pub(super) fn into_appointment_call(mut self, now_ms: i64) -> Self {
        self.business = &BUSINESSES[0];
        self.generate_turns(0);
        self.set_start_time(now_ms);
        for turn in &mut self.turns {
            turn.tool_calls.clear();
        }
        self
    }

    pub(super) fn caller_name(&self) -> &'static str {
        self.caller_name
    }

    pub(super) fn new_tool_call_id(&mut self) -> String {
        format!("tool_call_{}", self.random.hex_digits(16))
    }

    /// Adds a function call at the current point of the conversation.
    pub(super) fn add_tool_call(&mut self, tool_call: SimulatedToolCall) {
        if let Some(turn) = self.turns.get_mut(self.business.tool_after_line) {
            turn.tool_calls.push(tool_call);
        }
    }

    /// Sets the result of the last function call.
    pub(super) fn set_tool_result(&mut self, result: String) {
        let turn = self.turns.get_mut(self.business.tool_after_line);
        if let Some(tool_call) = turn.and_then(|turn| turn.tool_calls.last_mut()) {
            tool_call.result = Some(result);
        }
    }

    /// The body of a request to a custom function: name, the call up to now, arguments.
    pub(super) fn function_request(&self, name: &str, arguments: &Map<String, Value>) -> Bytes {
        let turns = &self.turns[..=self.business.tool_after_line];
        let mut call = self.common_fields("ongoing");
        call.insert("transcript".into(), transcript::transcript_text(turns).into());
        call.insert("transcript_object".into(), transcript::transcript_object(turns));
        call.insert("transcript_with_tool_calls".into(), transcript::transcript_with_tool_calls(turns));
        json!({ "name": name, "call": call, "args": arguments }).to_string().into()
    }

    /// Generates the conversation, repeated until it is at least `min_duration_ms` long.
    fn generate_turns(&mut self, min_duration_ms: u32) {
        let mut at_ms = self.random.range(300, 900);
        let mut turns = Vec::new();
        while turns.is_empty() || at_ms < min_duration_ms {
            if !turns.is_empty() {
                self.day = self.random.choose(&DAYS);
                self.hour = self.random.choose(&HOURS);
            }
            for (index, line) in self.business.dialogue.iter().enumerate() {
                let is_agent = index % 2 == 0;
                let content = self.fill_placeholders(line);
                let mut turn = SimulatedTurn::new(is_agent, content, &mut at_ms, &mut self.random);
                if index == self.business.tool_after_line {
                    turn.tool_calls.push(self.business_tool_call());
                }
                turns.push(turn);
            }
        }
        self.duration_ms = at_ms + self.random.range(200, 1_500);
        self.turns = turns;
    }

    fn business_tool_call(&mut self) -> SimulatedToolCall {
        let tool = &self.business.tool;
        SimulatedToolCall {
            id: format!("tool_call_{}", self.random.hex_digits(6)),
            name: tool.name.to_owned(),
            arguments: self.fill_placeholders(tool.arguments),
            result: Some(self.fill_placeholders(tool.result)),
        }
    }

    /// Sets the start so that the call has ended before `now_ms`.
    fn set_start_time(&mut self, now_ms: i64) {
        let age_ms = MIN_CALL_AGE_MS + i64::from(self.random.range(0, 60_000)) + i64::from(self.duration_ms);
        self.start_ms = now_ms.saturating_sub(age_ms);
    }

    fn fill_placeholders(&self, text: &str) -> String {
        text.replace("{name}", self.caller_name).replace("{day}", self.day).replace("{hour}", self.hour)
    }

    fn end_ms(&self) -> i64 {
        self.start_ms + i64::from(self.duration_ms)
    }

    pub(super) fn word_count(&self) -> usize {
        self.turns.iter().map(SimulatedTurn::word_count).sum()
    }

    /// Body of `call_inbound`, sent before the call begins.
    pub(super) fn call_inbound(&self) -> Bytes {
        let business = self.business;
        let inbound = json!({ "call_id": self.id, "agent_id": business.agent_id,
            "agent_version": business.agent_version, "from_number": self.caller_number, "to_number": business.number });
        let inbound = inbound.as_object().cloned().unwrap_or_default();
        let other_fields = [("event_timestamp".to_owned(), self.start_ms.into())];
        event_body(EventKind::CallInbound, "call_inbound", inbound, other_fields.into_iter().collect())
    }

    pub(super) fn call_started(&self) -> Bytes {
        let call = self.common_fields("ongoing");
        event_body(EventKind::CallStarted, "call", call, Map::new())
    }

    /// Body of `transcript_updated` after the first `words` words of the conversation.
    pub(super) fn transcript_updated(&self, words: usize) -> Bytes {
        let turns = transcript::first_words_of(&self.turns, words);
        let mut call = self.common_fields("ongoing");
        call.insert("transcript".into(), transcript::transcript_text(&turns).into());
        call.insert("transcript_object".into(), transcript::transcript_object(&turns));
        let items = [("transcript_with_tool_calls".to_owned(), transcript::transcript_with_tool_calls(&turns))];
        event_body(EventKind::TranscriptUpdated, "call", call, items.into_iter().collect())
    }

    /// Body of a transfer event, with the whole call in its current state.
    pub(super) fn transfer_event(&self, kind: EventKind, extension: &str) -> Bytes {
        let mut call = match kind {
            EventKind::TransferBridged | EventKind::TransferEnded => self.ended_fields(CallEnding::Transferred),
            _ => self.common_fields("ongoing"),
        };
        if kind == EventKind::TransferEnded {
            call.insert("transfer_end_timestamp".into(), (self.end_ms() + 95_000).into());
        }
        let mut other_fields = Map::new();
        if kind != EventKind::TransferEnded {
            other_fields.insert(
                "transfer_destination".into(),
                json!({ "number": self.business.transfer_number, "extension": extension }),
            );
            other_fields.insert(
                "transfer_option".into(),
                json!({ "type": "warm_transfer", "showTransfereeAsCaller": true, "agentDetectionTimeoutMs": 15_000,
                    "publicHandoffOption": { "type": "static_message", "message": "Connecting you now." } }),
            );
        }
        event_body(kind, "call", call, other_fields)
    }

    pub(super) fn call_ended(&self, end: CallEnding) -> Bytes {
        event_body(EventKind::CallEnded, "call", self.ended_fields(end), Map::new())
    }

    pub(super) fn call_analyzed(&self, end: CallEnding) -> Bytes {
        self.call_analyzed_with(end, self.business.summary, "Positive")
    }

    /// Body of a second `call_analyzed` with different results.
    pub(super) fn call_analyzed_revision(&self) -> Bytes {
        self.call_analyzed_with(CallEnding::HungUp, self.business.revised_summary, "Neutral")
    }

    fn call_analyzed_with(&self, end: CallEnding, summary: &str, sentiment: &str) -> Bytes {
        let mut call = self.ended_fields(end);
        let analysis = json!({ "call_summary": self.fill_placeholders(summary), "in_voicemail": false,
            "user_sentiment": sentiment, "call_successful": true, "custom_analysis_data": self.custom_analysis_data() });
        call.insert("call_analysis".into(), analysis);
        event_body(EventKind::CallAnalyzed, "call", call, Map::new())
    }

    /// Bodies of `call_ended` and `call_analyzed` for an outbound call that was not answered.
    pub(super) fn failed_dial(&mut self) -> [Bytes; 2] {
        let reason = self.random.choose(&["dial_no_answer", "dial_busy", "dial_failed"]);
        let mut call = self.common_fields("not_connected");
        // As in Retell's events: a call that never connected has no start.
        call.remove("start_timestamp");
        call.insert("end_timestamp".into(), self.end_ms().into());
        call.insert("disconnection_reason".into(), reason.into());
        let ended = event_body(EventKind::CallEnded, "call", call.clone(), Map::new());
        let analysis = json!({ "call_summary": "", "in_voicemail": false, "user_sentiment": "Unknown",
            "call_successful": false, "custom_analysis_data": {} });
        call.insert("call_analysis".into(), analysis);
        [ended, event_body(EventKind::CallAnalyzed, "call", call, Map::new())]
    }

    /// Bodies of `chat_started`, `chat_ended` and `chat_analyzed`.
    pub(super) fn chat_events(&mut self) -> [Bytes; 3] {
        let mut chat = Map::new();
        chat.insert("chat_id".into(), self.chat_id.as_str().into());
        chat.insert("agent_id".into(), format!("{}_text", self.business.agent_id).into());
        chat.insert("version".into(), self.business.agent_version.into());
        chat.insert("chat_type".into(), "sms_chat".into());
        chat.insert("chat_status".into(), "ongoing".into());
        chat.insert("start_timestamp".into(), self.start_ms.into());
        chat.insert("retell_llm_dynamic_variables".into(), json!({ "customer_name": self.caller_name }));
        let started = event_body(EventKind::ChatStarted, "chat", chat.clone(), Map::new());
        chat.extend(self.chat_messages());
        let ended = event_body(EventKind::ChatEnded, "chat", chat.clone(), Map::new());
        let analysis = json!({ "chat_summary": self.fill_placeholders(self.business.summary),
            "user_sentiment": "Positive", "chat_successful": true, "custom_analysis_data": self.custom_analysis_data() });
        chat.insert("chat_analysis".into(), analysis);
        [started, ended, event_body(EventKind::ChatAnalyzed, "chat", chat, Map::new())]
    }

    fn chat_messages(&mut self) -> Map<String, Value> {
        let mut at_ms = self.start_ms;
        let mut transcript = String::new();
        let mut messages = Vec::new();
        for (index, text) in self.business.chat_messages.iter().enumerate() {
            let (role, name) = if index % 2 == 0 { ("user", "User") } else { ("agent", "Agent") };
            let content = self.fill_placeholders(text);
            transcript.extend([name, ": ", &content, "\n"]);
            messages.push(json!({ "message_id": format!("msg_{}", self.random.hex_digits(8)), "role": role,
                "content": content, "created_timestamp": at_ms }));
            at_ms += i64::from(self.random.range(2_000, 20_000));
        }
        let cost = f64::from(self.random.range(40, 120)) / 100.0;
        let product = json!({ "product": "text_model", "unit_price": 0.2, "cost": cost });
        [
            ("chat_status", "ended".into()),
            ("end_timestamp", at_ms.into()),
            ("transcript", transcript.into()),
            ("message_with_tool_calls", messages.into()),
            ("chat_cost", json!({ "combined_cost": cost, "product_costs": [product] })),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// The fields that every event has.
    fn common_fields(&self, status: &str) -> Map<String, Value> {
        let business = self.business;
        let user_number = self.caller_number.as_str();
        let (from, to, direction) = if self.is_outbound {
            (business.number, user_number, "outbound")
        } else {
            (user_number, business.number, "inbound")
        };
        let call = json!({
            "call_id": self.id, "call_type": "phone_call", "call_status": status,
            "agent_id": business.agent_id, "agent_name": business.agent_name, "agent_version": business.agent_version,
            "agent_tag": "prod", "from_number": from, "to_number": to, "direction": direction,
            "start_timestamp": self.start_ms,
            "metadata": { "simulated": true },
            "retell_llm_dynamic_variables": { "customer_name": self.caller_name },
            "data_storage_setting": "everything", "opt_in_signed_url": false,
        });
        match call {
            Value::Object(call) => call,
            _ => Map::new(),
        }
    }

    /// The fields of an event after the end of the call.
    fn ended_fields(&self, end: CallEnding) -> Map<String, Value> {
        // A new generator with the same seed: every event of a call must contain the same measurements.
        let mut random = SeededRandom::new(self.metrics_seed, 0);
        let seconds = self.duration_ms / 1_000;
        let cents = f64::from(seconds * 12 / 10 + 1) / 10.0;
        let is_transferred = end == CallEnding::Transferred;
        let mut call = self.common_fields("ended");
        let mut set = |key: &str, value: Value| drop(call.insert(key.to_owned(), value));
        set("end_timestamp", self.end_ms().into());
        set("duration_ms", self.duration_ms.into());
        set("disconnection_reason", if is_transferred { "call_transfer" } else { "agent_hangup" }.into());
        if is_transferred {
            set("transfer_destination", self.business.transfer_number.into());
        }
        set("transcript", transcript::transcript_text(&self.turns).into());
        set("transcript_object", transcript::transcript_object(&self.turns));
        set("transcript_with_tool_calls", transcript::transcript_with_tool_calls(&self.turns));
        set("collected_dynamic_variables", self.custom_analysis_data());
        set(
            "latency",
            json!({ "e2e": latency_json(&mut random, 900), "llm": latency_json(&mut random, 400),
                "tts": latency_json(&mut random, 250) }),
        );
        set(
            "call_cost",
            json!({ "product_costs": [{ "product": "voice_engine", "unit_price": 0.12, "cost": cents }],
                "total_duration_seconds": seconds, "total_duration_unit_price": 0.12, "combined_cost": cents }),
        );
        set("llm_token_usage", json!({ "values": [812, 894, 951], "average": 885.67, "num_requests": 3 }));
        set("recording_url", format!("https://recordings.example.com/{}.wav", self.id).into());
        set("public_log_url", format!("https://logs.example.com/{}.log", self.id).into());
        call
    }

    fn custom_analysis_data(&self) -> Value {
        let (name, value) = self.business.custom_analysis_field;
        json!({ name: self.fill_placeholders(value) })
    }
}

/// Latency statistics in milliseconds, with values around `typical_ms`.
fn latency_json(random: &mut SeededRandom, typical_ms: u32) -> Value {
    let mut new_value = || random.range(typical_ms - typical_ms / 5, typical_ms + typical_ms / 3);
    let mut values: Vec<_> = (0..5).map(|_| new_value()).collect();
    values.sort_unstable();
    json!({ "p50": values[2], "p90": values[4], "p95": values[4], "p99": values[4], "max": values[4], "min": values[0],
        "num": values.len(), "values": values })
}

/// Compact JSON with the event name first, as Retell sends it. `key` is the key of `object`, such as `call`.
fn event_body(kind: EventKind, key: &str, object: Map<String, Value>, other_fields: Map<String, Value>) -> Bytes {
    // Written as text: a JSON map would sort its keys.
    let mut text = format!(r#"{{"event":"{kind}","{key}":{}"#, Value::Object(object));
    for (key, value) in other_fields {
        text.extend([",\"", &key, "\":", &value.to_string()]);
    }
    (text + "}").into()
}
