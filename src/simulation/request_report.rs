//! Report of every request in the scenario `appointment`: request, response, duration and result of the check.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::live_answer;
use super::run::{CallProgress, SimulationRun};
use super::sender::{REQUEST_TIMEOUT, SendOutcome, SendResult};
use crate::base::clock::to_unsigned_ms;
use crate::event::EventKind;
use crate::view::{SimulatedRequestContentView, SimulatedRequestView};

/// Time that the network may add to a deadline that the receiver meets.
const NETWORK_MARGIN: Duration = Duration::from_millis(100);

/// A request before it is sent.
pub(super) struct RequestDetails<'a> {
    pub(super) call: &'a Arc<str>,
    pub(super) step: &'static str,
    pub(super) url: &'a url::Url,
    /// Arguments of a function, or the content of an inbound request.
    pub(super) arguments: Option<Value>,
    pub(super) deadline: Duration,
}

/// The result of checking an answer.
pub(super) struct AnswerCheck {
    pub(super) result: &'static str,
    /// What the answer was compared with, in words.
    pub(super) expectation: String,
    pub(super) problem: Option<String>,
}

/// The result of a request, for the report.
pub(super) fn request_view(request: RequestDetails<'_>, sent: &SendResult, check: AnswerCheck) -> SimulatedRequestView {
    let RequestDetails { call, step, url, arguments, deadline } = request;
    let AnswerCheck { result, expectation, problem } = check;
    let duration = sent.duration;
    let problem = match sent.outcome {
        SendOutcome::NoResponse(reason) => Some(reason.to_owned()),
        SendOutcome::NotSent => problem.or_else(|| Some("not sent".to_owned())),
        SendOutcome::Rejected(status) | SendOutcome::Failed(status) => Some(format!("status {status}")),
        SendOutcome::Stored | SendOutcome::Duplicate => {
            // A wrong answer is the more important problem, so lateness is reported only for correct ones.
            let is_late = duration > deadline + NETWORK_MARGIN;
            problem.or_else(|| is_late.then(|| format!("later than {} ms", deadline.as_millis())))
        }
    };
    let answer = serde_json::from_slice(&sent.response_body)
        .unwrap_or_else(|_| String::from_utf8_lossy(&sent.response_body).into());
    SimulatedRequestView {
        call: call.to_string(),
        step,
        request: SimulatedRequestContentView { method: "POST", path: url.path().to_owned(), arguments },
        status: sent.status,
        outcome: sent.outcome_header.clone(),
        result,
        answer,
        duration_ms: duration.as_secs_f64() * 1000.0,
        deadline_ms: to_unsigned_ms(deadline),
        expectation,
        ok: problem.is_none(),
        problem,
    }
}

impl SimulationRun {
    pub(super) fn record_event_request(
        &self,
        progress: &CallProgress,
        event: EventKind,
        body: &[u8],
        sent: &SendResult,
    ) {
        let mut arguments = None;
        let mut url = self.sender.webhook_url();
        let mut deadline = REQUEST_TIMEOUT;
        let (result, expectation, problem) = match sent.outcome {
            _ if event.is_inbound() => {
                (url, deadline) = (&self.inbound_endpoint.0, self.inbound_endpoint.1);
                arguments = serde_json::from_slice::<Value>(body).ok().map(|mut body| body["call_inbound"].take());
                let (result, problem) = live_answer::check_inbound_answer(&sent.response_body);
                (result, "conforms to Retell's contract", problem)
            }
            SendOutcome::Stored => ("stored", "acknowledged", None),
            SendOutcome::Duplicate => ("duplicate", "acknowledged", None),
            _ => ("-", "", None),
        };
        let request = RequestDetails { call: &progress.id, step: event.as_str(), url, arguments, deadline };
        let check = AnswerCheck { result, expectation: expectation.to_owned(), problem };
        self.record_request(request_view(request, sent, check));
    }

    pub(super) fn record_request(&self, request: SimulatedRequestView) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }

    pub(super) fn record_latency(&self, duration: Duration) {
        if let Some(latency) = self.latency.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            latency.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        }
    }
}
