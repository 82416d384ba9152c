//! Third stage of a request for a function: begin the invocation in the ledger, call the function, end it in the
//! ledger.
//!
//! The order is what makes retries safe. The ledger has the invocation before the function can have an effect, so a
//! crash in between is followed by a call under the same idempotency key; and it has the answer before the caller
//! hears it, so a retry gets the same answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::answer;
use super::invocation::{Invocation, InvocationResult};
use super::payload::FunctionPayload;
use super::target::{TargetCall, TargetOutcome};
use crate::base::clock::{Clock, to_ms, to_unsigned_ms};
use crate::base::id::{InstanceId, random_hex};
use crate::base::supervise::Supervisor;
use crate::event::describe;
use crate::live::FunctionContext;
use crate::storage::{
    BeginInvocationOutcome, EndedInvocation, InvocationState, InvocationStore, NewInvocation, StoreError,
};
use crate::telemetry::functions::FunctionRequestOutcome;

/// How long an answer waits for its commit. It is sent without one after that: the function has been called, and the
/// caller is waiting.
const ANSWER_COMMIT_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for a failure. Shorter, because the deadline has often passed, and nothing is lost: a retry calls the
/// function again in any case.
const FAILURE_COMMIT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long functions may continue after the service was told to stop. Between the 6 s that their requests wait and
/// the 8 s of the HTTP server, so that the failure is still written to the ledger.
const TARGET_SHUTDOWN_GRACE: Duration = Duration::from_millis(6_500);
/// Larger arguments are not stored in the ledger; the function still gets them.
const MAX_STORED_ARGUMENTS_BYTES: usize = 64 * 1024;
/// For how long a tool call id identifies an invocation: as long as the ledger keeps rows.
const TOOL_CALL_WINDOW_MS: i64 = 86_400_000;

/// How often an invocation that another process is running is looked up.
const RUNNING_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Added to the deadline of a function: when another process may run the invocation. Covers the commit of the answer.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// Runs invocations, each of which the ledger knows before its function is called.
pub(super) struct Executor {
    pub(super) ledger: Arc<dyn InvocationStore>,
    pub(super) clock: Clock,
    pub(super) supervisor: Supervisor,
    /// Distinguishes the invocations of this receiver from those of others that use the same ledger.
    pub(super) instance_id: InstanceId,
}

impl Executor {
    /// Begins the invocation, calls the function and ends the invocation. May return after the deadline: the requests
    /// that wait for the result keep their deadlines themselves.
    pub(super) async fn execute(&self, invocation: &Invocation) -> InvocationResult {
        // A little before the deadline, so that the outcome is `not_stored` and not `timed_out`.
        let margin = Duration::from_millis(50).min(invocation.function.timeout() / 10);
        let invocation_id = match self.begin_or_wait(invocation, invocation.deadline() - margin).await {
            Ok(BeginInvocationOutcome::Run { idempotency_key, .. }) => idempotency_key,
            Ok(BeginInvocationOutcome::AlreadyAnswered { answer, .. }) => {
                return InvocationResult::Answered { answer, outcome: FunctionRequestOutcome::Duplicate };
            }
            Ok(BeginInvocationOutcome::Running { .. }) => {
                return InvocationResult::fallback(&invocation.function, FunctionRequestOutcome::TimedOut);
            }
            Ok(BeginInvocationOutcome::SignatureReused) => return InvocationResult::SignatureReused,
            // Without its row the function must not be called: a retry could not be recognized and would call it again.
            Err(error) => {
                let function = invocation.function.settings.name.as_str();
                tracing::error!(function, %error, "function invocation not stored");
                return InvocationResult::fallback(&invocation.function, FunctionRequestOutcome::NotStored);
            }
        };
        let target_outcome = tokio::select! {
            // An answer that is there at the deadline counts.
            biased;
            outcome = call_target(invocation, &invocation_id) => outcome,
            () = sleep_until(invocation.target_deadline()) => {
                let limit = invocation.target_deadline().saturating_duration_since(Instant::from_std(invocation.received_at));
                TargetOutcome::Failed(format!("no answer within {} ms", limit.as_millis()))
            }
            () = self.supervisor.wait_for_stop_and_grace(TARGET_SHUTDOWN_GRACE) => {
                TargetOutcome::Failed("the receiver stopped before the function answered".to_owned())
            }
        };
        // By the clock and not by which branch won: a target may notice its deadline itself and report a failure.
        let is_late = Instant::now() >= invocation.deadline();
        self.finish(invocation, &invocation_id, target_outcome, is_late).await
    }

    /// Begins the invocation. While another process is running it, waits for its answer until `limit`; it is still
    /// `Running` then. If that run fails or its process dies, the invocation is run here.
    async fn begin_or_wait(
        &self,
        invocation: &Invocation,
        limit: Instant,
    ) -> Result<BeginInvocationOutcome, StoreError> {
        // The outcome if the ledger does not answer before the limit.
        let mut at_limit = Err(StoreError::unavailable("the commit took too long"));
        // From the first look, because each look records the signature.
        let mut signature_seen_at_first = None;
        loop {
            let look = self.begin(invocation, signature_seen_at_first);
            let Ok(begun) = timeout_at(limit, look).await else { return at_limit };
            let next_look = Instant::now() + RUNNING_POLL_INTERVAL;
            let Ok(BeginInvocationOutcome::Running { signature_seen }) = begun else { return begun };
            if next_look >= limit {
                return begun;
            }
            signature_seen_at_first.get_or_insert(signature_seen);
            at_limit = begun;
            sleep_until(next_look).await;
        }
    }

    /// Begins the invocation in the ledger. An earlier invocation with the same key is continued, unless the function
    /// reports that its answer is outdated.
    async fn begin(
        &self,
        invocation: &Invocation,
        signature_seen_at_first: Option<bool>,
    ) -> Result<BeginInvocationOutcome, StoreError> {
        let begun = self.ledger.begin_invocation(self.new_invocation(invocation)).await?;
        let (BeginInvocationOutcome::AlreadyAnswered { idempotency_key: earlier, signature_seen, .. }
        | BeginInvocationOutcome::Run { idempotency_key: earlier, signature_seen, run_number: 2.. }) = &begun
        else {
            return Ok(begun);
        };
        // With a new signature this is not the earlier request sent again, only one with equal arguments.
        if signature_seen_at_first.unwrap_or(*signature_seen) {
            return Ok(begun);
        }
        let Ok(payload) = &invocation.payload else { return Ok(begun) };
        // The same tool call id is proof that the model asked once.
        if payload.tool_call_id.is_some() {
            return Ok(begun);
        }
        let Some(can_reuse_answer) = &invocation.function.policy.can_reuse_answer else { return Ok(begun) };
        if can_reuse_answer(function_context(invocation, earlier, payload)).await {
            return Ok(begun);
        }
        // Single flight keeps other requests of this process out between the two calls. If another process has replaced
        // the row meanwhile, this one finds the invocation of the other.
        let replaces = Some(earlier.clone());
        self.ledger.begin_invocation(NewInvocation { replaces, ..self.new_invocation(invocation) }).await
    }

    fn new_invocation(&self, invocation: &Invocation) -> NewInvocation {
        let payload = invocation.payload.as_ref().ok();
        let tool_call_id = payload.and_then(|payload| payload.tool_call_id.clone());
        // Equal arguments can be meant anew after a while; a tool call id cannot.
        let window_ms = if tool_call_id.is_some() {
            TOOL_CALL_WINDOW_MS
        } else {
            to_ms(invocation.function.settings.idempotency_window)
        };
        let arguments = payload.and_then(|payload| serde_json::to_string(&payload.arguments).ok());
        let now_ms = self.clock.now_ms();
        let lease = invocation.target_deadline().saturating_duration_since(Instant::now()) + LEASE_MARGIN;
        NewInvocation {
            key: invocation.key,
            reuse_since_ms: invocation.received_at_ms - window_ms,
            replaces: None,
            idempotency_key: format!("inv_{}", random_hex()),
            owner: self.instance_id.clone(),
            now_ms,
            lease_until_ms: now_ms.saturating_add(to_ms(lease)),
            company_id: invocation.company.id,
            function: invocation.function.settings.name.clone(),
            call_id: invocation.call_id(),
            tool_call_id,
            received_at_ms: invocation.received_at_ms,
            arguments: arguments.filter(|text| text.len() <= MAX_STORED_ARGUMENTS_BYTES),
            signature: invocation.original.signature_use.clone(),
        }
    }

    /// Turns what the target did into the answer, and writes it to the ledger.
    async fn finish(
        &self,
        invocation: &Invocation,
        invocation_id: &str,
        target_outcome: TargetOutcome,
        is_late: bool,
    ) -> InvocationResult {
        let settings = &invocation.function.settings;
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
            InvocationState::Done => FunctionRequestOutcome::Answered,
            InvocationState::InvalidArguments => FunctionRequestOutcome::InvalidArguments,
            _ if is_late => FunctionRequestOutcome::TimedOut,
            _ => FunctionRequestOutcome::Failed,
        };
        if is_late && state == InvocationState::Done {
            let function = settings.name.as_str();
            let company = &*invocation.company.slug;
            tracing::info!(function, company, invocation = invocation_id, "function answered late");
        }
        log_outcome(invocation, invocation_id, outcome.as_str(), answer.truncated, reason.as_deref());
        let ended_at_ms = self.clock.now_ms();
        let owner = self.instance_id.clone();
        let ended = EndedInvocation { key: invocation.key, owner, state, ended_at_ms, answer: answer.clone(), reason };
        let commit_timeout =
            if state == InvocationState::Failed { FAILURE_COMMIT_TIMEOUT } else { ANSWER_COMMIT_TIMEOUT };
        // The answer is sent even if this fails. A retry then finds a row that is still running: this process calls the
        // function again, under the same idempotency key, and another one does so when the lease has ended.
        let error = match timeout(commit_timeout, self.ledger.end_invocation(ended)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(StoreError::unavailable("the commit took too long")),
        };
        if let Some(error) = error {
            tracing::error!(function = settings.name, invocation = invocation_id, %error, "function answer not stored");
        }
        InvocationResult::Answered { answer, outcome }
    }
}

/// Checks the arguments, waits for a concurrency permit and calls the function.
async fn call_target(invocation: &Invocation, invocation_id: &str) -> TargetOutcome {
    let name = &invocation.function.settings.name;
    log_request_body(invocation, invocation_id);
    let payload = match &invocation.payload {
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
    if invocation.function.uses_schema {
        let problems = invocation.function.schema.validate(&payload.arguments);
        if !problems.is_empty() {
            return TargetOutcome::InvalidRequest(answer::schema_violations(name, &problems));
        }
    }
    // Until the deadline of the request, not of the target: the fallback has been sent by then, and a function that
    // begins now would have an effect that the caller was told did not happen.
    let Ok(permit) = timeout_at(invocation.deadline(), invocation.function.permits.acquire()).await else {
        let limit = invocation.function.settings.concurrency;
        return TargetOutcome::Failed(format!("all {limit} concurrent calls were busy until the deadline"));
    };
    let Ok(_permit) = permit else {
        return TargetOutcome::Failed("the function is being replaced".to_owned());
    };
    let context = function_context(invocation, invocation_id, payload);
    let call = TargetCall {
        body: &invocation.original.body,
        query: invocation.original.query.as_deref(),
        arguments: &payload.arguments,
        context: &context,
        target_deadline: invocation.target_deadline(),
    };
    invocation.function.target.call(call).await
}

fn function_context(invocation: &Invocation, invocation_id: &str, payload: &FunctionPayload) -> FunctionContext {
    let name = &invocation.function.settings.name;
    let company = &invocation.company;
    let mut context = FunctionContext::new(
        name,
        company.id,
        &company.slug,
        invocation_id,
        invocation.received_at_ms,
        invocation.deadline(),
    );
    context.call_id.clone_from(&payload.call_id);
    context.tool_call_id.clone_from(&payload.tool_call_id);
    context.from_number.clone_from(&payload.from_number);
    context.to_number.clone_from(&payload.to_number);
    context
}

/// Logs the structure of the request at debug level, without values.
fn log_request_body(invocation: &Invocation, invocation_id: &str) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let function = invocation.function.settings.name.as_str();
        let shape = describe(&invocation.original.body);
        let arguments = invocation.payload.as_ref().ok().map(|payload| payload.arguments.len());
        tracing::debug!(function, invocation = invocation_id, arguments, %shape, "function request body");
    }
}

/// Logs how the invocation ended, never the arguments or the answer: they may contain personal data.
fn log_outcome(invocation: &Invocation, invocation_id: &str, outcome: &str, is_truncated: bool, reason: Option<&str>) {
    let function = invocation.function.settings.name.as_str();
    let company = &*invocation.company.slug;
    let call_id = invocation.payload.as_ref().ok().and_then(|payload| payload.call_id.as_deref());
    let duration_ms = to_unsigned_ms(invocation.received_at.elapsed());
    if let Some(reason) = reason {
        tracing::warn!(
            function,
            company,
            call_id,
            invocation = invocation_id,
            outcome,
            duration_ms,
            reason,
            "function failed"
        );
    } else if is_truncated {
        let max_characters = answer::MAX_ANSWER_CHARACTERS;
        tracing::warn!(function, company, invocation = invocation_id, max_characters, "function answer truncated");
    } else {
        tracing::info!(
            function,
            company,
            call_id,
            invocation = invocation_id,
            outcome,
            duration_ms,
            "function answered"
        );
    }
}
