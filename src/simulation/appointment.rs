//! Scenario `appointment`: the function calls of the agent, and the checks of their answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::MAX_CONCURRENT_CALLS;
use super::appointment_slots::SimulatedSlots;
use super::call::{CallEnding, SimulatedCall};
use super::live_answer::ParsedFunctionAnswer;
use super::request_report::{AnswerCheck, RequestDetails, request_view};
use super::run::{CallProgress, SimulationRun};
use super::scenario::new_step;
use super::sender::{SendOutcome, SendResult};
use super::transcript::SimulatedToolCall;

use crate::config::{DEFAULT_COMPANY_SLUG, FunctionSettings, Settings};
use crate::event::EventKind;
use crate::live::functions::function_path;

/// Longest wait for a deadline to pass. With a longer deadline, the repeated request is sent before it.
const MAX_LATE_WAIT: Duration = Duration::from_secs(30);
/// Added to a deadline to be certainly past it.
const DEADLINE_MARGIN: Duration = Duration::from_millis(200);
/// Number of calls that repeat a request after its deadline. They wait concurrently, so the run is not much longer.
const CALLS_WITH_LATE_REQUEST: u64 = MAX_CONCURRENT_CALLS;
/// Limit of attempts to book, because concurrent calls may book an offered slot first.
const MAX_BOOKING_ATTEMPTS: usize = 20;

const COLLECT_FUNCTION: &str = "collect_appointment_information";
const CANCEL_FUNCTION: &str = "cancel_appointment";
pub(super) const FUNCTIONS_NOT_FOUND: &str = "the receiver does not have these functions (404); \
set appointments.enabled = true in config/local.toml and restart it";

const NO_BOOKABLE_SLOT: &str = "not sent: the settings in [appointments] leave no bookable slot";

/// The names and URLs of the appointment functions, and the slots to book.
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

/// Ends the function calls early. The remaining events of the call are still sent.
struct EndFunctionCalls;

/// A booked appointment and the request that booked it.
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
    ) -> Result<Self, crate::config::FieldError> {
        let endpoint = |built_in: &str| {
            let slug = company.unwrap_or(DEFAULT_COMPANY_SLUG);
            let is_match =
                |table: &&FunctionSettings| table.builtin.as_deref() == Some(built_in) && table.is_available_to(slug);
            // Without a table in [[functions]], the receiver serves the function with default settings.
            let default_table = FunctionSettings::new(built_in);
            let table = settings.functions.iter().find(is_match).unwrap_or(&default_table);
            let mut url = url.clone();
            url.set_path(&function_path(company, &table.name));
            url.set_query(None);
            FunctionEndpoint { name: table.name.clone(), url, deadline: table.timeout }
        };
        Ok(Self {
            collect: endpoint(COLLECT_FUNCTION),
            cancel: endpoint(CANCEL_FUNCTION),
            slots: SimulatedSlots::from_settings(settings, company, now_ms)?,
        })
    }
}

impl SimulationRun {
    /// Runs the part of the call after `call_started`.
    pub(super) async fn run_appointment_call(&self, progress: &mut CallProgress, number: u64, mut call: SimulatedCall) {
        let _: Result<(), EndFunctionCalls> = self.call_appointment_functions(progress, number, &mut call).await;
        if self.stop.is_cancelled() {
            return;
        }
        for (event, body) in [
            (EventKind::CallEnded, call.call_ended(CallEnding::HungUp)),
            (EventKind::CallAnalyzed, call.call_analyzed(CallEnding::HungUp)),
        ] {
            self.send_step(progress, new_step(event, body)).await;
        }
    }

    async fn call_appointment_functions(
        &self,
        progress: &CallProgress,
        number: u64,
        call: &mut SimulatedCall,
    ) -> Result<(), EndFunctionCalls> {
        let id = &progress.id;
        let functions = &self.functions;
        let Some(arguments) = functions.slots.booking_arguments(call.caller_name(), number, self.seed) else {
            let problem = Some(NO_BOOKABLE_SLOT.to_owned());
            let check = AnswerCheck { result: "-", expectation: String::new(), problem };
            let request = functions.collect.request_details(id, "collect", None);
            self.record_request(request_view(request, &SendResult::not_sent(), check));
            return Err(EndFunctionCalls);
        };
        self.collect_without_time(id, call, &arguments).await?;
        let booking = self.collect_until_booked(id, call, arguments).await?;
        self.repeat_request(id, &booking).await;
        if number < CALLS_WITH_LATE_REQUEST {
            self.repeat_after_deadline(id, &booking).await;
        }
        self.cancel_booking(id, call, &ParsedFunctionAnswer::parse(&booking.first_result.response_body)).await
    }

    /// Calls the function without a time. The answer must contain a message for the model.
    async fn collect_without_time(
        &self,
        id: &Arc<str>,
        call: &mut SimulatedCall,
        arguments: &Map<String, Value>,
    ) -> Result<(), EndFunctionCalls> {
        let function = &self.functions.collect;
        let mut arguments = arguments.clone();
        arguments.remove("time");
        let (_, sent) = self.call_function(function, call, &arguments).await;
        if sent.outcome == SendOutcome::Rejected(404) {
            self.calls_without_functions.fetch_add(1, Ordering::Relaxed);
            return Err(EndFunctionCalls);
        }
        let answer = ParsedFunctionAnswer::parse(&sent.response_body);
        let is_correct = answer.result == "invalid" && answer.non_empty_text("message").is_some();
        let problem = (!is_correct).then(|| "expected `invalid` and a message, because the time is missing".to_owned());
        let expectation = "the message names the missing argument".to_owned();
        let check = AnswerCheck { result: answer.result, expectation, problem };
        let request = function.request_details(id, "collect, wrong arguments", Some(&arguments));
        self.record_request(request_view(request, &sent, check));
        Ok(())
    }

    /// Calls the function with the offered alternatives until a slot is booked.
    async fn collect_until_booked(
        &self,
        id: &Arc<str>,
        call: &mut SimulatedCall,
        mut arguments: Map<String, Value>,
    ) -> Result<SimulatedBooking, EndFunctionCalls> {
        let function = &self.functions.collect;
        for attempt in 1..=MAX_BOOKING_ATTEMPTS {
            let sent_at = Instant::now();
            let (request_body, sent) = self.call_function(function, call, &arguments).await;
            let answer = ParsedFunctionAnswer::parse(&sent.response_body);
            let is_booked = answer.result == "booked";
            let alternative = answer.first_alternative().filter(|_| answer.result == "unavailable");
            let problem = match (answer.result, &alternative) {
                ("booked", _) => booking_mismatch(&answer, &arguments),
                ("unavailable", None) => Some("no slot is free, so no appointment was booked".to_owned()),
                ("unavailable", _) if attempt == MAX_BOOKING_ATTEMPTS => {
                    Some("none of the offered slots was free".to_owned())
                }
                ("unavailable", _) => None,
                _ => Some("expected `booked` or `unavailable`".to_owned()),
            };
            let expectation = if is_booked { "booked as requested" } else { "an alternative is offered" };
            let check = AnswerCheck { result: answer.result, expectation: expectation.to_owned(), problem };
            let request = function.request_details(id, "collect", Some(&arguments));
            self.record_request(request_view(request, &sent, check));
            if is_booked {
                return Ok(SimulatedBooking { request_body, arguments, first_result: sent, sent_at });
            }
            let (date, time) = alternative.ok_or(EndFunctionCalls)?;
            arguments.insert("date".into(), date.into());
            arguments.insert("time".into(), time.into());
        }
        Err(EndFunctionCalls)
    }

    /// Sends the same request again with the same signature, as after a response that was lost in transit.
    async fn repeat_request(&self, id: &Arc<str>, booking: &SimulatedBooking) {
        if self.stop.is_cancelled() {
            return;
        }
        let signature = booking.first_result.signature.clone();
        let function = &self.functions.collect;
        let sent = self.send_function_request_unless_stopped(function, &booking.request_body, signature).await;
        self.record_repeated_request(id, "collect, again", booking, &sent, "the same request again");
    }

    /// Sends the request again after its deadline, as a caller that has given up and retries.
    async fn repeat_after_deadline(&self, id: &Arc<str>, booking: &SimulatedBooking) {
        let function = &self.functions.collect;
        let send_at = booking.sent_at + function.deadline.min(MAX_LATE_WAIT) + DEADLINE_MARGIN;
        tokio::select! {
            () = tokio::time::sleep_until(send_at.into()) => {}
            () = self.stop.cancelled() => return,
        }
        let elapsed = booking.sent_at.elapsed();
        let relation = if elapsed > function.deadline { "after" } else { "before" };
        let description =
            format!("newly signed {:.1} s after the first request, {relation} its deadline", elapsed.as_secs_f64());
        let sent = self.send_function_request_unless_stopped(function, &booking.request_body, None).await;
        self.record_repeated_request(id, "collect, late", booking, &sent, &description);
    }

    /// A repeated request must get the answer of the first one and must not book again.
    fn record_repeated_request(
        &self,
        id: &Arc<str>,
        step: &'static str,
        booking: &SimulatedBooking,
        sent: &SendResult,
        description: &str,
    ) {
        // Without the header the server is not this receiver, and the equal answer is the only evidence.
        let problem = match sent.outcome_header.as_deref() {
            _ if sent.response_body != booking.first_result.response_body => {
                Some("the answer differs from the first one".to_owned())
            }
            Some("duplicate" | "shared") | None => None,
            Some(_) => Some("the function was called again".to_owned()),
        };
        let result = ParsedFunctionAnswer::parse(&sent.response_body).result;
        let check = AnswerCheck { result, expectation: format!("{description}: the stored answer"), problem };
        let request = self.functions.collect.request_details(id, step, Some(&booking.arguments));
        self.record_request(request_view(request, sent, check));
    }

    /// Cancels the appointment, so that a simulation leaves no bookings behind. This request is sent even when the
    /// run is stopped.
    async fn cancel_booking(
        &self,
        id: &Arc<str>,
        call: &mut SimulatedCall,
        booked: &ParsedFunctionAnswer,
    ) -> Result<(), EndFunctionCalls> {
        let function = &self.functions.cancel;
        let number = booked.non_empty_text("confirmation_number").ok_or(EndFunctionCalls)?;
        let arguments = Map::from_iter([("confirmation_number".to_owned(), number.into())]);
        let body = build_function_request(function, call, &arguments);
        let sent = self.send_function_request(function, &body, None).await;
        call.set_tool_result(String::from_utf8_lossy(&sent.response_body).into_owned());
        let answer = ParsedFunctionAnswer::parse(&sent.response_body);
        let is_cancelled = answer.result == "cancelled";
        let problem = (!is_cancelled).then(|| "expected `cancelled`; the slot remains booked".to_owned());
        let check = AnswerCheck { result: answer.result, expectation: "the slot is free again".to_owned(), problem };
        let request = function.request_details(id, "cancel", Some(&arguments));
        self.record_request(request_view(request, &sent, check));
        Ok(())
    }

    /// Calls a function as the model would; the answer becomes a part of the call's transcript.
    async fn call_function(
        &self,
        function: &FunctionEndpoint,
        call: &mut SimulatedCall,
        arguments: &Map<String, Value>,
    ) -> (Bytes, SendResult) {
        let body = build_function_request(function, call, arguments);
        let sent = self.send_function_request_unless_stopped(function, &body, None).await;
        call.set_tool_result(String::from_utf8_lossy(&sent.response_body).into_owned());
        (body, sent)
    }

    async fn send_function_request_unless_stopped(
        &self,
        function: &FunctionEndpoint,
        body: &Bytes,
        signature: Option<String>,
    ) -> SendResult {
        // After a stop only cancellations are sent, and those do not call this function.
        if self.sender.stop_reason().is_some() || self.stop.is_cancelled() {
            return SendResult::not_sent();
        }
        self.send_function_request(function, body, signature).await
    }

    async fn send_function_request(
        &self,
        function: &FunctionEndpoint,
        body: &Bytes,
        signature: Option<String>,
    ) -> SendResult {
        let sent = self.sender.send_once(&function.url, body, signature, function.deadline).await;
        self.function_calls.fetch_add(1, Ordering::Relaxed);
        if sent.outcome.is_acknowledged() {
            self.record_latency(sent.duration);
        }
        sent
    }
}

impl FunctionEndpoint {
    fn request_details<'a>(
        &'a self,
        call: &'a Arc<str>,
        step: &'static str,
        arguments: Option<&Map<String, Value>>,
    ) -> RequestDetails<'a> {
        let arguments = arguments.map(|arguments| Value::Object(arguments.clone()));
        RequestDetails { call, step, url: &self.url, arguments, deadline: self.deadline }
    }
}

/// Adds the function call to the call's transcript and returns the body of the request.
fn build_function_request(
    function: &FunctionEndpoint,
    call: &mut SimulatedCall,
    arguments: &Map<String, Value>,
) -> Bytes {
    let id = call.new_tool_call_id();
    let arguments_text = Value::Object(arguments.clone()).to_string();
    call.add_tool_call(SimulatedToolCall { id, name: function.name.clone(), arguments: arguments_text, result: None });
    call.function_request(&function.name, arguments)
}

fn booking_mismatch(answer: &ParsedFunctionAnswer, arguments: &Map<String, Value>) -> Option<String> {
    if answer.non_empty_text("confirmation_number").is_none() {
        return Some("the answer has no confirmation number".to_owned());
    }
    let differs = ["date", "time"].iter().any(|key| answer.fields.get(*key) != arguments.get(*key));
    differs.then(|| "booked for another time than requested".to_owned())
}
