//! A call or chat that never was, and the bodies Retell would send about it.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::business::{AREA_CODES, BUSINESSES, Business, CALLER_NAMES, DAYS, HOURS};
use super::random::SeededRandom;
use super::transcript::{self, SimulatedToolCall, SimulatedTurn};
use crate::event::EventKind;

/// How long ago calls ended at least, so that nothing they tell of lies in the future.
const MIN_CALL_AGE_MS: i64 = 180_000;
const HOUR_MS: u32 = 3_600_000;

pub(super) struct SimulatedCall {
    pub(super) id: String,
    pub(super) chat_id: String,
    business: &'static Business,
    caller_name: &'static str,
    day: &'static str,
    hour: &'static str,
    /// The other side's number.
    caller_number: String,
    is_outbound: bool,
    start_ms: i64,
    duration_ms: u32,
    pub(super) turns: Vec<SimulatedTurn>,
    /// What its measurements are drawn from.
    metrics_seed: u64,
    random: SeededRandom,
}

/// How a call ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CallEnding {
    HungUp,
    Transferred,
}

impl SimulatedCall {
    /// Call `number` of the run with `seed` that began at `now_ms`. Its words and people depend on seed and number; its id
    /// and times also on when the run began, so that a second run with the same seed is about other calls.
    pub(super) fn new(seed: u64, number: u64, now_ms: i64) -> Self {
        let mut dice = SeededRandom::new(seed, number);
        let unique = SeededRandom::new(seed ^ now_ms.cast_unsigned(), number).hex_digits(27);
        let shop = &BUSINESSES[usize::try_from(dice.range(0, 3)).unwrap_or(0)];
        let number = format!("+1{}55501{:02}", dice.choose(&AREA_CODES), dice.range(0, 100));
        let (name, day, hour) = (dice.choose(&CALLER_NAMES), dice.choose(&DAYS), dice.choose(&HOURS));
        let mut call = Self {
            id: format!("call_test_{unique}"),
            chat_id: format!("chat_test_{unique}"),
            business: shop,
            caller_name: name,
            day,
            hour,
            caller_number: number,
            is_outbound: false,
            start_ms: 0,
            duration_ms: 0,
            turns: Vec::new(),
            metrics_seed: dice.next_u64(),
            random: dice,
        };
        call.generate_turns(0);
        call.set_start_time(now_ms);
        call
    }

    /// An hour of it: the same people find ever new days and hours.
    pub(super) fn extended_to_an_hour(mut self, now_ms: i64) -> Self {
        self.generate_turns(HOUR_MS);
        self.set_start_time(now_ms);
        self
    }

    pub(super) fn into_outbound(mut self) -> Self {
        self.is_outbound = true;
        self
    }

    /// One in which an appointment is made: the business has the right people for it, and functions are called in place of
    /// what it looks up otherwise.
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

    /// A function is called now.
    pub(super) fn add_tool_call(&mut self, used: SimulatedToolCall) {
        if let Some(turn) = self.turns.get_mut(self.business.tool_after_line) {
            turn.tool_calls.push(used);
        }
    }

    /// The function called last has answered.
    pub(super) fn set_tool_result(&mut self, result: String) {
        if let Some(last) =
            self.turns.get_mut(self.business.tool_after_line).and_then(|turn| turn.tool_calls.last_mut())
        {
            last.result = Some(result);
        }
    }

    /// The request of a custom function: its name, the call so far, its arguments.
    pub(super) fn function_request(&self, name: &str, arguments: &Map<String, Value>) -> Bytes {
        let turns = &self.turns[..=self.business.tool_after_line];
        let mut call = self.common_fields("ongoing");
        call.insert("transcript".into(), transcript::transcript_text(turns).into());
        call.insert("transcript_object".into(), transcript::transcript_object(turns));
        call.insert("transcript_with_tool_calls".into(), transcript::transcript_with_tool_calls(turns));
        json!({ "name": name, "call": call, "args": arguments }).to_string().into()
    }

    /// Has the conversation, again and again until `at_least_ms` have passed.
    fn generate_turns(&mut self, at_least_ms: u32) {
        let (mut at_ms, mut turns) = (self.random.range(300, 900), Vec::new());
        while turns.is_empty() || at_ms < at_least_ms {
            if !turns.is_empty() {
                (self.day, self.hour) = (self.random.choose(&DAYS), self.random.choose(&HOURS));
            }
            for (place, line) in self.business.dialogue.iter().enumerate() {
                let mut turn =
                    SimulatedTurn::new(place % 2 == 0, self.fill_placeholders(line), &mut at_ms, &mut self.random);
                turn.tool_calls.extend((place == self.business.tool_after_line).then(|| self.business_tool_call()));
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

    /// Puts it into the past.
    fn set_start_time(&mut self, now_ms: i64) {
        let ago = MIN_CALL_AGE_MS + i64::from(self.random.range(0, 60_000)) + i64::from(self.duration_ms);
        self.start_ms = now_ms.saturating_sub(ago);
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

    /// `call_inbound`, while the caller hears ringing.
    pub(super) fn call_inbound(&self) -> Bytes {
        let about = json!({ "call_id": self.id, "agent_id": self.business.agent_id, "agent_version": self.business.agent_version,
            "from_number": self.caller_number, "to_number": self.business.number });
        let about = about.as_object().cloned().unwrap_or_default();
        let beside = [("event_timestamp".to_owned(), self.start_ms.into())];
        event_body(EventKind::CallInbound, "call_inbound", about, beside.into_iter().collect())
    }

    /// `call_started`.
    pub(super) fn call_started(&self) -> Bytes {
        let call = self.common_fields("ongoing");
        event_body(EventKind::CallStarted, "call", call, Map::new())
    }

    /// `transcript_updated` when `words` words had been said.
    pub(super) fn transcript_updated(&self, words: usize) -> Bytes {
        let turns = transcript::first_words_of(&self.turns, words);
        let mut call = self.common_fields("ongoing");
        call.insert("transcript".into(), transcript::transcript_text(&turns).into());
        call.insert("transcript_object".into(), transcript::transcript_object(&turns));
        let items = [("transcript_with_tool_calls".to_owned(), transcript::transcript_with_tool_calls(&turns))];
        event_body(EventKind::TranscriptUpdated, "call", call, items.into_iter().collect())
    }

    /// One of the transfer events; the whole call as it stands comes with it.
    pub(super) fn transfer_event(&self, kind: EventKind, extension: &str) -> Bytes {
        let mut call = match kind {
            EventKind::TransferBridged | EventKind::TransferEnded => self.ended_fields(CallEnding::Transferred),
            _ => self.common_fields("ongoing"),
        };
        if kind == EventKind::TransferEnded {
            call.insert("transfer_end_timestamp".into(), (self.end_ms() + 95_000).into());
        }
        let mut beside = Map::new();
        if kind != EventKind::TransferEnded {
            beside.insert(
                "transfer_destination".into(),
                json!({ "number": self.business.transfer_number, "extension": extension }),
            );
            beside.insert(
                "transfer_option".into(),
                json!({ "type": "warm_transfer", "showTransfereeAsCaller": true, "agentDetectionTimeoutMs": 15_000,
                    "publicHandoffOption": { "type": "static_message", "message": "Connecting you now." } }),
            );
        }
        event_body(kind, "call", call, beside)
    }

    /// `call_ended`.
    pub(super) fn call_ended(&self, end: CallEnding) -> Bytes {
        event_body(EventKind::CallEnded, "call", self.ended_fields(end), Map::new())
    }

    /// `call_analyzed`.
    pub(super) fn call_analyzed(&self, end: CallEnding) -> Bytes {
        self.call_analyzed_with(end, self.business.summary, "Positive")
    }

    /// `call_analyzed` once more, with another result.
    pub(super) fn call_analyzed_revision(&self) -> Bytes {
        self.call_analyzed_with(CallEnding::HungUp, self.business.revised_summary, "Neutral")
    }

    fn call_analyzed_with(&self, end: CallEnding, summary: &str, sentiment: &str) -> Bytes {
        let mut call = self.ended_fields(end);
        let analysis = json!({ "call_summary": self.fill_placeholders(summary), "in_voicemail": false, "user_sentiment": sentiment,
            "call_successful": true, "custom_analysis_data": self.custom_analysis_data() });
        call.insert("call_analysis".into(), analysis);
        event_body(EventKind::CallAnalyzed, "call", call, Map::new())
    }

    /// `call_ended` and `call_analyzed` of a call that nobody picked up.
    pub(super) fn failed_dial(&mut self) -> [Bytes; 2] {
        let reason = self.random.choose(&["dial_no_answer", "dial_busy", "dial_failed"]);
        let mut call = self.common_fields("not_connected");
        call.remove("start_timestamp");
        call.insert("end_timestamp".into(), self.end_ms().into());
        call.insert("disconnection_reason".into(), reason.into());
        let ended = event_body(EventKind::CallEnded, "call", call.clone(), Map::new());
        let nothing = json!({ "call_summary": "", "in_voicemail": false, "user_sentiment": "Unknown",
            "call_successful": false, "custom_analysis_data": {} });
        call.insert("call_analysis".into(), nothing);
        [ended, event_body(EventKind::CallAnalyzed, "call", call, Map::new())]
    }

    /// `chat_started`, `chat_ended`, `chat_analyzed`.
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
        let analysis = json!({ "chat_summary": self.fill_placeholders(self.business.summary), "user_sentiment": "Positive",
            "chat_successful": true, "custom_analysis_data": self.custom_analysis_data() });
        chat.insert("chat_analysis".into(), analysis);
        [started, ended, event_body(EventKind::ChatAnalyzed, "chat", chat, Map::new())]
    }

    fn chat_messages(&mut self) -> Map<String, Value> {
        let mut at_ms = self.start_ms;
        let (mut lines, mut messages) = (String::new(), Vec::new());
        for (place, text) in self.business.chat_messages.iter().enumerate() {
            let (role, name) = if place % 2 == 0 { ("user", "User") } else { ("agent", "Agent") };
            let content = self.fill_placeholders(text);
            lines.extend([name, ": ", &content, "\n"]);
            messages.push(json!({ "message_id": format!("msg_{}", self.random.hex_digits(8)), "role": role,
                "content": content, "created_timestamp": at_ms }));
            at_ms += i64::from(self.random.range(2_000, 20_000));
        }
        let cost = f64::from(self.random.range(40, 120)) / 100.0;
        let product = json!({ "product": "text_model", "unit_price": 0.2, "cost": cost });
        [
            ("chat_status", "ended".into()),
            ("end_timestamp", at_ms.into()),
            ("transcript", lines.into()),
            ("message_with_tool_calls", messages.into()),
            ("chat_cost", json!({ "combined_cost": cost, "product_costs": [product] })),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// What every event says of the call.
    fn common_fields(&self, status: &str) -> Map<String, Value> {
        let shop = self.business;
        let (from, to) = (self.caller_number.as_str(), shop.number);
        let (from, to, direction) = if self.is_outbound { (to, from, "outbound") } else { (from, to, "inbound") };
        let call = json!({
            "call_id": self.id, "call_type": "phone_call", "call_status": status,
            "agent_id": shop.agent_id, "agent_name": shop.agent_name, "agent_version": shop.agent_version,
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

    /// What is known once it is over.
    fn ended_fields(&self, end: CallEnding) -> Map<String, Value> {
        // Its own, begun anew: every event about a call must tell the same.
        let mut dice = SeededRandom::new(self.metrics_seed, 0);
        let seconds = self.duration_ms / 1_000;
        let cents = f64::from(seconds * 12 / 10 + 1) / 10.0;
        let transferred = end == CallEnding::Transferred;
        let mut call = self.common_fields("ended");
        let mut set = |key: &str, value: Value| drop(call.insert(key.to_owned(), value));
        set("end_timestamp", self.end_ms().into());
        set("duration_ms", self.duration_ms.into());
        set("disconnection_reason", if transferred { "call_transfer" } else { "agent_hangup" }.into());
        if transferred {
            set("transfer_destination", self.business.transfer_number.into());
        }
        set("transcript", transcript::transcript_text(&self.turns).into());
        set("transcript_object", transcript::transcript_object(&self.turns));
        set("transcript_with_tool_calls", transcript::transcript_with_tool_calls(&self.turns));
        set("collected_dynamic_variables", self.custom_analysis_data());
        set(
            "latency",
            json!({ "e2e": latency_json(&mut dice, 900), "llm": latency_json(&mut dice, 400), "tts": latency_json(&mut dice, 250) }),
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

/// Milliseconds around `typical`.
fn latency_json(dice: &mut SeededRandom, typical: u32) -> Value {
    let mut values: Vec<_> = (0..5).map(|_| dice.range(typical - typical / 5, typical + typical / 3)).collect();
    values.sort_unstable();
    json!({ "p50": values[2], "p90": values[4], "p95": values[4], "p99": values[4], "max": values[4], "min": values[0],
        "num": values.len(), "values": values })
}

/// Compact JSON with the event's name first, as Retell sends it.
fn event_body(kind: EventKind, subject: &str, object: Map<String, Value>, beside: Map<String, Value>) -> Bytes {
    let mut text = format!(r#"{{"event":"{kind}","{subject}":{}"#, Value::Object(object));
    for (key, value) in beside {
        text.extend([",\"", &key, "\":", &value.to_string()]);
    }
    (text + "}").into()
}
