//! One invocation, from the ledger to its answer.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::invocation_key::{self, InvocationKey, hash_parts};
use super::payload::{self, FunctionPayload};
use super::registry::RegisteredFunction;
use super::target::{TargetCall, TargetOutcome};
use super::{FunctionDeps, answer, deadline, runs_every_request, unique_key_part, wait_for_shutdown_grace};
use crate::base::id::random_hex;
use crate::http::RawEvent;
use crate::http::company::Company;
use crate::live::FunctionContext;
use crate::storage::{
    BeginInvocationOutcome, EndedInvocation, InvocationState, NewInvocation, SignatureUse, StoreError, StoredAnswer,
};

/// How long an answer waits for its commit. It is sent without one then: the function has been called.
const ANSWER_COMMIT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a failure's commit is waited for: somebody has waited long already.
const FAILURE_COMMIT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a function may go on after the fallback was sent: a retry gets its answer then, and nothing is done twice.
const LATE_ANSWER_GRACE: Duration = Duration::from_secs(30);
/// How long when the service stops. Requests stop waiting before, and the web some time after.
const TARGET_SHUTDOWN_GRACE: Duration = Duration::from_millis(6_500);
/// Larger arguments are not kept.
const MAX_STORED_ARGUMENTS_BYTES: usize = 64 * 1024;
/// The model's id of a tool call names it for as long as rows are kept.
const TOOL_CALL_WINDOW_MS: i64 = 86_400_000;

/// A request for a function, read.
pub(super) struct Invocation {
    pub(super) function: Arc<RegisteredFunction>,
    company: Arc<Company>,
    pub(super) body: Bytes,
    query: Option<String>,
    payload: Result<FunctionPayload, String>,
    pub(super) key: InvocationKey,
    pub(super) signature_use: Option<SignatureUse>,
    received_at_ms: i64,
    pub(super) received_at: std::time::Instant,
}

/// What came of an invocation.
#[derive(Debug)]
pub(super) enum InvocationResult {
    Answered {
        answer: StoredAnswer,
        outcome: &'static str,
    },
    /// The request's signature was used for something else before.
    SignatureReused,
}

impl InvocationResult {
    pub(super) fn answer(&self) -> Option<&StoredAnswer> {
        match self {
            Self::Answered { answer, .. } => Some(answer),
            Self::SignatureReused => None,
        }
    }

    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Answered { outcome, .. } => outcome,
            Self::SignatureReused => "signature_reused",
        }
    }

    pub(super) fn fallback(entry: &RegisteredFunction, outcome: &'static str) -> Self {
        let answer = answer::fallback(&entry.settings.name, entry.settings.fallback.as_ref());
        Self::Answered { answer, outcome }
    }
}

impl Invocation {
    pub(super) fn new(
        entry: &Arc<RegisteredFunction>,
        company: &Arc<Company>,
        raw: RawEvent,
        mut asked: Result<FunctionPayload, String>,
        method: &Method,
    ) -> Self {
        if let Ok(asked) = &mut asked {
            if raw.body.is_empty() {
                entry.schema.coerce_query_values(&mut asked.arguments);
            }
            // In the envelope the model's own arguments are compared with those of its tool call: only afterwards.
            entry.schema.remove_optional_nulls(&mut asked.arguments);
        }
        let name = entry.settings.name.as_bytes();
        let company_id = company.id.to_le_bytes();
        let covered = !raw.body.is_empty();
        // Nor may what books be sent again with another call id or query, although equal bodies of two calls may be.
        let bound = !covered || entry.target.checks_arguments();
        let call_id = asked.as_ref().ok().and_then(|asked| asked.call_id.clone()).filter(|_| bound);
        let query = raw.query.as_deref().filter(|_| bound).unwrap_or_default();
        let call_id = call_id.unwrap_or_default();
        // Besides the function, what an empty body's signature says nothing of. Equal bodies that are signed in the same
        // millisecond have one signature, and may come from two calls.
        let used_for =
            hash_parts(&[&company_id, name, method.as_str().as_bytes(), call_id.as_bytes(), query.as_bytes()]);
        let signature = raw.signature.as_ref().filter(|_| raw.key_fingerprint.is_some()).map(|header| SignatureUse {
            signature_hash: hash_parts(&[header.as_bytes()]),
            purpose_hash: used_for,
            seen_at_ms: raw.received_at_ms,
        });
        let query = raw.query.filter(|query| covered && !query.is_empty());
        let own = invocation_key_parts(entry, asked.as_ref().ok(), raw.signature.as_deref(), query.as_deref());
        let parts: Vec<&[u8]> = [&company_id[..], name].into_iter().chain(own.iter().map(Vec::as_slice)).collect();
        Self {
            key: hash_parts(&parts),
            function: Arc::clone(entry),
            company: Arc::clone(company),
            body: raw.body,
            query,
            payload: asked,
            signature_use: signature,
            received_at_ms: raw.received_at_ms,
            received_at: raw.received_instant,
        }
    }

    pub(super) fn call_id(&self) -> Option<String> {
        self.payload.as_ref().ok().and_then(|asked| asked.call_id.clone())
    }

    /// When a request stops waiting, whatever the one that calls is at.
    pub(super) fn deadline(&self) -> Instant {
        deadline(self.received_at, self.function.timeout())
    }

    /// When the function itself is given up.
    fn target_deadline(&self) -> Instant {
        self.deadline() + if self.function.target.outlives_deadline() { LATE_ANSWER_GRACE } else { Duration::ZERO }
    }

    /// Writes it down, calls the function, writes down what came, and says what to answer. That may be after the deadline:
    /// who waits sees to it.
    pub(super) async fn run(self, parts: &FunctionDeps) -> InvocationResult {
        // A little earlier, so that who waits learns of it.
        let within = self.deadline() - Duration::from_millis(50).min(self.function.timeout() / 10);
        let begun = timeout_at(within, self.begin(parts)).await;
        let invocation = match begun.unwrap_or_else(|_| Err(StoreError::Unavailable("the commit took too long".into())))
        {
            Ok(BeginInvocationOutcome::Run { idempotency_key: invocation, .. }) => invocation,
            Ok(BeginInvocationOutcome::AlreadyAnswered { answer, .. }) => {
                return InvocationResult::Answered { answer, outcome: "duplicate" };
            }
            Ok(BeginInvocationOutcome::SignatureReused) => return InvocationResult::SignatureReused,
            Err(error) => {
                let function = self.function.settings.name.as_str();
                tracing::error!(function, %error, "a function was not called, as that could not be written down first");
                return InvocationResult::fallback(&self.function, "not_stored");
            }
        };
        let came = tokio::select! {
            biased;
            came = self.call_target(&invocation) => came,
            () = sleep_until(self.target_deadline()) => {
                let ms = self.target_deadline().saturating_duration_since(Instant::from_std(self.received_at)).as_millis();
                TargetOutcome::Failed(format!("no answer within {ms} ms"))
            }
            () = wait_for_shutdown_grace(&parts.supervisor, TARGET_SHUTDOWN_GRACE) => TargetOutcome::Failed("the receiver stopped before it answered".to_owned()),
        };
        // A target may have noticed by itself.
        let late = Instant::now() >= self.deadline();
        self.finish(parts, &invocation, came, late).await
    }

    /// An invocation that ran before is taken up again as long as what it did stands, or when its very request came again.
    async fn begin(&self, parts: &FunctionDeps) -> Result<BeginInvocationOutcome, StoreError> {
        let begun = parts.ledger.begin_invocation(self.new_invocation()).await?;
        let (BeginInvocationOutcome::AlreadyAnswered { idempotency_key: earlier, signature_seen: false, .. }
        | BeginInvocationOutcome::Run { idempotency_key: earlier, signature_seen: false, run_number: 2.. }) = &begun
        else {
            return Ok(begun);
        };
        let Some(asked) = self.payload.as_ref().ok().filter(|asked| asked.tool_call_id.is_none()) else {
            return Ok(begun);
        };
        if self.function.target.can_reuse_answer(&self.function_context(earlier, asked)).await {
            return Ok(begun);
        }
        parts.ledger.begin_invocation(NewInvocation { reuse_since_ms: i64::MAX, ..self.new_invocation() }).await
    }

    fn new_invocation(&self) -> NewInvocation {
        let asked = self.payload.as_ref().ok();
        let tool_call_id = asked.and_then(|asked| asked.tool_call_id.clone());
        let window_ms = i64::try_from(self.function.settings.idempotency_window_ms).unwrap_or(TOOL_CALL_WINDOW_MS);
        let within_ms = if tool_call_id.is_some() { TOOL_CALL_WINDOW_MS } else { window_ms };
        let arguments = asked.and_then(|asked| serde_json::to_string(&asked.arguments).ok());
        NewInvocation {
            key: self.key,
            reuse_since_ms: self.received_at_ms - within_ms,
            idempotency_key: format!("inv_{}", random_hex()),
            company_id: self.company.id,
            function: self.function.settings.name.clone(),
            call_id: self.call_id(),
            tool_call_id,
            received_at_ms: self.received_at_ms,
            arguments: arguments.filter(|text| text.len() <= MAX_STORED_ARGUMENTS_BYTES),
            signature: self.signature_use.clone(),
        }
    }

    /// Checks the arguments, waits for a slot and calls the function.
    async fn call_target(&self, invocation: &str) -> TargetOutcome {
        let name = &self.function.settings.name;
        let asked = match &self.payload {
            Ok(asked) => asked,
            Err(why) => {
                return TargetOutcome::InvalidArguments(format!(
                    "{why}. Send them as a JSON object and call it again."
                ));
            }
        };
        if asked.name.as_ref().is_some_and(|called| called != name) {
            return TargetOutcome::InvalidRequest(answer::wrong_function(name));
        }
        if !self.function.checks_arguments {
            let problems = self.function.schema.validate(&asked.arguments);
            if !problems.is_empty() {
                return TargetOutcome::InvalidRequest(answer::schema_violations(name, &problems));
            }
        }
        // Beyond its time it is not begun: the fallback has been sent by then, and nothing is done.
        let Ok(slot) = timeout_at(self.deadline(), self.function.permits.acquire()).await else {
            return TargetOutcome::Failed("no place was free within its time".to_owned());
        };
        let Ok(_slot) = slot else {
            return TargetOutcome::Failed("it is being replaced".to_owned());
        };
        let (context, query) = (self.function_context(invocation, asked), self.query.as_deref());
        let (arguments, until) = (&asked.arguments, self.target_deadline());
        self.function
            .target
            .call(TargetCall { body: &self.body, query, arguments, context: &context, target_deadline: until })
            .await
    }

    fn function_context(&self, invocation: &str, asked: &FunctionPayload) -> FunctionContext {
        let (name, whose) = (&self.function.settings.name, (self.company.id, &*self.company.slug));
        let mut context = FunctionContext::new(name, whose, invocation, self.received_at_ms, self.deadline());
        context.call_id.clone_from(&asked.call_id);
        context.tool_call_id.clone_from(&asked.tool_call_id);
        context.from_number.clone_from(&asked.from_number);
        context.to_number.clone_from(&asked.to_number);
        context
    }

    async fn finish(
        &self,
        parts: &FunctionDeps,
        invocation: &str,
        came: TargetOutcome,
        late: bool,
    ) -> InvocationResult {
        let rules = &self.function.settings;
        let (answer, state, reason) = match came {
            TargetOutcome::Answer(answer) => (answer, InvocationState::Done, None),
            TargetOutcome::InvalidRequest(answer) => (answer, InvocationState::InvalidArguments, None),
            TargetOutcome::InvalidArguments(why) => {
                (answer::invalid_arguments(&rules.name, &why), InvocationState::InvalidArguments, None)
            }
            TargetOutcome::Failed(why) => {
                (answer::fallback(&rules.name, rules.fallback.as_ref()), InvocationState::Failed, Some(why))
            }
        };
        let outcome = match state {
            InvocationState::Done => "answered",
            InvocationState::InvalidArguments => "invalid_arguments",
            _ if late => "timed_out",
            _ => "failed",
        };
        if late && state == InvocationState::Done {
            let (function, company) = (rules.name.as_str(), &*self.company.slug);
            tracing::info!(function, company, invocation, "a function answered late; the answer is kept for a retry");
        }
        self.log_outcome(invocation, outcome, answer.truncated, reason.as_deref());
        let ended_at_ms = parts.clock.now_ms();
        let ended = EndedInvocation { key: self.key, state, ended_at_ms, answer: answer.clone(), reason };
        let within = if state == InvocationState::Failed { FAILURE_COMMIT_TIMEOUT } else { ANSWER_COMMIT_TIMEOUT };
        if !matches!(timeout(within, parts.ledger.end_invocation(ended)).await, Ok(Ok(()))) {
            let function = rules.name.as_str();
            tracing::error!(function, invocation, "a function's answer was sent and could not be written down in time");
        }
        InvocationResult::Answered { answer, outcome }
    }

    fn log_outcome(&self, invocation: &str, outcome: &str, cut: bool, reason: Option<&str>) {
        let (function, company) = (self.function.settings.name.as_str(), &*self.company.slug);
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
fn invocation_key_parts(
    entry: &RegisteredFunction,
    asked: Option<&FunctionPayload>,
    signature: Option<&str>,
    query: Option<&str>,
) -> Vec<Vec<u8>> {
    if runs_every_request(entry.settings.idempotency) {
        return vec![b"each".to_vec(), unique_key_part()];
    }
    // Without any call, equal arguments may be two callers'; the same bytes signed at the same moment are one request.
    let beside = || payload::canonical_query(query).into_bytes();
    let by_signature = || {
        vec![b"signature".to_vec(), signature.map_or_else(unique_key_part, |text| text.as_bytes().to_vec()), beside()]
    };
    let Some(asked) = asked else { return by_signature() };
    let call_id = asked.call_id.as_deref();
    match (&asked.tool_call_id, call_id) {
        (Some(tool_call), call) => {
            vec![b"tool".to_vec(), call.unwrap_or_default().as_bytes().to_vec(), tool_call.as_bytes().to_vec()]
        }
        (None, Some(call)) => {
            vec![
                b"call".to_vec(),
                call.as_bytes().to_vec(),
                invocation_key::canonical_json(&asked.arguments).into_bytes(),
                beside(),
            ]
        }
        (None, None) => by_signature(),
    }
}
