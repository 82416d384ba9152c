//! Answers inbound calls and text messages: a closure first, then the rules, first match wins.
//!
//! The promise made here: whatever goes wrong or is late, there is an answer within the budget, and it keeps Retell's
//! contract. The request goes to disk meanwhile, and is there by then unless the store is slow or away: the caller goes
//! first.

mod answer;
mod answer_template;
mod answer_writer;
mod caller_lookup;
mod dry_run;
mod live_request;
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

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

pub use self::answer::InboundAnswer;
pub(crate) use self::dry_run::InboundDryRun;
pub(crate) use self::live_request::{LiveInboundRequest, StoreResultFuture};
pub use self::request::{InboundContext, InboundRequest};
pub(crate) use self::rules::{CurrentInboundRules, InboundConfigError, InboundRules};

use self::answer_writer::InboundAnswerWriter;
use self::caller_lookup::CallerLookup;
use self::live_request::{InboundDecision, InboundFlightKey};
use self::rules::AnswerSource;
use self::target::InboundTargetError;
use super::single_flight::{self, FlightRole, SingleFlight};
use crate::base::clock::Clock;
use crate::base::id::EventId;
use crate::base::supervise::Supervisor;
use crate::storage::{InboundAnswerRecord, Store};
use crate::telemetry::inbound::{InboundMetrics, InboundOutcome};

/// What stands in the ledger for an answer of [`InboundResponder::with_closure`].
const CLOSURE_RULE_NAME: &str = "(closure)";
/// How long the earlier answer to a request that came again is looked for.
const EARLIER_ANSWER_TIMEOUT: Duration = Duration::from_millis(100);

/// A commit gets so long even if the request has used up its time before, by a body that came slowly.
const MIN_COMMIT_WAIT: Duration = Duration::from_millis(100);

type InboundLeader = single_flight::FlightLeader<InboundFlightKey, Arc<str>>;

/// A closure that answers, see [`boxed`].
pub(crate) type InboundClosure =
    Arc<dyn Fn(InboundRequest, InboundContext) -> BoxFuture<'static, Option<InboundAnswer>> + Send + Sync>;

/// Answers inbound requests.
pub(crate) struct InboundResponder {
    store: Arc<dyn Store>,
    clock: Clock,
    rules: CurrentInboundRules,
    closure: Option<InboundClosure>,
    metrics: Arc<InboundMetrics>,
    answer_writer: InboundAnswerWriter,
    /// Answers under way: requests that come twice at once share one.
    single_flight: SingleFlight<InboundFlightKey, Arc<str>>,
}

impl InboundResponder {
    /// Answers by `rules`, counts in `counts`, and keeps what was answered in `store`.
    #[must_use]
    pub(crate) fn new(
        store: &Arc<dyn Store>,
        clock: &Clock,
        rules: CurrentInboundRules,
        counts: Arc<InboundMetrics>,
        supervisor: &Supervisor,
    ) -> Self {
        let ledger = InboundAnswerWriter::new(Arc::clone(store), supervisor.clone());
        Self {
            store: Arc::clone(store),
            clock: clock.clone(),
            rules,
            closure: None,
            metrics: counts,
            answer_writer: ledger,
            single_flight: SingleFlight::default(),
        }
    }

    /// Asks `closure` before the rules; `None` leaves it to them.
    #[must_use]
    pub(crate) fn with_closure(mut self, closure: Option<InboundClosure>) -> Self {
        self.closure = closure;
        self
    }

    /// The answer, as JSON.
    pub(crate) async fn answer(&self, mut waiting: LiveInboundRequest) -> String {
        let rules = self.rules.get();
        let deadline = tokio::time::Instant::from_std(waiting.received_at + rules.timeout);
        loop {
            match self.single_flight.join(waiting.flight_key()) {
                FlightRole::Leader(seat) => {
                    return self.answer_as_leader(waiting, (&rules, deadline), Some(seat)).await;
                }
                FlightRole::Full => return self.answer_as_leader(waiting, (&rules, deadline), None).await,
                FlightRole::Follower(twin) => match tokio::time::timeout_at(deadline, twin.wait()).await {
                    Ok(Some(answer)) => {
                        // As which event it is kept is known as soon as the store has it.
                        if let Ok(Some((event_id, _))) =
                            tokio::time::timeout_at(deadline, waiting.first_store_result.clone()).await
                        {
                            waiting.event_id = event_id;
                        }
                        self.record_outcome(&waiting, None, InboundOutcome::Duplicate);
                        return answer.as_ref().to_owned();
                    }
                    // Its connection broke, and it with it.
                    Ok(None) => {}
                    Err(_) => return self.answer_as_leader(waiting, (&rules, deadline), None).await,
                },
            }
        }
    }

    async fn answer_as_leader(
        &self,
        mut waiting: LiveInboundRequest,
        (rules, deadline): (&InboundRules, tokio::time::Instant),
        seat: Option<InboundLeader>,
    ) -> String {
        let request = InboundRequest::parse(&waiting.body);
        let decided = match self.decide_while_storing(rules, &mut waiting, (request.as_ref(), deadline)).await {
            Ok(decided) => decided,
            Err(earlier) => {
                self.record_outcome(&waiting, earlier.rule.as_deref(), InboundOutcome::Duplicate);
                return earlier.answer;
            }
        };
        let answer = match decided.answer {
            Some(answer) => answer,
            None => render_fallback(rules, request, &waiting, &waiting.context(deadline)).await,
        };
        let json = answer.to_json(waiting.kind);
        if let Some(seat) = &seat {
            seat.complete(json.as_str().into());
        }
        let duration_ms = self.record_outcome(&waiting, decided.rule.as_deref(), decided.outcome);
        let answered = InboundAnswerRecord {
            event_id: waiting.event_id,
            rule: decided.rule.map(|rule| rule.to_string()),
            answer: json.clone(),
            outcome: decided.outcome.as_str().to_owned(),
            duration_ms,
            answered_at_ms: self.clock.now_ms(),
        };
        self.answer_writer.spawn_write(answered, waiting.final_store_result, seat);
        json
    }

    /// The request goes to disk meanwhile: that takes as long as many a service. `Err` is what it was answered when it came
    /// for the first time.
    async fn decide_while_storing(
        &self,
        rules: &InboundRules,
        waiting: &mut LiveInboundRequest,
        (request, deadline): (Option<&InboundRequest>, tokio::time::Instant),
    ) -> Result<InboundDecision, InboundAnswerRecord> {
        let (soon, due) =
            (waiting.first_store_result.clone(), deadline.max(tokio::time::Instant::now() + MIN_COMMIT_WAIT));
        let kept = async {
            let Ok(Some((event_id, before))) = tokio::time::timeout_at(due, soon).await else { return Err(None) };
            match if before { self.find_earlier_answer(event_id).await } else { None } {
                Some(earlier) => Err(Some((event_id, earlier))),
                // None either for a twin that is answered by this one, or that died before it was answered.
                None => Ok(event_id),
            }
        };
        let decided = self.decide_before_deadline(rules, request, waiting, deadline).map(Ok);
        match futures_util::future::try_join(kept, decided).await {
            Ok((event_id, decided)) => {
                waiting.event_id = event_id;
                Ok(decided)
            }
            Err(Some((event_id, earlier))) => {
                waiting.event_id = event_id;
                Err(earlier)
            }
            Err(None) => Ok(InboundDecision::without_rule(InboundOutcome::NotStored)),
        }
    }

    async fn decide_before_deadline(
        &self,
        rules: &InboundRules,
        request: Option<&InboundRequest>,
        waiting: &LiveInboundRequest,
        deadline: tokio::time::Instant,
    ) -> InboundDecision {
        // Odd bodies that name the event and hold nothing: no rule has anything to go by.
        let Some(request) = request else { return InboundDecision::without_rule(InboundOutcome::Failed) };
        let context = waiting.context(deadline);
        // Who was asked last is known even if that took too long.
        let asked = OnceLock::new();
        let given = (request, &context, waiting.signature.as_deref());
        let deciding = AssertUnwindSafe(self.decide(rules, given, &asked)).catch_unwind();
        let outcome = match tokio::time::timeout_at(deadline, deciding).await {
            Ok(Ok(decided)) => return decided,
            Ok(Err(_)) => fallback_for_panic(waiting.event_id),
            Err(_) => InboundOutcome::TimedOut,
        };
        InboundDecision { rule: asked.get().cloned(), outcome, answer: None }
    }

    async fn decide(
        &self,
        rules: &InboundRules,
        (request, context, original): (&InboundRequest, &InboundContext, Option<&str>),
        asked: &OnceLock<Arc<str>>,
    ) -> InboundDecision {
        let caller = CallerLookup::new(&self.store, context.company_id, &request.from_number);
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
        let _ = asked.set(Arc::clone(&rule.name));
        match &rule.answer_source {
            AnswerSource::Template(made) => {
                match made.render(request, context, Some((&caller, &rule.schedule.time_zone))).await {
                    Ok(answer) => InboundDecision::answered(&rule.name, answer),
                    Err(error) => fallback_for_invalid_answer(&rule.name, &error),
                }
            }
            AnswerSource::Target(ask) => match ask.request_answer(request, (context, original)).await {
                Ok(answer) => InboundDecision::answered(&rule.name, answer),
                Err(error @ InboundTargetError::InvalidAnswer(..)) => fallback_for_invalid_answer(&rule.name, &error),
                // The service used up the whole budget.
                Err(_) if tokio::time::Instant::now() >= context.deadline => {
                    InboundDecision::failed_rule(&rule.name, InboundOutcome::TimedOut)
                }
                Err(error) => fallback_for_failure(&rule.name, &error),
            },
        }
    }

    /// What a request that came again was answered the first time.
    async fn find_earlier_answer(&self, event_id: EventId) -> Option<InboundAnswerRecord> {
        tokio::time::timeout(EARLIER_ANSWER_TIMEOUT, self.store.get_inbound_answer(event_id)).await.ok()?.ok()?
    }

    /// One line, without numbers and without what is in the answer. Returns how long it took.
    fn record_outcome(&self, waiting: &LiveInboundRequest, rule: Option<&str>, outcome: InboundOutcome) -> i64 {
        let took = waiting.received_at.elapsed();
        self.metrics.record_answer(outcome, took);
        let duration_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        let (event_id, company, outcome) = (waiting.event_id, &waiting.company, outcome.as_str());
        tracing::info!(%event_id, %company, rule, outcome, duration_ms, "inbound answered");
        duration_ms
    }
}

fn fallback_for_invalid_answer(rule: &Arc<str>, error: &dyn std::fmt::Display) -> InboundDecision {
    tracing::warn!(%rule, %error, "inbound: Retell would drop this answer whole; the fallback is sent instead");
    InboundDecision::failed_rule(rule, InboundOutcome::InvalidAnswer)
}

fn fallback_for_failure(rule: &Arc<str>, error: &dyn std::fmt::Display) -> InboundDecision {
    tracing::warn!(%rule, %error, "inbound: no answer; the fallback is sent instead");
    InboundDecision::failed_rule(rule, InboundOutcome::Failed)
}

fn fallback_for_panic(event_id: EventId) -> InboundOutcome {
    tracing::error!(%event_id, "inbound: making the answer panicked; the fallback is sent instead");
    InboundOutcome::Failed
}

/// It waits for nothing: its templates know the request and no history.
async fn render_fallback(
    rules: &InboundRules,
    request: Option<InboundRequest>,
    waiting: &LiveInboundRequest,
    context: &InboundContext,
) -> InboundAnswer {
    let request = request.unwrap_or_else(|| InboundRequest::from_unparsed(waiting.kind, &waiting.body));
    rules.fallback.render(&request, context, None).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "inbound: the fallback is sent without its variables");
        rules.fallback.without_variables()
    })
}

/// A closure as [`InboundResponder::with_closure`] takes it.
pub(crate) fn boxed_closure<F>(
    ask: impl Fn(InboundRequest, InboundContext) -> F + Send + Sync + 'static,
) -> InboundClosure
where
    F: Future<Output = Option<InboundAnswer>> + Send + 'static,
{
    Arc::new(move |request, context| Box::pin(ask(request, context)))
}
