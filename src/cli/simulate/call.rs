//! A call or chat that never was, and the bodies Retell would send about it.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::cast::{AREAS, DAYS, HOURS, NAMES, SHOPS, Shop};
use super::dice::Dice;
use super::talk::{self, ToolUse, Turn};
use crate::event::EventKind;

/// How long ago calls ended at least, so that nothing they tell of lies in the future.
const AGO_MS: i64 = 180_000;
const HOUR_MS: u32 = 3_600_000;

pub(super) struct Call {
    pub(super) id: String,
    pub(super) chat_id: String,
    shop: &'static Shop,
    name: &'static str,
    day: &'static str,
    hour: &'static str,
    /// The other side's number.
    number: String,
    outbound: bool,
    start_ms: i64,
    duration_ms: u32,
    pub(super) turns: Vec<Turn>,
    /// What its measurements are drawn from.
    figures: u64,
    dice: Dice,
}

/// How a call ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    HungUp,
    Transferred,
}

impl Call {
    /// Call `number` of the run with `seed` that began at `now_ms`. Its words and people depend on seed and number; its id
    /// and times also on when the run began, so that a second run with the same seed is about other calls.
    pub(super) fn new(seed: u64, number: u64, now_ms: i64) -> Self {
        let mut dice = Dice::new(seed, number);
        let unique = Dice::new(seed ^ now_ms.cast_unsigned(), number).hex(27);
        let shop = &SHOPS[usize::try_from(dice.between(0, 3)).unwrap_or(0)];
        let number = format!("+1{}55501{:02}", dice.pick(&AREAS), dice.between(0, 100));
        let (name, day, hour) = (dice.pick(&NAMES), dice.pick(&DAYS), dice.pick(&HOURS));
        let mut call = Self {
            id: format!("call_test_{unique}"),
            chat_id: format!("chat_test_{unique}"),
            shop,
            name,
            day,
            hour,
            number,
            outbound: false,
            start_ms: 0,
            duration_ms: 0,
            turns: Vec::new(),
            figures: dice.roll(),
            dice,
        };
        call.talk(0);
        call.place(now_ms);
        call
    }

    /// An hour of it: the same people find ever new days and hours.
    pub(super) fn an_hour(mut self, now_ms: i64) -> Self {
        self.talk(HOUR_MS);
        self.place(now_ms);
        self
    }

    pub(super) fn outbound(mut self) -> Self {
        self.outbound = true;
        self
    }

    /// One in which an appointment is made: the business has the right people for it, and functions are called in place of
    /// what it looks up otherwise.
    pub(super) fn about_an_appointment(mut self, now_ms: i64) -> Self {
        self.shop = &SHOPS[0];
        self.talk(0);
        self.place(now_ms);
        for turn in &mut self.turns {
            turn.tools.clear();
        }
        self
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn tool_call_id(&mut self) -> String {
        format!("tool_call_{}", self.dice.hex(16))
    }

    /// A function is called now.
    pub(super) fn use_function(&mut self, used: ToolUse) {
        if let Some(turn) = self.turns.get_mut(self.shop.tool_after) {
            turn.tools.push(used);
        }
    }

    /// The function called last has answered.
    pub(super) fn was_told(&mut self, result: String) {
        if let Some(last) = self.turns.get_mut(self.shop.tool_after).and_then(|turn| turn.tools.last_mut()) {
            last.result = Some(result);
        }
    }

    /// The request of a custom function: its name, the call so far, its arguments.
    pub(super) fn function(&self, name: &str, arguments: &Map<String, Value>) -> Bytes {
        let turns = &self.turns[..=self.shop.tool_after];
        let mut call = self.common("ongoing");
        call.insert("transcript".into(), talk::transcript(turns).into());
        call.insert("transcript_object".into(), talk::utterances(turns));
        call.insert("transcript_with_tool_calls".into(), talk::with_tool_calls(turns));
        json!({ "name": name, "call": call, "args": arguments }).to_string().into()
    }

    /// Has the conversation, again and again until `at_least_ms` have passed.
    fn talk(&mut self, at_least_ms: u32) {
        let (mut at_ms, mut turns) = (self.dice.between(300, 900), Vec::new());
        while turns.is_empty() || at_ms < at_least_ms {
            if !turns.is_empty() {
                (self.day, self.hour) = (self.dice.pick(&DAYS), self.dice.pick(&HOURS));
            }
            for (place, line) in self.shop.lines.iter().enumerate() {
                let mut turn = Turn::said(place % 2 == 0, self.fill(line), &mut at_ms, &mut self.dice);
                turn.tools.extend((place == self.shop.tool_after).then(|| self.use_tool()));
                turns.push(turn);
            }
        }
        self.duration_ms = at_ms + self.dice.between(200, 1_500);
        self.turns = turns;
    }

    fn use_tool(&mut self) -> ToolUse {
        let tool = &self.shop.tool;
        ToolUse {
            id: format!("tool_call_{}", self.dice.hex(6)),
            name: tool.name.to_owned(),
            arguments: self.fill(tool.arguments),
            result: Some(self.fill(tool.result)),
        }
    }

    /// Puts it into the past.
    fn place(&mut self, now_ms: i64) {
        let ago = AGO_MS + i64::from(self.dice.between(0, 60_000)) + i64::from(self.duration_ms);
        self.start_ms = now_ms.saturating_sub(ago);
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{name}", self.name).replace("{day}", self.day).replace("{hour}", self.hour)
    }

    fn end_ms(&self) -> i64 {
        self.start_ms + i64::from(self.duration_ms)
    }

    pub(super) fn word_count(&self) -> usize {
        self.turns.iter().map(Turn::word_count).sum()
    }

    /// `call_inbound`, while the caller hears ringing.
    pub(super) fn inbound(&self) -> Bytes {
        let about = json!({ "call_id": self.id, "agent_id": self.shop.agent_id, "agent_version": self.shop.agent_version,
            "from_number": self.number, "to_number": self.shop.number });
        let about = about.as_object().cloned().unwrap_or_default();
        let beside = [("event_timestamp".to_owned(), self.start_ms.into())];
        body(EventKind::CallInbound, "call_inbound", about, beside.into_iter().collect())
    }

    /// `call_started`.
    pub(super) fn started(&self) -> Bytes {
        let call = self.common("ongoing");
        body(EventKind::CallStarted, "call", call, Map::new())
    }

    /// `transcript_updated` when `words` words had been said.
    pub(super) fn so_far(&self, words: usize) -> Bytes {
        let turns = talk::beginning(&self.turns, words);
        let mut call = self.common("ongoing");
        call.insert("transcript".into(), talk::transcript(&turns).into());
        call.insert("transcript_object".into(), talk::utterances(&turns));
        let items = [("transcript_with_tool_calls".to_owned(), talk::with_tool_calls(&turns))];
        body(EventKind::TranscriptUpdated, "call", call, items.into_iter().collect())
    }

    /// One of the transfer events; the whole call as it stands comes with it.
    pub(super) fn transfer(&self, kind: EventKind, extension: &str) -> Bytes {
        let mut call = match kind {
            EventKind::TransferBridged | EventKind::TransferEnded => self.whole(End::Transferred),
            _ => self.common("ongoing"),
        };
        if kind == EventKind::TransferEnded {
            call.insert("transfer_end_timestamp".into(), (self.end_ms() + 95_000).into());
        }
        let mut beside = Map::new();
        if kind != EventKind::TransferEnded {
            beside.insert(
                "transfer_destination".into(),
                json!({ "number": self.shop.back_office, "extension": extension }),
            );
            beside.insert(
                "transfer_option".into(),
                json!({ "type": "warm_transfer", "showTransfereeAsCaller": true, "agentDetectionTimeoutMs": 15_000,
                    "publicHandoffOption": { "type": "static_message", "message": "Connecting you now." } }),
            );
        }
        body(kind, "call", call, beside)
    }

    /// `call_ended`.
    pub(super) fn ended(&self, end: End) -> Bytes {
        body(EventKind::CallEnded, "call", self.whole(end), Map::new())
    }

    /// `call_analyzed`.
    pub(super) fn analyzed(&self, end: End) -> Bytes {
        self.judged(end, self.shop.summary, "Positive")
    }

    /// `call_analyzed` once more, with another result.
    pub(super) fn analyzed_again(&self) -> Bytes {
        self.judged(End::HungUp, self.shop.second_summary, "Neutral")
    }

    fn judged(&self, end: End, summary: &str, sentiment: &str) -> Bytes {
        let mut call = self.whole(end);
        let analysis = json!({ "call_summary": self.fill(summary), "in_voicemail": false, "user_sentiment": sentiment,
            "call_successful": true, "custom_analysis_data": self.finding() });
        call.insert("call_analysis".into(), analysis);
        body(EventKind::CallAnalyzed, "call", call, Map::new())
    }

    /// `call_ended` and `call_analyzed` of a call that nobody picked up.
    pub(super) fn not_connected(&mut self) -> [Bytes; 2] {
        let reason = self.dice.pick(&["dial_no_answer", "dial_busy", "dial_failed"]);
        let mut call = self.common("not_connected");
        call.remove("start_timestamp");
        call.insert("end_timestamp".into(), self.end_ms().into());
        call.insert("disconnection_reason".into(), reason.into());
        let ended = body(EventKind::CallEnded, "call", call.clone(), Map::new());
        let nothing = json!({ "call_summary": "", "in_voicemail": false, "user_sentiment": "Unknown",
            "call_successful": false, "custom_analysis_data": {} });
        call.insert("call_analysis".into(), nothing);
        [ended, body(EventKind::CallAnalyzed, "call", call, Map::new())]
    }

    /// `chat_started`, `chat_ended`, `chat_analyzed`.
    pub(super) fn chat(&mut self) -> [Bytes; 3] {
        let mut chat = Map::new();
        chat.insert("chat_id".into(), self.chat_id.as_str().into());
        chat.insert("agent_id".into(), format!("{}_text", self.shop.agent_id).into());
        chat.insert("version".into(), self.shop.agent_version.into());
        chat.insert("chat_type".into(), "sms_chat".into());
        chat.insert("chat_status".into(), "ongoing".into());
        chat.insert("start_timestamp".into(), self.start_ms.into());
        chat.insert("retell_llm_dynamic_variables".into(), json!({ "customer_name": self.name }));
        let started = body(EventKind::ChatStarted, "chat", chat.clone(), Map::new());
        chat.extend(self.chat_messages());
        let ended = body(EventKind::ChatEnded, "chat", chat.clone(), Map::new());
        let analysis = json!({ "chat_summary": self.fill(self.shop.summary), "user_sentiment": "Positive",
            "chat_successful": true, "custom_analysis_data": self.finding() });
        chat.insert("chat_analysis".into(), analysis);
        [started, ended, body(EventKind::ChatAnalyzed, "chat", chat, Map::new())]
    }

    fn chat_messages(&mut self) -> Map<String, Value> {
        let mut at_ms = self.start_ms;
        let (mut lines, mut messages) = (String::new(), Vec::new());
        for (place, text) in self.shop.texts.iter().enumerate() {
            let (role, name) = if place % 2 == 0 { ("user", "User") } else { ("agent", "Agent") };
            let content = self.fill(text);
            lines.extend([name, ": ", &content, "\n"]);
            messages.push(json!({ "message_id": format!("msg_{}", self.dice.hex(8)), "role": role,
                "content": content, "created_timestamp": at_ms }));
            at_ms += i64::from(self.dice.between(2_000, 20_000));
        }
        let cost = f64::from(self.dice.between(40, 120)) / 100.0;
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
    fn common(&self, status: &str) -> Map<String, Value> {
        let shop = self.shop;
        let (from, to) = (self.number.as_str(), shop.number);
        let (from, to, direction) = if self.outbound { (to, from, "outbound") } else { (from, to, "inbound") };
        let call = json!({
            "call_id": self.id, "call_type": "phone_call", "call_status": status,
            "agent_id": shop.agent_id, "agent_name": shop.agent_name, "agent_version": shop.agent_version,
            "agent_tag": "prod", "from_number": from, "to_number": to, "direction": direction,
            "start_timestamp": self.start_ms,
            "metadata": { "simulated": true },
            "retell_llm_dynamic_variables": { "customer_name": self.name },
            "data_storage_setting": "everything", "opt_in_signed_url": false,
        });
        match call {
            Value::Object(call) => call,
            _ => Map::new(),
        }
    }

    /// What is known once it is over.
    fn whole(&self, end: End) -> Map<String, Value> {
        // Its own, begun anew: every event about a call must tell the same.
        let mut dice = Dice::new(self.figures, 0);
        let seconds = self.duration_ms / 1_000;
        let cents = f64::from(seconds * 12 / 10 + 1) / 10.0;
        let transferred = end == End::Transferred;
        let mut call = self.common("ended");
        let mut set = |key: &str, value: Value| drop(call.insert(key.to_owned(), value));
        set("end_timestamp", self.end_ms().into());
        set("duration_ms", self.duration_ms.into());
        set("disconnection_reason", if transferred { "call_transfer" } else { "agent_hangup" }.into());
        if transferred {
            set("transfer_destination", self.shop.back_office.into());
        }
        set("transcript", talk::transcript(&self.turns).into());
        set("transcript_object", talk::utterances(&self.turns));
        set("transcript_with_tool_calls", talk::with_tool_calls(&self.turns));
        set("collected_dynamic_variables", self.finding());
        set(
            "latency",
            json!({ "e2e": latency(&mut dice, 900), "llm": latency(&mut dice, 400), "tts": latency(&mut dice, 250) }),
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

    fn finding(&self) -> Value {
        let (name, value) = self.shop.finding;
        json!({ name: self.fill(value) })
    }
}

/// Milliseconds around `typical`.
fn latency(dice: &mut Dice, typical: u32) -> Value {
    let mut values: Vec<_> = (0..5).map(|_| dice.between(typical - typical / 5, typical + typical / 3)).collect();
    values.sort_unstable();
    json!({ "p50": values[2], "p90": values[4], "p95": values[4], "p99": values[4], "max": values[4], "min": values[0],
        "num": values.len(), "values": values })
}

/// Compact JSON with the event's name first, as Retell sends it.
fn body(kind: EventKind, subject: &str, object: Map<String, Value>, beside: Map<String, Value>) -> Bytes {
    let mut text = format!(r#"{{"event":"{kind}","{subject}":{}"#, Value::Object(object));
    for (key, value) in beside {
        text.extend([",\"", &key, "\":", &value.to_string()]);
    }
    (text + "}").into()
}
