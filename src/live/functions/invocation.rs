//! One invocation: begin it in the ledger, call the function, end it in the ledger.
//!
//! The order is what makes retries safe. The ledger has the invocation before the function can have an effect, so a
//! crash in between is followed by a call under the same idempotency key; and it has the answer before the caller
//! hears it, so a retry gets the same answer.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::invocation_key::{self, InvocationKey, hash_parts};
use super::payload::FunctionPayload;
use super::registry::RegisteredFunction;
use super::target::{TargetCall, TargetOutcome};
use super::{FunctionDeps, answer, deadline, wait_for_shutdown_grace};
use crate::base::id::random_hex;
use crate::http::RawEvent;
use crate::live::FunctionContext;
use crate::storage::{
    BeginInvocationOutcome, EndedInvocation, InvocationState, NewInvocation, SignatureUse, StoreError, StoredAnswer,
};
use crate::tenants::Company;

/// How long an answer waits for its commit. It is sent without one after that: the function has been called, and the
/// caller is waiting.
const ANSWER_COMMIT_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for a failure. Shorter, because the deadline has often passed, and nothing is lost: a retry calls the
/// function again in any case.
const FAILURE_COMMIT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a function may continue after its fallback was sent. Its late answer is stored for a retry, which then
/// does not run the function a second time.
const LATE_ANSWER_GRACE: Duration = Duration::from_secs(30);
/// How long functions may continue after the service was told to stop. Between the 6 s that their requests wait and
/// the 8 s of the HTTP server, so that the failure is still written to the ledger.
const TARGET_SHUTDOWN_GRACE: Duration = Duration::from_millis(6_500);
/// Larger arguments are not stored in the ledger; the function still gets them.
const MAX_STORED_ARGUMENTS_BYTES: usize = 64 * 1024;
/// For how long a tool call id identifies an invocation: as long as the ledger keeps rows.
const TOOL_CALL_WINDOW_MS: i64 = 86_400_000;

/// A parsed request for a function, with the key that decides which other requests are the same invocation.
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

/// The result of an invocation, shared by all requests for it.
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
        mut payload: Result<FunctionPayload, String>,
        method: &Method,
    ) -> Self {
        let has_body = !raw.body.is_empty();
        if let Ok(payload) = &mut payload {
            if !has_body {
                entry.schema.coerce_query_values(&mut payload.arguments);
            }
            // Only here, after the payload was parsed: the tool call id is found by comparing the arguments as the
            // model sent them, nulls included.
            entry.schema.remove_optional_nulls(&mut payload.arguments);
        }
        let signature_use = signature_use(entry, company, &raw, payload.as_ref().ok(), method);
        // Without a body the query is the arguments, which are part of the key already.
        let query = raw.query.filter(|query| has_body && !query.is_empty());
        let key = invocation_key::for_request(
            entry,
            company.id,
            payload.as_ref().ok(),
            raw.signature.as_deref(),
            query.as_deref(),
        );
        Self {
            key,
            function: Arc::clone(entry),
            company: Arc::clone(company),
            body: raw.body,
            query,
            payload,
            signature_use,
            received_at_ms: raw.received_at_ms,
            received_at: raw.received_instant,
        }
    }

    pub(super) fn call_id(&self) -> Option<String> {
        self.payload.as_ref().ok().and_then(|payload| payload.call_id.clone())
    }

    /// When this request gets the fallback. A follower has its own deadline, which differs from that of its leader.
    pub(super) fn deadline(&self) -> Instant {
        deadline(self.received_at, self.function.timeout())
    }

    /// When the function itself is cancelled.
    fn target_deadline(&self) -> Instant {
        let grace = if self.function.target.outlives_deadline() { LATE_ANSWER_GRACE } else { Duration::ZERO };
        self.deadline() + grace
    }

    /// Begins the invocation, calls the function and ends the invocation. May return after the deadline: the requests
    /// that wait for the result keep their deadlines themselves.
    pub(super) async fn run(self, deps: &FunctionDeps) -> InvocationResult {
        // A little before the deadline, so that the outcome is `not_stored` and not `timed_out`.
        let margin = Duration::from_millis(50).min(self.function.timeout() / 10);
        let begun = match timeout_at(self.deadline() - margin, self.begin(deps)).await {
            Ok(begun) => begun,
            Err(_) => Err(StoreError::Unavailable("the commit took too long".into())),
        };
        let invocation = match begun {
            Ok(BeginInvocationOutcome::Run { idempotency_key, .. }) => idempotency_key,
            Ok(BeginInvocationOutcome::AlreadyAnswered { answer, .. }) => {
                return InvocationResult::Answered { answer, outcome: "duplicate" };
            }
            Ok(BeginInvocationOutcome::SignatureReused) => return InvocationResult::SignatureReused,
            // Without its row the function must not be called: a retry could not be recognized and would call it again.
            Err(error) => {
                let function = self.function.settings.name.as_str();
                tracing::error!(function, %error, "function invocation not stored");
                return InvocationResult::fallback(&self.function, "not_stored");
            }
        };
        let target_outcome = tokio::select! {
            // An answer that is there at the deadline counts.
            biased;
            outcome = self.call_target(&invocation) => outcome,
            () = sleep_until(self.target_deadline()) => {
                let limit = self.target_deadline().saturating_duration_since(Instant::from_std(self.received_at));
                TargetOutcome::Failed(format!("no answer within {} ms", limit.as_millis()))
            }
            () = wait_for_shutdown_grace(&deps.supervisor, TARGET_SHUTDOWN_GRACE) => {
                TargetOutcome::Failed("the receiver stopped before the function answered".to_owned())
            }
        };
        // By the clock and not by which branch won: a target may notice its deadline itself and report a failure.
        let is_late = Instant::now() >= self.deadline();
        self.finish(deps, &invocation, target_outcome, is_late).await
    }

    /// Begins the invocation in the ledger. An earlier invocation with the same key is continued, unless the function
    /// reports that its answer is outdated.
    async fn begin(&self, deps: &FunctionDeps) -> Result<BeginInvocationOutcome, StoreError> {
        let begun = deps.ledger.begin_invocation(self.new_invocation()).await?;
        // `signature_seen: false` means that this is not the earlier request sent again, only one with equal arguments.
        let (BeginInvocationOutcome::AlreadyAnswered { idempotency_key: earlier, signature_seen: false, .. }
        | BeginInvocationOutcome::Run { idempotency_key: earlier, signature_seen: false, run_number: 2.. }) = &begun
        else {
            return Ok(begun);
        };
        let Ok(payload) = &self.payload else { return Ok(begun) };
        // The same tool call id is proof that the model asked once.
        if payload.tool_call_id.is_some() {
            return Ok(begun);
        }
        if self.function.target.can_reuse_answer(&self.function_context(earlier, payload)).await {
            return Ok(begun);
        }
        // No row is younger than this bound, so the ledger detaches the earlier row from the key and inserts a new one.
        // Single flight keeps other requests for the key out between the two calls.
        deps.ledger.begin_invocation(NewInvocation { reuse_since_ms: i64::MAX, ..self.new_invocation() }).await
    }

    fn new_invocation(&self) -> NewInvocation {
        let payload = self.payload.as_ref().ok();
        let tool_call_id = payload.and_then(|payload| payload.tool_call_id.clone());
        // Equal arguments can be meant anew after a while; a tool call id cannot.
        let window_ms = if tool_call_id.is_some() {
            TOOL_CALL_WINDOW_MS
        } else {
            i64::try_from(self.function.settings.idempotency_window_ms).unwrap_or(TOOL_CALL_WINDOW_MS)
        };
        let arguments = payload.and_then(|payload| serde_json::to_string(&payload.arguments).ok());
        NewInvocation {
            key: self.key,
            reuse_since_ms: self.received_at_ms - window_ms,
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

    /// Checks the arguments, waits for a concurrency permit and calls the function.
    async fn call_target(&self, invocation: &str) -> TargetOutcome {
        let name = &self.function.settings.name;
        let payload = match &self.payload {
            Ok(payload) => payload,
            Err(problem) => {
                return TargetOutcome::InvalidArguments(format!(
                    "{problem}. Send them as a JSON object and call it again."
                ));
            }
        };
        if payload.name.as_ref().is_some_and(|called| called != name) {
            return TargetOutcome::InvalidRequest(answer::wrong_function(name));
        }
        if !self.function.checks_arguments {
            let problems = self.function.schema.validate(&payload.arguments);
            if !problems.is_empty() {
                return TargetOutcome::InvalidRequest(answer::schema_violations(name, &problems));
            }
        }
        // Until the deadline of the request, not of the target: the fallback has been sent by then, and a function that
        // begins now would have an effect that the caller was told did not happen.
        let Ok(permit) = timeout_at(self.deadline(), self.function.permits.acquire()).await else {
            let limit = self.function.settings.concurrency;
            return TargetOutcome::Failed(format!("all {limit} concurrent calls were busy until the deadline"));
        };
        let Ok(_permit) = permit else {
            return TargetOutcome::Failed("the function is being replaced".to_owned());
        };
        let context = self.function_context(invocation, payload);
        let call = TargetCall {
            body: &self.body,
            query: self.query.as_deref(),
            arguments: &payload.arguments,
            context: &context,
            target_deadline: self.target_deadline(),
        };
        self.function.target.call(call).await
    }

    fn function_context(&self, invocation: &str, payload: &FunctionPayload) -> FunctionContext {
        let name = &self.function.settings.name;
        let company = &self.company;
        let mut context =
            FunctionContext::new(name, company.id, &company.slug, invocation, self.received_at_ms, self.deadline());
        context.call_id.clone_from(&payload.call_id);
        context.tool_call_id.clone_from(&payload.tool_call_id);
        context.from_number.clone_from(&payload.from_number);
        context.to_number.clone_from(&payload.to_number);
        context
    }

    /// Turns what the target did into the answer, and writes it to the ledger.
    async fn finish(
        &self,
        deps: &FunctionDeps,
        invocation: &str,
        target_outcome: TargetOutcome,
        is_late: bool,
    ) -> InvocationResult {
        let settings = &self.function.settings;
        let (answer, state, reason) = match target_outcome {
            TargetOutcome::Answer(answer) => (answer, InvocationState::Done, None),
            TargetOutcome::InvalidRequest(answer) => (answer, InvocationState::InvalidArguments, None),
            TargetOutcome::InvalidArguments(problem) => {
                (answer::invalid_arguments(&settings.name, &problem), InvocationState::InvalidArguments, None)
            }
            TargetOutcome::Failed(reason) => {
                let answer = answer::fallback(&settings.name, settings.fallback.as_ref());
                (answer, InvocationState::Failed, Some(reason))
            }
        };
        let outcome = match state {
            InvocationState::Done => "answered",
            InvocationState::InvalidArguments => "invalid_arguments",
            _ if is_late => "timed_out",
            _ => "failed",
        };
        if is_late && state == InvocationState::Done {
            let function = settings.name.as_str();
            let company = &*self.company.slug;
            tracing::info!(function, company, invocation, "function answered late");
        }
        self.log_outcome(invocation, outcome, answer.truncated, reason.as_deref());
        let ended_at_ms = deps.clock.now_ms();
        let ended = EndedInvocation { key: self.key, state, ended_at_ms, answer: answer.clone(), reason };
        let commit_timeout =
            if state == InvocationState::Failed { FAILURE_COMMIT_TIMEOUT } else { ANSWER_COMMIT_TIMEOUT };
        // The answer is sent even if this fails. A retry then finds a row that is still running and calls the function
        // again, under the same idempotency key.
        let error = match timeout(commit_timeout, deps.ledger.end_invocation(ended)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(StoreError::Unavailable("the commit took too long".into())),
        };
        if let Some(error) = error {
            tracing::error!(function = settings.name, invocation, %error, "function answer not stored");
        }
        InvocationResult::Answered { answer, outcome }
    }

    /// Logs how the invocation ended, never the arguments or the answer: they may contain personal data.
    fn log_outcome(&self, invocation: &str, outcome: &str, is_truncated: bool, reason: Option<&str>) {
        let function = self.function.settings.name.as_str();
        let company = &*self.company.slug;
        if let Some(reason) = reason {
            tracing::warn!(function, company, invocation, outcome, reason, "function failed");
        } else if is_truncated {
            let max_characters = answer::MAX_ANSWER_CHARACTERS;
            tracing::warn!(function, company, invocation, max_characters, "function answer truncated");
        } else {
            tracing::debug!(function, company, invocation, outcome, "function invocation ended");
        }
    }
}

/// The request's signature, with a hash of what it may be used for. `None` when verification is off.
///
/// Retell's signature covers the body only. It is bound to what it does not cover, so that a captured request cannot be
/// replayed against another function, method or company.
fn signature_use(
    entry: &RegisteredFunction,
    company: &Company,
    raw: &RawEvent,
    payload: Option<&FunctionPayload>,
    method: &Method,
) -> Option<SignatureUse> {
    let signature = raw.signature.as_ref()?;
    raw.key_fingerprint.as_ref()?;
    // Call id and query are part of the purpose only where a replay with others would do harm: an empty body signs
    // nothing else, and a function that checks its own arguments books appointments. In general they must stay out,
    // because two calls that send equal bodies in the same millisecond get the same signature.
    let is_bound_to_call = raw.body.is_empty() || entry.target.checks_arguments();
    let mut call_id = "";
    let mut query = "";
    if is_bound_to_call {
        call_id = payload.and_then(|payload| payload.call_id.as_deref()).unwrap_or_default();
        query = raw.query.as_deref().unwrap_or_default();
    }
    let purpose_hash = hash_parts(&[
        &company.id.to_le_bytes(),
        entry.settings.name.as_bytes(),
        method.as_str().as_bytes(),
        call_id.as_bytes(),
        query.as_bytes(),
    ]);
    Some(SignatureUse {
        signature_hash: hash_parts(&[signature.as_bytes()]),
        purpose_hash,
        seen_at_ms: raw.received_at_ms,
    })
}
