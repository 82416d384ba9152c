//! Answers inbound calls and text messages: a closure first, then the rules, first match wins.
//!
//! There is always an answer within `inbound.timeout_ms`, whatever fails or is late, and it always conforms to
//! Retell's contract. (Up to 0.2 s later if the body arrived slowly or the request is repeated.) The request is stored at the same time. Normally it is on disk before the answer is sent; if
//! the store is slow or unavailable, the fallback is answered first, since a caller waits.

mod answer;
mod answer_template;
mod answer_writer;
mod caller_lookup;
mod decision;
mod dry_run;
mod number_matcher;
mod overrides;
mod request;
mod rule_schedule;
mod rules;
mod target;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

pub use self::answer::InboundAnswer;
pub(crate) use self::dry_run::InboundDryRun;
pub use self::request::{InboundContext, InboundRequest};
pub(crate) use self::rules::{CurrentInboundRules, InboundRules};

use self::answer_writer::InboundAnswerWriter;
use self::caller_lookup::CallerLookup;
use self::decision::InboundDecision;
use self::rules::AnswerSource;
use self::target::InboundTargetError;
use super::single_flight::{self, FlightRole, SingleFlight};
use crate::base::clock::{Clock, to_ms};
use crate::base::id::{CompanyId, EventId};
use crate::base::supervise::Supervisor;
use crate::intake::LiveInboundRequest;
use crate::storage::{CallStore, InboundAnswerRecord, InboundAnswerStore};
use crate::telemetry::inbound::{InboundMetrics, InboundOutcome};

/// Rule name in the log and in `inbound_answers` for an answer of [`InboundResponder::with_closure`].
const CLOSURE_RULE_NAME: &str = "(closure)";
/// Limit for reading the earlier answer to a repeated request. Without it the request is answered anew.
const EARLIER_ANSWER_TIMEOUT: Duration = Duration::from_millis(100);

/// Minimum wait for the commit. It applies even if a body that arrived slowly has used up the whole budget; otherwise
/// such requests would always count as not stored.
const MIN_COMMIT_WAIT: Duration = Duration::from_millis(100);

/// Company, discriminator and body: two requests with the same key are duplicates and share one answer.
type InboundFlightKey = (CompanyId, Option<String>, Bytes);
type InboundLeader = single_flight::FlightLeader<InboundFlightKey, Arc<str>>;

/// A closure that answers inbound requests, see [`boxed_closure`].
pub(crate) type InboundClosure =
    Arc<dyn Fn(InboundRequest, InboundContext) -> BoxFuture<'static, Option<InboundAnswer>> + Send + Sync>;

pub(crate) struct InboundResponder {
    answers: Arc<dyn InboundAnswerStore>,
    calls: Arc<dyn CallStore>,
    clock: Clock,
    rules: CurrentInboundRules,
    closure: Option<InboundClosure>,
    metrics: Arc<InboundMetrics>,
    answer_writer: InboundAnswerWriter,
    /// Equal requests at the same time share one answer: Retell repeats a request while the first is still open.
    single_flight: SingleFlight<InboundFlightKey, Arc<str>>,
}

impl InboundResponder {
    #[must_use]
    pub(crate) fn new(
        answers: Arc<dyn InboundAnswerStore>,
        calls: Arc<dyn CallStore>,
        clock: &Clock,
        rules: CurrentInboundRules,
        metrics: Arc<InboundMetrics>,
        supervisor: &Supervisor,
    ) -> Self {
        let answer_writer = InboundAnswerWriter::new(Arc::clone(&answers), supervisor.clone());
        Self {
            answers,
            calls,
            clock: clock.clone(),
            rules,
            closure: None,
            metrics,
            answer_writer,
            single_flight: SingleFlight::default(),
        }
    }

    /// Calls `closure` before the rules. If it returns `None`, the rules decide.
    #[must_use]
    pub(crate) fn with_closure(mut self, closure: Option<InboundClosure>) -> Self {
        self.closure = closure;
        self
    }

    /// Answers a request with the JSON body of the HTTP response.
    pub(crate) async fn answer(&self, mut live: LiveInboundRequest) -> String {
        let rules = self.rules.get();
        let deadline = Instant::from_std(live.received_at + rules.timeout);
        loop {
            let follower = match self.single_flight.join(flight_key(&live)) {
                FlightRole::Leader(leader) => {
                    return self.answer_as_leader(live, &rules, deadline, Some(leader)).await;
                }
                FlightRole::Full => return self.answer_as_leader(live, &rules, deadline, None).await,
                FlightRole::Follower(follower) => follower,
            };
            match tokio::time::timeout_at(deadline, follower.wait()).await {
                Ok(Some(answer)) => {
                    // The store decides under which event id equal requests are stored; the log names that one.
                    let stored = tokio::time::timeout_at(deadline, live.pending_write.first_store_result()).await;
                    if let Ok(Some((event_id, _))) = stored {
                        live.event_id = event_id;
                    }
                    self.record_outcome(&live, None, InboundOutcome::Duplicate);
                    return answer.as_ref().to_owned();
                }
                // The leader was dropped without an answer, because its connection broke: join again, maybe as
                // leader.
                Ok(None) => {}
                Err(_) => return self.answer_as_leader(live, &rules, deadline, None).await,
            }
        }
    }

    async fn answer_as_leader(
        &self,
        mut live: LiveInboundRequest,
        rules: &InboundRules,
        deadline: Instant,
        leader: Option<InboundLeader>,
    ) -> String {
        let request = InboundRequest::parse(&live.body);
        let decision = match self.decide_while_storing(rules, &mut live, request.as_ref(), deadline).await {
            Ok(decision) => decision,
            Err(earlier) => {
                self.record_outcome(&live, earlier.rule.as_deref(), InboundOutcome::Duplicate);
                return earlier.answer;
            }
        };
        let answer = match decision.answer {
            Some(answer) => answer,
            None => render_fallback(rules, request, &live, &InboundContext::new(&live, deadline)).await,
        };
        let json = answer.to_json(live.kind);
        if let Some(leader) = &leader {
            leader.complete(json.as_str().into());
        }
        let duration_ms = self.record_outcome(&live, decision.rule.as_deref(), decision.outcome);
        let record = InboundAnswerRecord {
            event_id: live.event_id,
            rule: decision.rule.map(|rule| rule.to_string()),
            answer: json.clone(),
            outcome: decision.outcome,
            duration_ms,
            answered_at_ms: self.clock.now_ms(),
        };
        // The writer holds the leader until the record is stored, so a repeated request normally finds either a flight
        // to follow or a stored answer.
        self.answer_writer.spawn_write(record, live.pending_write, leader);
        json
    }

    /// Decides concurrently with the commit, which may take as long as the answer of a service.
    ///
    /// Both must finish, unless the store fails (then the fallback is answered at once) or finds that the request is
    /// repeated. `Err` is the answer that the request got the first time.
    async fn decide_while_storing(
        &self,
        rules: &InboundRules,
        live: &mut LiveInboundRequest,
        request: Option<&InboundRequest>,
        deadline: Instant,
    ) -> Result<InboundDecision, InboundAnswerRecord> {
        let pending_write = live.pending_write.clone();
        let commit_deadline = deadline.max(Instant::now() + MIN_COMMIT_WAIT);
        let storing = async {
            let result = tokio::time::timeout_at(commit_deadline, pending_write.first_store_result()).await;
            let Ok(Some((event_id, is_duplicate))) = result else { return Err(None) };
            if !is_duplicate {
                return Ok(event_id);
            }
            match self.find_earlier_answer(event_id).await {
                Some(earlier) => Err(Some((event_id, earlier))),
                // A follower of this flight was stored first and waits for this answer, or the process was killed
                // before the first request was answered. Either way, this one is answered.
                None => Ok(event_id),
            }
        };
        let deciding = self.decide_before_deadline(rules, request, live, deadline).map(Ok);
        // `try_join` drops the decision, and with it a request to a service, as soon as the store has settled the
        // matter.
        match futures_util::future::try_join(storing, deciding).await {
            Ok((event_id, decision)) => {
                live.event_id = event_id;
                Ok(decision)
            }
            Err(Some((event_id, earlier))) => {
                live.event_id = event_id;
                Err(earlier)
            }
            Err(None) => Ok(InboundDecision::without_rule(InboundOutcome::NotStored)),
        }
    }

    async fn decide_before_deadline(
        &self,
        rules: &InboundRules,
        request: Option<&InboundRequest>,
        live: &LiveInboundRequest,
        deadline: Instant,
    ) -> InboundDecision {
        // The body names an inbound event but lacks its fields, so no rule can be applied.
        let Some(request) = request else { return InboundDecision::without_rule(InboundOutcome::Failed) };
        let context = InboundContext::new(live, deadline);
        // Outside of the future, so that the rule is known even if the future is dropped at the deadline.
        let matched_rule = OnceLock::new();
        let decide = self.decide(rules, request, &context, live.signature.as_deref(), &matched_rule);
        // A panicking closure must not cost the caller the answer.
        let outcome = match tokio::time::timeout_at(deadline, AssertUnwindSafe(decide).catch_unwind()).await {
            Ok(Ok(decision)) => return decision,
            Ok(Err(_)) => fallback_for_panic(live.event_id),
            Err(_) => InboundOutcome::TimedOut,
        };
        InboundDecision { rule: matched_rule.get().cloned(), outcome, answer: None }
    }

    async fn decide(
        &self,
        rules: &InboundRules,
        request: &InboundRequest,
        context: &InboundContext,
        original_signature: Option<&str>,
        matched_rule: &OnceLock<Arc<str>>,
    ) -> InboundDecision {
        let caller = CallerLookup::new(&self.calls, context.company_id, &request.from_number);
        if let Some(closure) = &self.closure
            && let Some(answer) = closure(request.clone(), context.clone()).await
        {
            let name = Arc::from(CLOSURE_RULE_NAME);
            return match answer.check() {
                Ok(()) => InboundDecision::answered(&name, answer),
                Err(error) => fallback_for_invalid_answer(&name, &error),
            };
        }
        let Some(rule) = rules.first_match(request, context, &caller).await else { return InboundDecision::empty() };
        let _ = matched_rule.set(Arc::clone(&rule.name));
        match &rule.answer_source {
            AnswerSource::Template(template) => {
                match template.render(request, context, Some((&caller, &rule.schedule.time_zone))).await {
                    Ok(answer) => InboundDecision::answered(&rule.name, answer),
                    Err(error) => fallback_for_invalid_answer(&rule.name, &error),
                }
            }
            AnswerSource::Target(target) => match target.request_answer(request, context, original_signature).await {
                Ok(answer) => InboundDecision::answered(&rule.name, answer),
                Err(error @ InboundTargetError::InvalidAnswer(..)) => fallback_for_invalid_answer(&rule.name, &error),
                // The request's own timeout may fire just before the deadline does: the service used up the budget.
                Err(_) if Instant::now() >= context.deadline => {
                    InboundDecision::failed_rule(&rule.name, InboundOutcome::TimedOut)
                }
                Err(error) => fallback_for_failure(&rule.name, &error),
            },
        }
    }

    /// The answer that a repeated request got the first time, if it is stored.
    async fn find_earlier_answer(&self, event_id: EventId) -> Option<InboundAnswerRecord> {
        tokio::time::timeout(EARLIER_ANSWER_TIMEOUT, self.answers.get_inbound_answer(event_id)).await.ok()?.ok()?
    }

    /// Counts and logs the answer, without phone numbers and without its content. Returns the duration in
    /// milliseconds.
    fn record_outcome(&self, live: &LiveInboundRequest, rule: Option<&str>, outcome: InboundOutcome) -> i64 {
        let duration = live.received_at.elapsed();
        self.metrics.record_answer(outcome, duration);
        let duration_ms = to_ms(duration);
        let event_id = live.event_id;
        let company = &live.company;
        let outcome = outcome.as_str();
        tracing::info!(%event_id, %company, rule, outcome, duration_ms, "inbound answered");
        duration_ms
    }
}

fn flight_key(live: &LiveInboundRequest) -> InboundFlightKey {
    (live.company_id, live.dedupe_discriminator.clone(), live.body.clone())
}

// The three functions below log the cause, since the record in the store has only the outcome.

fn fallback_for_invalid_answer(rule: &Arc<str>, error: &dyn std::fmt::Display) -> InboundDecision {
    let outcome = InboundOutcome::InvalidAnswer;
    tracing::warn!(%rule, outcome = outcome.as_str(), %error, "inbound answer failed");
    InboundDecision::failed_rule(rule, outcome)
}

fn fallback_for_failure(rule: &Arc<str>, error: &dyn std::fmt::Display) -> InboundDecision {
    let outcome = InboundOutcome::Failed;
    tracing::warn!(%rule, outcome = outcome.as_str(), %error, "inbound answer failed");
    InboundDecision::failed_rule(rule, outcome)
}

fn fallback_for_panic(event_id: EventId) -> InboundOutcome {
    let outcome = InboundOutcome::Failed;
    tracing::error!(%event_id, outcome = outcome.as_str(), error = "panicked", "inbound answer failed");
    outcome
}

/// Renders the fallback. It waits for nothing: its templates know the request, not the caller's history.
async fn render_fallback(
    rules: &InboundRules,
    request: Option<InboundRequest>,
    live: &LiveInboundRequest,
    context: &InboundContext,
) -> InboundAnswer {
    let request = request.unwrap_or_else(|| InboundRequest::from_unparsed(live.kind, &live.body));
    rules.fallback.render(&request, context, None).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "inbound fallback variables omitted");
        rules.fallback.without_variables()
    })
}

/// Boxes a closure for [`InboundResponder::with_closure`].
pub(crate) fn boxed_closure<F>(
    closure: impl Fn(InboundRequest, InboundContext) -> F + Send + Sync + 'static,
) -> InboundClosure
where
    F: Future<Output = Option<InboundAnswer>> + Send + 'static,
{
    Arc::new(move |request, context| Box::pin(closure(request, context)))
}
