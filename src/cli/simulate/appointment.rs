//! A call in which the agent collects an appointment: the functions it calls, and what they must answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::asked::{Line, Told};
use super::call::{Call, End};
use super::courier::{Delivered, Outcome};
use super::scenario::{Step, step};
use super::slot::Slots;
use super::talk::ToolUse;
use super::{Playing, Run};
use crate::answers::functions::function_path;
use crate::config::{DEFAULT_SLUG, FunctionSettings, Settings};
use crate::event::EventKind;

/// Between an answer that the model never got and the request that comes once more.
const LATE: Duration = Duration::from_secs(2);
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
            self.note(Line::new(
                (id, "collect"),
                &Delivered::not_sent(),
                "-",
                desk.collect.deadline,
                Some(NO_SLOT.to_owned()),
            ));
            return Err(Enough);
        };
        self.ask_wrongly(id, call, &arguments).await?;
        let (body, first) = self.book(id, call, arguments).await?;
        for (step, wait) in [("collect, again", Duration::ZERO), ("collect, late", LATE)] {
            tokio::time::sleep(wait).await;
            // A repetition within the attempt has the very signature; a later attempt is signed anew.
            let signature = first.signature.clone().filter(|_| wait.is_zero());
            let delivered = self.courier.ask(&desk.collect.url, &body, signature, desk.collect.deadline).await;
            let differs = (delivered.answer != first.answer).then(|| "another answer than the first one".to_owned());
            self.note(Line::new(
                (id, step),
                &delivered,
                Told::of(&delivered.answer).result,
                desk.collect.deadline,
                differs,
            ));
        }
        self.cancel(id, call, &Told::of(&first.answer)).await
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
        self.note(Line::new((id, "collect, wrong arguments"), &delivered, told.result, named.deadline, problem));
        Ok(())
    }

    /// Until a time is booked; what was sent last, and its answer.
    async fn book(
        &self,
        id: &Arc<str>,
        call: &mut Call,
        mut arguments: Map<String, Value>,
    ) -> Result<(Bytes, Delivered), Enough> {
        let named = &self.desk.collect;
        for tries in 1..=MOST_TRIES {
            let (body, delivered) = self.call_function(named, call, &arguments).await;
            let told = Told::of(&delivered.answer);
            let alternative = told.alternative().filter(|_| told.result == "unavailable");
            let problem = match (told.result, &alternative) {
                ("booked", _) => not_as_asked(&told, &arguments),
                ("unavailable", None) => Some("nothing is free, so nothing could be booked".to_owned()),
                ("unavailable", _) if tries == MOST_TRIES => Some("what it offered was never free".to_owned()),
                ("unavailable", _) => None,
                _ => Some("expected `booked` or `unavailable`".to_owned()),
            };
            self.note(Line::new((id, "collect"), &delivered, told.result, named.deadline, problem));
            match alternative {
                _ if told.result == "booked" => return Ok((body, delivered)),
                Some((date, time)) => {
                    arguments.insert("date".into(), date.into());
                    arguments.insert("time".into(), time.into());
                }
                None => return Err(Enough),
            }
        }
        Err(Enough)
    }

    /// Gives the time back: nobody is going to come.
    async fn cancel(&self, id: &Arc<str>, call: &mut Call, booked: &Told) -> Result<(), Enough> {
        let named = &self.desk.cancel;
        let number = booked.text("confirmation_number").ok_or(Enough)?;
        let arguments = Map::from_iter([("confirmation_number".to_owned(), number.into())]);
        let (_, delivered) = self.call_function(named, call, &arguments).await;
        let told = Told::of(&delivered.answer);
        let problem = (told.result != "cancelled").then(|| "expected `cancelled`; the time stays taken".to_owned());
        self.note(Line::new((id, "cancel"), &delivered, told.result, named.deadline, problem));
        Ok(())
    }

    /// The model calls a function; what it is told becomes part of the call.
    async fn call_function(
        &self,
        named: &Named,
        call: &mut Call,
        arguments: &Map<String, Value>,
    ) -> (Bytes, Delivered) {
        let id = call.tool_call_id();
        let arguments_text = Value::Object(arguments.clone()).to_string();
        call.use_function(ToolUse { id, name: named.name.clone(), arguments: arguments_text, result: None });
        let body = call.function(&named.name, arguments);
        let delivered = self.courier.ask(&named.url, &body, None, named.deadline).await;
        call.was_told(String::from_utf8_lossy(&delivered.answer).into_owned());
        (body, delivered)
    }
}

fn not_as_asked(told: &Told, arguments: &Map<String, Value>) -> Option<String> {
    if told.text("confirmation_number").is_none() {
        return Some("it has no confirmation number".to_owned());
    }
    let differs = ["date", "time"].iter().any(|key| told.fields.get(*key) != arguments.get(*key));
    differs.then(|| "booked for another time than asked for".to_owned())
}
