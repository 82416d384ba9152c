//! One invocation, from the ledger to its answer.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::envelope::{self, Asked};
use super::key::{self, Key, hash};
use super::registry::Entry;
use super::target::{Call, Came};
use super::{Parts, deadline, is_told_apart, reply, stopped, unique};
use crate::answers::FunctionContext;
use crate::base::id::random_hex;
use crate::http::RawEvent;
use crate::http::company::Company;
use crate::storage::{Begun, EndedInvocation, InvocationState, NewInvocation, SignatureUse, StoreError, StoredAnswer};

/// How long an answer waits for its commit. It is sent without one then: the function has been called.
const ENDING: Duration = Duration::from_secs(2);
/// How long a failure's commit is waited for: somebody has waited long already.
const FAILING: Duration = Duration::from_millis(500);
/// How long a function may go on after the fallback was sent: a retry gets its answer then, and nothing is done twice.
const BEYOND: Duration = Duration::from_secs(30);
/// How long when the service stops. Requests stop waiting before, and the web some time after.
const STOPPING: Duration = Duration::from_millis(6_500);
/// Larger arguments are not kept.
const MOST_ARGUMENTS: usize = 64 * 1024;
/// The model's id of a tool call names it for as long as rows are kept.
const DAY_MS: i64 = 86_400_000;

/// A request for a function, read.
pub(super) struct Invocation {
    pub(super) entry: Arc<Entry>,
    company: Arc<Company>,
    pub(super) body: Bytes,
    query: Option<String>,
    asked: Result<Asked, String>,
    pub(super) key: Key,
    pub(super) signature: Option<SignatureUse>,
    received_at_ms: i64,
    pub(super) began: std::time::Instant,
}

/// What came of an invocation.
#[derive(Debug)]
pub(super) enum Landed {
    Answered {
        answer: StoredAnswer,
        outcome: &'static str,
    },
    /// The request's signature was used for something else before.
    Foreign,
}

impl Landed {
    pub(super) fn answer(&self) -> Option<&StoredAnswer> {
        match self {
            Self::Answered { answer, .. } => Some(answer),
            Self::Foreign => None,
        }
    }

    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Answered { outcome, .. } => outcome,
            Self::Foreign => "reused_signature",
        }
    }

    pub(super) fn fallback(entry: &Entry, outcome: &'static str) -> Self {
        let answer = reply::fallback(&entry.rules.name, entry.rules.fallback.as_ref());
        Self::Answered { answer, outcome }
    }
}

impl Invocation {
    pub(super) fn new(
        entry: &Arc<Entry>,
        company: &Arc<Company>,
        raw: RawEvent,
        mut asked: Result<Asked, String>,
        method: &Method,
    ) -> Self {
        if let Ok(asked) = &mut asked {
            if raw.body.is_empty() {
                entry.schema.coerce(&mut asked.arguments);
            }
            // In the envelope the model's own arguments are compared with those of its tool call: only afterwards.
            entry.schema.without_nulls(&mut asked.arguments);
        }
        let name = entry.rules.name.as_bytes();
        let company_id = company.id.to_le_bytes();
        let covered = !raw.body.is_empty();
        // Nor may what books be sent again with another call id or query, although equal bodies of two calls may be.
        let bound = !covered || entry.target.checks_arguments();
        let call_id = asked.as_ref().ok().and_then(|asked| asked.call_id.clone()).filter(|_| bound);
        let query = raw.query.as_deref().filter(|_| bound).unwrap_or_default();
        let call_id = call_id.unwrap_or_default();
        // Besides the function, what an empty body's signature says nothing of. Equal bodies that are signed in the same
        // millisecond have one signature, and may come from two calls.
        let used_for = hash(&[&company_id, name, method.as_str().as_bytes(), call_id.as_bytes(), query.as_bytes()]);
        let signature = raw.signature.as_ref().filter(|_| raw.key_fingerprint.is_some()).map(|header| SignatureUse {
            signature: hash(&[header.as_bytes()]),
            used_for,
            seen_at_ms: raw.received_at_ms,
        });
        let query = raw.query.filter(|query| covered && !query.is_empty());
        let own = identity(entry, asked.as_ref().ok(), raw.signature.as_deref(), query.as_deref());
        let parts: Vec<&[u8]> = [&company_id[..], name].into_iter().chain(own.iter().map(Vec::as_slice)).collect();
        Self {
            key: hash(&parts),
            entry: Arc::clone(entry),
            company: Arc::clone(company),
            body: raw.body,
            query,
            asked,
            signature,
            received_at_ms: raw.received_at_ms,
            began: raw.began,
        }
    }

    pub(super) fn call_id(&self) -> Option<String> {
        self.asked.as_ref().ok().and_then(|asked| asked.call_id.clone())
    }

    /// When a request stops waiting, whatever the one that calls is at.
    pub(super) fn deadline(&self) -> Instant {
        deadline(self.began, self.entry.timeout())
    }

    /// When the function itself is given up.
    fn until(&self) -> Instant {
        self.deadline() + if self.entry.target.outlives_deadline() { BEYOND } else { Duration::ZERO }
    }

    /// Writes it down, calls the function, writes down what came, and says what to answer. That may be after the deadline:
    /// who waits sees to it.
    pub(super) async fn run(self, parts: &Parts) -> Landed {
        // A little earlier, so that who waits learns of it.
        let within = self.deadline() - Duration::from_millis(50).min(self.entry.timeout() / 10);
        let begun = timeout_at(within, self.begin(parts)).await;
        let invocation = match begun.unwrap_or_else(|_| Err(StoreError::Unavailable("the commit took too long".into())))
        {
            Ok(Begun::Run { invocation, .. }) => invocation,
            Ok(Begun::Stored { answer, .. }) => return Landed::Answered { answer, outcome: "replayed" },
            Ok(Begun::Foreign) => return Landed::Foreign,
            Err(error) => {
                let function = self.entry.rules.name.as_str();
                tracing::error!(function, %error, "a function was not called, as that could not be written down first");
                return Landed::fallback(&self.entry, "not_stored");
            }
        };
        let came = tokio::select! {
            biased;
            came = self.call(&invocation) => came,
            () = sleep_until(self.until()) => {
                let ms = self.until().saturating_duration_since(Instant::from_std(self.began)).as_millis();
                Came::Failed(format!("no answer within {ms} ms"))
            }
            () = stopped(&parts.supervisor, STOPPING) => Came::Failed("the receiver stopped before it answered".to_owned()),
        };
        // A target may have noticed by itself.
        let late = Instant::now() >= self.deadline();
        self.end(parts, &invocation, came, late).await
    }

    /// An invocation that ran before is taken up again as long as what it did stands, or when its very request came again.
    async fn begin(&self, parts: &Parts) -> Result<Begun, StoreError> {
        let begun = parts.ledger.begin_invocation(self.new_row()).await?;
        let (Begun::Stored { invocation: earlier, again: false, .. }
        | Begun::Run { invocation: earlier, again: false, runs: 2.. }) = &begun
        else {
            return Ok(begun);
        };
        let Some(asked) = self.asked.as_ref().ok().filter(|asked| asked.tool_call_id.is_none()) else {
            return Ok(begun);
        };
        if self.entry.target.still_holds(&self.context(earlier, asked)).await {
            return Ok(begun);
        }
        parts.ledger.begin_invocation(NewInvocation { since_ms: i64::MAX, ..self.new_row() }).await
    }

    fn new_row(&self) -> NewInvocation {
        let asked = self.asked.as_ref().ok();
        let tool_call_id = asked.and_then(|asked| asked.tool_call_id.clone());
        let window_ms = i64::try_from(self.entry.rules.window_ms).unwrap_or(DAY_MS);
        let within_ms = if tool_call_id.is_some() { DAY_MS } else { window_ms };
        let arguments = asked.and_then(|asked| serde_json::to_string(&asked.arguments).ok());
        NewInvocation {
            key: self.key,
            since_ms: self.received_at_ms - within_ms,
            invocation: format!("inv_{}", random_hex()),
            company_id: self.company.id,
            function: self.entry.rules.name.clone(),
            call_id: self.call_id(),
            tool_call_id,
            received_at_ms: self.received_at_ms,
            arguments: arguments.filter(|text| text.len() <= MOST_ARGUMENTS),
            signature: self.signature.clone(),
        }
    }

    /// Checks the arguments, waits for a slot and calls the function.
    async fn call(&self, invocation: &str) -> Came {
        let name = &self.entry.rules.name;
        let asked = match &self.asked {
            Ok(asked) => asked,
            Err(why) => return Came::Invalid(format!("{why}. Send them as a JSON object and call it again.")),
        };
        if asked.name.as_ref().is_some_and(|called| called != name) {
            return Came::Unfit(reply::misdirected(name));
        }
        if !self.entry.checks_arguments {
            let problems = self.entry.schema.problems(&asked.arguments);
            if !problems.is_empty() {
                return Came::Unfit(reply::invalid(name, &problems));
            }
        }
        // Beyond its time it is not begun: the fallback has been sent by then, and nothing is done.
        let Ok(slot) = timeout_at(self.deadline(), self.entry.slots.acquire()).await else {
            return Came::Failed("no place was free within its time".to_owned());
        };
        let Ok(_slot) = slot else {
            return Came::Failed("it is being replaced".to_owned());
        };
        let (context, query) = (self.context(invocation, asked), self.query.as_deref());
        let (arguments, until) = (&asked.arguments, self.until());
        self.entry.target.call(Call { body: &self.body, query, arguments, context: &context, until }).await
    }

    fn context(&self, invocation: &str, asked: &Asked) -> FunctionContext {
        let (name, whose) = (&self.entry.rules.name, (self.company.id, &*self.company.slug));
        let mut context = FunctionContext::new(name, whose, invocation, self.received_at_ms, self.deadline());
        context.call_id.clone_from(&asked.call_id);
        context.tool_call_id.clone_from(&asked.tool_call_id);
        context.from_number.clone_from(&asked.from_number);
        context.to_number.clone_from(&asked.to_number);
        context
    }

    async fn end(&self, parts: &Parts, invocation: &str, came: Came, late: bool) -> Landed {
        let rules = &self.entry.rules;
        let (answer, state, reason) = match came {
            Came::Answer(answer) => (answer, InvocationState::Done, None),
            Came::Unfit(answer) => (answer, InvocationState::Invalid, None),
            Came::Invalid(why) => (reply::unusable(&rules.name, &why), InvocationState::Invalid, None),
            Came::Failed(why) => {
                (reply::fallback(&rules.name, rules.fallback.as_ref()), InvocationState::Failed, Some(why))
            }
        };
        let outcome = match state {
            InvocationState::Done => "answered",
            InvocationState::Invalid => "invalid",
            _ if late => "late",
            _ => "failed",
        };
        if late && state == InvocationState::Done {
            let (function, company) = (rules.name.as_str(), &*self.company.slug);
            tracing::info!(function, company, invocation, "a function answered late; the answer is kept for a retry");
        }
        self.say(invocation, outcome, answer.cut, reason.as_deref());
        let ended_at_ms = parts.clock.now_ms();
        let ended = EndedInvocation { key: self.key, state, ended_at_ms, answer: answer.clone(), reason };
        let within = if state == InvocationState::Failed { FAILING } else { ENDING };
        if !matches!(timeout(within, parts.ledger.end_invocation(ended)).await, Ok(Ok(()))) {
            let function = rules.name.as_str();
            tracing::error!(function, invocation, "a function's answer was sent and could not be written down in time");
        }
        Landed::Answered { answer, outcome }
    }

    fn say(&self, invocation: &str, outcome: &str, cut: bool, reason: Option<&str>) {
        let (function, company) = (self.entry.rules.name.as_str(), &*self.company.slug);
        if let Some(reason) = reason {
            tracing::warn!(
                function,
                company,
                invocation,
                outcome,
                reason,
                "a function could not be done; its fallback is sent"
            );
        } else if cut {
            tracing::warn!(
                function,
                company,
                invocation,
                "a function's answer was cut to 15000 characters, as Retell would"
            );
        } else {
            tracing::debug!(function, company, invocation, outcome, "function");
        }
    }
}

/// What makes requests for one function one invocation.
fn identity(entry: &Entry, asked: Option<&Asked>, signature: Option<&str>, query: Option<&str>) -> Vec<Vec<u8>> {
    if is_told_apart(entry.rules.idempotency) {
        return vec![b"each".to_vec(), unique()];
    }
    // Without any call, equal arguments may be two callers'; the same bytes signed at the same moment are one request.
    let beside = || envelope::beside(query).into_bytes();
    let by_signature =
        || vec![b"signature".to_vec(), signature.map_or_else(unique, |text| text.as_bytes().to_vec()), beside()];
    let Some(asked) = asked else { return by_signature() };
    let call_id = asked.call_id.as_deref();
    match (&asked.tool_call_id, call_id) {
        (Some(tool_call), call) => {
            vec![b"tool".to_vec(), call.unwrap_or_default().as_bytes().to_vec(), tool_call.as_bytes().to_vec()]
        }
        (None, Some(call)) => {
            vec![b"call".to_vec(), call.as_bytes().to_vec(), key::canonical(&asked.arguments).into_bytes(), beside()]
        }
        (None, None) => by_signature(),
    }
}
