//! A call in which the agent collects an appointment: the functions it calls, and what they must answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::appointment_slots::SimulatedSlots;
use super::call::{CallEnding, SimulatedCall};
use super::live_answer::ParsedFunctionAnswer;
use super::request_report::{AnswerCheck, RequestDetails, RequestReport};
use super::scenario::{ScenarioStep, new_step};
use super::sender::{SendOutcome, SendResult};
use super::transcript::SimulatedToolCall;
use super::{CallProgress, MAX_CONCURRENT_CALLS, SimulationRun};
use crate::config::{DEFAULT_COMPANY_SLUG, FunctionSettings, Settings};
use crate::event::EventKind;
use crate::live::functions::function_path;

/// Waited for longer than this, no deadline is passed.
const MAX_LATE_WAIT: Duration = Duration::from_secs(30);
/// Past a deadline, surely.
const DEADLINE_MARGIN: Duration = Duration::from_millis(200);
/// These calls play the request that comes late, side by side: each waits for a deadline.
const CALLS_WITH_LATE_REQUEST: u64 = MAX_CONCURRENT_CALLS;
/// Other calls may be quicker to take what was offered.
const MAX_BOOKING_ATTEMPTS: usize = 20;

const COLLECT_FUNCTION: &str = "collect_appointment_information";
const CANCEL_FUNCTION: &str = "cancel_appointment";
pub(super) const FUNCTIONS_NOT_FOUND: &str =
    "the receiver has no such functions (404); set appointments.enabled = true in config/local.toml and start it again";

const NO_BOOKABLE_SLOT: &str = "not sent: by [appointments] no time can be booked";

/// What the functions of appointments are called, and where.
pub(super) struct SimulatedFunctions {
    collect: FunctionEndpoint,
    cancel: FunctionEndpoint,
    slots: SimulatedSlots,
}

struct FunctionEndpoint {
    name: String,
    url: url::Url,
    deadline: Duration,
}

/// Nothing more can be asked: the rest of the call follows.
struct EndFunctionCalls;

/// What was booked, and by which request.
struct SimulatedBooking {
    request_body: Bytes,
    arguments: Map<String, Value>,
    first_result: SendResult,
    sent_at: Instant,
}

impl SimulatedFunctions {
    pub(super) fn new(
        settings: &Settings,
        url: &url::Url,
        company: Option<&str>,
        now_ms: i64,
    ) -> Result<Self, crate::config::ConfigError> {
        let named = |built_in: &str| {
            let slug = company.unwrap_or(DEFAULT_COMPANY_SLUG);
            let is_it =
                |table: &&FunctionSettings| table.builtin.as_deref() == Some(built_in) && table.is_available_to(slug);
            let usual = FunctionSettings::new(built_in);
            let table = settings.functions.iter().find(is_it).unwrap_or(&usual);
            let mut url = url.clone();
            url.set_path(&function_path(company, &table.name));
            url.set_query(None);
            FunctionEndpoint { name: table.name.clone(), url, deadline: Duration::from_millis(table.timeout_ms) }
        };
        Ok(Self {
            collect: named(COLLECT_FUNCTION),
            cancel: named(CANCEL_FUNCTION),
            slots: SimulatedSlots::from_settings(settings, company, now_ms)?,
        })
    }
}

impl SimulationRun {
    /// What follows `call_started`.
    pub(super) async fn run_appointment_call(&self, playing: &mut CallProgress, number: u64, mut call: SimulatedCall) {
        let _: Result<(), EndFunctionCalls> = self.call_appointment_functions(playing, number, &mut call).await;
        if self.stop.is_cancelled() {
            return;
        }
        for (event, body) in [
            (EventKind::CallEnded, call.call_ended(CallEnding::HungUp)),
            (EventKind::CallAnalyzed, call.call_analyzed(CallEnding::HungUp)),
        ] {
            let last: ScenarioStep = new_step(event, body);
            self.send_step(playing, last).await;
        }
    }

    async fn call_appointment_functions(
        &self,
        playing: &CallProgress,
        number: u64,
        call: &mut SimulatedCall,
    ) -> Result<(), EndFunctionCalls> {
        let (desk, id) = (&self.functions, &playing.id);
        let Some(arguments) = desk.slots.booking_arguments(call.caller_name(), number, self.seed) else {
            let judged =
                AnswerCheck { result: "-", expectation: String::new(), problem: Some(NO_BOOKABLE_SLOT.to_owned()) };
            self.record_request(RequestReport::new(
                desk.collect.request_details((id, "collect"), None),
                &SendResult::not_sent(),
                judged,
            ));
            return Err(EndFunctionCalls);
        };
        self.collect_without_time(id, call, &arguments).await?;
        let booked = self.collect_until_booked(id, call, arguments).await?;
        self.repeat_request(id, &booked).await;
        if number < CALLS_WITH_LATE_REQUEST {
            self.repeat_after_deadline(id, &booked).await;
        }
        self.cancel_booking(id, call, &ParsedFunctionAnswer::parse(&booked.first_result.response_body)).await
    }

    /// Without a time; the model must be told.
    async fn collect_without_time(
        &self,
        id: &Arc<str>,
        call: &mut SimulatedCall,
        arguments: &Map<String, Value>,
    ) -> Result<(), EndFunctionCalls> {
        let named = &self.functions.collect;
        let mut arguments = arguments.clone();
        arguments.remove("time");
        let (_, delivered) = self.call_function(named, call, &arguments).await;
        if delivered.outcome == SendOutcome::Rejected(404) {
            self.calls_without_functions.fetch_add(1, Ordering::Relaxed);
            return Err(EndFunctionCalls);
        }
        let told = ParsedFunctionAnswer::parse(&delivered.response_body);
        let is_usable = told.result == "invalid" && told.non_empty_text("message").is_some();
        let problem = (!is_usable).then(|| "expected `invalid` and a message, since no time was given".to_owned());
        let judged =
            AnswerCheck { result: told.result, expectation: "the model is told what is missing".to_owned(), problem };
        self.record_request(RequestReport::new(
            named.request_details((id, "collect, wrong arguments"), Some(&arguments)),
            &delivered,
            judged,
        ));
        Ok(())
    }

    /// Until a time is booked.
    async fn collect_until_booked(
        &self,
        id: &Arc<str>,
        call: &mut SimulatedCall,
        mut arguments: Map<String, Value>,
    ) -> Result<SimulatedBooking, EndFunctionCalls> {
        let named = &self.functions.collect;
        for tries in 1..=MAX_BOOKING_ATTEMPTS {
            let sent = Instant::now();
            let (body, first) = self.call_function(named, call, &arguments).await;
            let told = ParsedFunctionAnswer::parse(&first.response_body);
            let alternative = told.first_alternative().filter(|_| told.result == "unavailable");
            let problem = match (told.result, &alternative) {
                ("booked", _) => booking_mismatch(&told, &arguments),
                ("unavailable", None) => Some("nothing is free, so nothing could be booked".to_owned()),
                ("unavailable", _) if tries == MAX_BOOKING_ATTEMPTS => {
                    Some("what it offered was never free".to_owned())
                }
                ("unavailable", _) => None,
                _ => Some("expected `booked` or `unavailable`".to_owned()),
            };
            let checked = if told.result == "booked" { "booked as asked" } else { "another time is offered" };
            let judged = AnswerCheck { result: told.result, expectation: checked.to_owned(), problem };
            self.record_request(RequestReport::new(
                named.request_details((id, "collect"), Some(&arguments)),
                &first,
                judged,
            ));
            match alternative {
                _ if told.result == "booked" => {
                    return Ok(SimulatedBooking { request_body: body, arguments, first_result: first, sent_at: sent });
                }
                Some((date, time)) => {
                    arguments.insert("date".into(), date.into());
                    arguments.insert("time".into(), time.into());
                }
                None => return Err(EndFunctionCalls),
            }
        }
        Err(EndFunctionCalls)
    }

    /// The very request once more, as after an answer that was lost on its way.
    async fn repeat_request(&self, id: &Arc<str>, booked: &SimulatedBooking) {
        if self.stop.is_cancelled() {
            return;
        }
        let delivered = self
            .send_function_request_unless_stopped(
                &self.functions.collect,
                &booked.request_body,
                booked.first_result.signature.clone(),
            )
            .await;
        self.record_repeated_request((id, "collect, again"), booked, &delivered, "the same request once more");
    }

    /// Whoever asked has given up by then, and tries once more.
    async fn repeat_after_deadline(&self, id: &Arc<str>, booked: &SimulatedBooking) {
        let named = &self.functions.collect;
        let due = booked.sent_at + named.deadline.min(MAX_LATE_WAIT) + DEADLINE_MARGIN;
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = self.stop.cancelled() => return,
        }
        let after = booked.sent_at.elapsed();
        let past = if after > named.deadline { "past" } else { "before" };
        let checked = format!("signed anew {:.1} s after the first, {past} its deadline", after.as_secs_f64());
        let delivered = self.send_function_request_unless_stopped(named, &booked.request_body, None).await;
        self.record_repeated_request((id, "collect, late"), booked, &delivered, &checked);
    }

    /// It must have got the answer of the first one, without another booking.
    fn record_repeated_request(
        &self,
        named: (&Arc<str>, &'static str),
        booked: &SimulatedBooking,
        delivered: &SendResult,
        how: &str,
    ) {
        let problem = match delivered.outcome_header.as_deref() {
            _ if delivered.response_body != booked.first_result.response_body => {
                Some("another answer than the first one".to_owned())
            }
            Some("duplicate" | "shared") | None => None,
            Some(_) => Some("the function was called again".to_owned()),
        };
        let result = ParsedFunctionAnswer::parse(&delivered.response_body).result;
        let judged = AnswerCheck { result, expectation: format!("{how}: the stored answer"), problem };
        self.record_request(RequestReport::new(
            self.functions.collect.request_details(named, Some(&booked.arguments)),
            delivered,
            judged,
        ));
    }

    /// Gives the time back: nobody is going to come. Whatever else is not sent any more, this is.
    async fn cancel_booking(
        &self,
        id: &Arc<str>,
        call: &mut SimulatedCall,
        booked: &ParsedFunctionAnswer,
    ) -> Result<(), EndFunctionCalls> {
        let named = &self.functions.cancel;
        let number = booked.non_empty_text("confirmation_number").ok_or(EndFunctionCalls)?;
        let arguments = Map::from_iter([("confirmation_number".to_owned(), number.into())]);
        let body = build_function_request(named, call, &arguments);
        let delivered = self.send_function_request(named, &body, None).await;
        call.set_tool_result(String::from_utf8_lossy(&delivered.response_body).into_owned());
        let told = ParsedFunctionAnswer::parse(&delivered.response_body);
        let problem = (told.result != "cancelled").then(|| "expected `cancelled`; the time stays taken".to_owned());
        let judged = AnswerCheck { result: told.result, expectation: "the time is given back".to_owned(), problem };
        self.record_request(RequestReport::new(
            named.request_details((id, "cancel"), Some(&arguments)),
            &delivered,
            judged,
        ));
        Ok(())
    }

    /// The model calls a function; what it is told becomes part of the call.
    async fn call_function(
        &self,
        named: &FunctionEndpoint,
        call: &mut SimulatedCall,
        arguments: &Map<String, Value>,
    ) -> (Bytes, SendResult) {
        let body = build_function_request(named, call, arguments);
        let delivered = self.send_function_request_unless_stopped(named, &body, None).await;
        call.set_tool_result(String::from_utf8_lossy(&delivered.response_body).into_owned());
        (body, delivered)
    }

    async fn send_function_request_unless_stopped(
        &self,
        named: &FunctionEndpoint,
        body: &Bytes,
        signature: Option<String>,
    ) -> SendResult {
        if self.sender.stop_reason().is_some() || self.stop.is_cancelled() {
            return SendResult::not_sent();
        }
        self.send_function_request(named, body, signature).await
    }

    async fn send_function_request(
        &self,
        named: &FunctionEndpoint,
        body: &Bytes,
        signature: Option<String>,
    ) -> SendResult {
        let delivered = self.sender.send_once(&named.url, body, signature, named.deadline).await;
        self.function_calls.fetch_add(1, Ordering::Relaxed);
        if delivered.outcome.is_acknowledged() {
            self.record_latency(delivered.duration);
        }
        delivered
    }
}

impl FunctionEndpoint {
    fn request_details<'a>(
        &'a self,
        (call, step): (&'a Arc<str>, &'static str),
        arguments: Option<&Map<String, Value>>,
    ) -> RequestDetails<'a> {
        let arguments = arguments.map(|arguments| Value::Object(arguments.clone()));
        RequestDetails { call, step, url: &self.url, arguments, deadline: self.deadline }
    }
}

/// The request, which becomes part of the call.
fn build_function_request(named: &FunctionEndpoint, call: &mut SimulatedCall, arguments: &Map<String, Value>) -> Bytes {
    let (id, text) = (call.new_tool_call_id(), Value::Object(arguments.clone()).to_string());
    call.add_tool_call(SimulatedToolCall { id, name: named.name.clone(), arguments: text, result: None });
    call.function_request(&named.name, arguments)
}

fn booking_mismatch(told: &ParsedFunctionAnswer, arguments: &Map<String, Value>) -> Option<String> {
    if told.non_empty_text("confirmation_number").is_none() {
        return Some("it has no confirmation number".to_owned());
    }
    let differs = ["date", "time"].iter().any(|key| told.fields.get(*key) != arguments.get(*key));
    differs.then(|| "booked for another time than asked for".to_owned())
}
