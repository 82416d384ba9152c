//! A call in which the agent collects an appointment: the functions it calls, and what they must answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::asked::Told;
use super::call::{Call, End};
use super::courier::{Delivered, Outcome};
use super::lines::{Asked, Judged, Line};
use super::scenario::{Step, step};
use super::slot::Slots;
use super::talk::ToolUse;
use super::{AT_ONCE, Playing, Run};
use crate::answers::functions::function_path;
use crate::config::{DEFAULT_SLUG, FunctionSettings, Settings};
use crate::event::EventKind;

/// Waited for longer than this, no deadline is passed.
const LONGEST_LATE: Duration = Duration::from_secs(30);
/// Past a deadline, surely.
const BEYOND: Duration = Duration::from_millis(200);
/// These calls play the request that comes late, side by side: each waits for a deadline.
const LATE_CALLS: u64 = AT_ONCE;
/// Other calls may be quicker to take what was offered.
const MOST_TRIES: usize = 20;

const COLLECT: &str = "collect_appointment_information";
const CANCEL: &str = "cancel_appointment";
pub(super) const NOT_RUN: &str =
    "the receiver has no such functions (404); set appointments.enabled = true in config/local.toml and start it again";

const NO_SLOT: &str = "not sent: by [appointments] no time can be booked";

/// What the functions of appointments are called, and where.
pub(super) struct Desk {
    collect: Named,
    cancel: Named,
    slots: Slots,
}

struct Named {
    name: String,
    url: url::Url,
    deadline: Duration,
}

/// Nothing more can be asked: the rest of the call follows.
struct Enough;

/// What was booked, and by which request.
struct Booked {
    body: Bytes,
    arguments: Map<String, Value>,
    first: Delivered,
    sent: Instant,
}

impl Desk {
    pub(super) fn new(
        settings: &Settings,
        url: &url::Url,
        company: Option<&str>,
        now_ms: i64,
    ) -> Result<Self, crate::config::ConfigError> {
        let named = |built_in: &str| {
            let slug = company.unwrap_or(DEFAULT_SLUG);
            let is_it = |table: &&FunctionSettings| table.builtin.as_deref() == Some(built_in) && table.is_for(slug);
            let usual = FunctionSettings::new(built_in);
            let table = settings.functions.iter().find(is_it).unwrap_or(&usual);
            let mut url = url.clone();
            url.set_path(&function_path(company, &table.name));
            url.set_query(None);
            Named { name: table.name.clone(), url, deadline: Duration::from_millis(table.timeout_ms) }
        };
        Ok(Self { collect: named(COLLECT), cancel: named(CANCEL), slots: Slots::open(settings, company, now_ms)? })
    }
}

impl Run {
    /// What follows `call_started`.
    pub(super) async fn take_appointment(&self, playing: &mut Playing, number: u64, mut call: Call) {
        let _: Result<(), Enough> = self.use_functions(playing, number, &mut call).await;
        if self.stop.is_cancelled() {
            return;
        }
        for (event, body) in
            [(EventKind::CallEnded, call.ended(End::HungUp)), (EventKind::CallAnalyzed, call.analyzed(End::HungUp))]
        {
            let last: Step = step(event, body);
            self.send(playing, last).await;
        }
    }

    async fn use_functions(&self, playing: &Playing, number: u64, call: &mut Call) -> Result<(), Enough> {
        let (desk, id) = (&self.desk, &playing.id);
        let Some(arguments) = desk.slots.arguments(call.name(), number, self.seed) else {
            let judged = Judged { result: "-", checked: String::new(), problem: Some(NO_SLOT.to_owned()) };
            self.note(Line::new(desk.collect.asked((id, "collect"), None), &Delivered::not_sent(), judged));
            return Err(Enough);
        };
        self.ask_wrongly(id, call, &arguments).await?;
        let booked = self.book(id, call, arguments).await?;
        self.ask_again(id, &booked).await;
        if number < LATE_CALLS {
            self.ask_late(id, &booked).await;
        }
        self.cancel(id, call, &Told::of(&booked.first.answer)).await
    }

    /// Without a time; the model must be told.
    async fn ask_wrongly(&self, id: &Arc<str>, call: &mut Call, arguments: &Map<String, Value>) -> Result<(), Enough> {
        let named = &self.desk.collect;
        let mut arguments = arguments.clone();
        arguments.remove("time");
        let (_, delivered) = self.call_function(named, call, &arguments).await;
        if delivered.outcome == Outcome::Refused(404) {
            self.without_functions.fetch_add(1, Ordering::Relaxed);
            return Err(Enough);
        }
        let told = Told::of(&delivered.answer);
        let is_usable = told.result == "invalid" && told.text("message").is_some();
        let problem = (!is_usable).then(|| "expected `invalid` and a message, since no time was given".to_owned());
        let judged = Judged { result: told.result, checked: "the model is told what is missing".to_owned(), problem };
        self.note(Line::new(named.asked((id, "collect, wrong arguments"), Some(&arguments)), &delivered, judged));
        Ok(())
    }

    /// Until a time is booked.
    async fn book(&self, id: &Arc<str>, call: &mut Call, mut arguments: Map<String, Value>) -> Result<Booked, Enough> {
        let named = &self.desk.collect;
        for tries in 1..=MOST_TRIES {
            let sent = Instant::now();
            let (body, first) = self.call_function(named, call, &arguments).await;
            let told = Told::of(&first.answer);
            let alternative = told.alternative().filter(|_| told.result == "unavailable");
            let problem = match (told.result, &alternative) {
                ("booked", _) => not_as_asked(&told, &arguments),
                ("unavailable", None) => Some("nothing is free, so nothing could be booked".to_owned()),
                ("unavailable", _) if tries == MOST_TRIES => Some("what it offered was never free".to_owned()),
                ("unavailable", _) => None,
                _ => Some("expected `booked` or `unavailable`".to_owned()),
            };
            let checked = if told.result == "booked" { "booked as asked" } else { "another time is offered" };
            let judged = Judged { result: told.result, checked: checked.to_owned(), problem };
            self.note(Line::new(named.asked((id, "collect"), Some(&arguments)), &first, judged));
            match alternative {
                _ if told.result == "booked" => return Ok(Booked { body, arguments, first, sent }),
                Some((date, time)) => {
                    arguments.insert("date".into(), date.into());
                    arguments.insert("time".into(), time.into());
                }
                None => return Err(Enough),
            }
        }
        Err(Enough)
    }

    /// The very request once more, as after an answer that was lost on its way.
    async fn ask_again(&self, id: &Arc<str>, booked: &Booked) {
        if self.stop.is_cancelled() {
            return;
        }
        let delivered = self.ask(&self.desk.collect, &booked.body, booked.first.signature.clone()).await;
        self.note_repeated((id, "collect, again"), booked, &delivered, "the same request once more");
    }

    /// Whoever asked has given up by then, and tries once more.
    async fn ask_late(&self, id: &Arc<str>, booked: &Booked) {
        let named = &self.desk.collect;
        let due = booked.sent + named.deadline.min(LONGEST_LATE) + BEYOND;
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = self.stop.cancelled() => return,
        }
        let after = booked.sent.elapsed();
        let past = if after > named.deadline { "past" } else { "before" };
        let checked = format!("signed anew {:.1} s after the first, {past} its deadline", after.as_secs_f64());
        let delivered = self.ask(named, &booked.body, None).await;
        self.note_repeated((id, "collect, late"), booked, &delivered, &checked);
    }

    /// It must have got the answer of the first one, without another booking.
    fn note_repeated(&self, named: (&Arc<str>, &'static str), booked: &Booked, delivered: &Delivered, how: &str) {
        let problem = match delivered.said.as_deref() {
            _ if delivered.answer != booked.first.answer => Some("another answer than the first one".to_owned()),
            Some("replayed" | "shared") | None => None,
            Some(_) => Some("the function was called again".to_owned()),
        };
        let result = Told::of(&delivered.answer).result;
        let judged = Judged { result, checked: format!("{how}: the stored answer"), problem };
        self.note(Line::new(self.desk.collect.asked(named, Some(&booked.arguments)), delivered, judged));
    }

    /// Gives the time back: nobody is going to come. Whatever else is not sent any more, this is.
    async fn cancel(&self, id: &Arc<str>, call: &mut Call, booked: &Told) -> Result<(), Enough> {
        let named = &self.desk.cancel;
        let number = booked.text("confirmation_number").ok_or(Enough)?;
        let arguments = Map::from_iter([("confirmation_number".to_owned(), number.into())]);
        let body = use_function(named, call, &arguments);
        let delivered = self.ask_anyway(named, &body, None).await;
        call.was_told(String::from_utf8_lossy(&delivered.answer).into_owned());
        let told = Told::of(&delivered.answer);
        let problem = (told.result != "cancelled").then(|| "expected `cancelled`; the time stays taken".to_owned());
        let judged = Judged { result: told.result, checked: "the time is given back".to_owned(), problem };
        self.note(Line::new(named.asked((id, "cancel"), Some(&arguments)), &delivered, judged));
        Ok(())
    }

    /// The model calls a function; what it is told becomes part of the call.
    async fn call_function(
        &self,
        named: &Named,
        call: &mut Call,
        arguments: &Map<String, Value>,
    ) -> (Bytes, Delivered) {
        let body = use_function(named, call, arguments);
        let delivered = self.ask(named, &body, None).await;
        call.was_told(String::from_utf8_lossy(&delivered.answer).into_owned());
        (body, delivered)
    }

    async fn ask(&self, named: &Named, body: &Bytes, signature: Option<String>) -> Delivered {
        if self.courier.stopped().is_some() || self.stop.is_cancelled() {
            return Delivered::not_sent();
        }
        self.ask_anyway(named, body, signature).await
    }

    async fn ask_anyway(&self, named: &Named, body: &Bytes, signature: Option<String>) -> Delivered {
        let delivered = self.courier.ask(&named.url, body, signature, named.deadline).await;
        self.function_calls.fetch_add(1, Ordering::Relaxed);
        if delivered.outcome.is_acknowledged() {
            self.note_latency(delivered.took);
        }
        delivered
    }
}

impl Named {
    fn asked<'a>(
        &'a self,
        (call, step): (&'a Arc<str>, &'static str),
        arguments: Option<&Map<String, Value>>,
    ) -> Asked<'a> {
        let arguments = arguments.map(|arguments| Value::Object(arguments.clone()));
        Asked { call, step, url: &self.url, arguments, deadline: self.deadline }
    }
}

/// The request, which becomes part of the call.
fn use_function(named: &Named, call: &mut Call, arguments: &Map<String, Value>) -> Bytes {
    let (id, text) = (call.tool_call_id(), Value::Object(arguments.clone()).to_string());
    call.use_function(ToolUse { id, name: named.name.clone(), arguments: text, result: None });
    call.function(&named.name, arguments)
}

fn not_as_asked(told: &Told, arguments: &Map<String, Value>) -> Option<String> {
    if told.text("confirmation_number").is_none() {
        return Some("it has no confirmation number".to_owned());
    }
    let differs = ["date", "time"].iter().any(|key| told.fields.get(*key) != arguments.get(*key));
    differs.then(|| "booked for another time than asked for".to_owned())
}
