//! Answers inbound calls and text messages: a closure first, then the rules, first match wins.
//!
//! The promise made here: whatever goes wrong or is late, there is an answer within the budget, and it keeps Retell's
//! contract. The request goes to disk meanwhile, and is there by then unless the store is slow or away: the caller goes
//! first.

mod answer;
mod ask;
mod caller;
mod ledger;
mod made;
mod numbers;
mod overrides;
mod request;
mod rules;
mod times;
mod trial;
mod waiting;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

pub use self::answer::{InboundAnswer, InvalidField};
pub use self::request::{InboundContext, InboundRequest};
pub use self::rules::{CurrentRules, InboundError, Rules};
pub use self::trial::{Trial, Tried};
pub use self::waiting::{Keeping, Waiting};

use self::ask::Unanswered;
use self::caller::Caller;
use self::ledger::Ledger;
use self::rules::Says;
use self::waiting::{Decided, Same};
use super::flight::{self, Flights, Part};
use crate::base::clock::Clock;
use crate::base::id::EventId;
use crate::base::supervise::Supervisor;
use crate::storage::{InboundAnswered, Store};
use crate::telemetry::inbound::{InboundCounts, InboundOutcome};

/// What stands in the ledger for an answer of [`Inbound::with_closure`].
const CLOSURE: &str = "(closure)";
/// How long the earlier answer to a request that came again is looked for.
const LOOK_UP: Duration = Duration::from_millis(100);

/// A commit gets so long even if the request has used up its time before, by a body that came slowly.
const LEAST: Duration = Duration::from_millis(100);

type Seat = flight::Seat<Same, Arc<str>>;

/// A closure that answers, see [`boxed`].
pub type OnInbound =
    Arc<dyn Fn(InboundRequest, InboundContext) -> BoxFuture<'static, Option<InboundAnswer>> + Send + Sync>;

/// Answers inbound requests.
pub struct Inbound {
    store: Arc<dyn Store>,
    clock: Clock,
    rules: CurrentRules,
    closure: Option<OnInbound>,
    counts: Arc<InboundCounts>,
    ledger: Ledger,
    /// Answers under way: requests that come twice at once share one.
    flights: Flights<Same, Arc<str>>,
}

impl Inbound {
    /// Answers by `rules`, counts in `counts`, and keeps what was answered in `store`.
    #[must_use]
    pub fn new(
        store: &Arc<dyn Store>,
        clock: &Clock,
        rules: CurrentRules,
        counts: Arc<InboundCounts>,
        supervisor: &Supervisor,
    ) -> Self {
        let ledger = Ledger::new(Arc::clone(store), supervisor.clone());
        Self {
            store: Arc::clone(store),
            clock: clock.clone(),
            rules,
            closure: None,
            counts,
            ledger,
            flights: Flights::default(),
        }
    }

    /// Asks `closure` before the rules; `None` leaves it to them.
    #[must_use]
    pub fn with_closure(mut self, closure: Option<OnInbound>) -> Self {
        self.closure = closure;
        self
    }

    /// The answer, as JSON.
    pub async fn answer(&self, mut waiting: Waiting) -> String {
        let rules = self.rules.get();
        let deadline = tokio::time::Instant::from_std(waiting.began + rules.timeout);
        loop {
            match self.flights.join(waiting.same()) {
                Part::Lead(seat) => return self.lead(waiting, (&rules, deadline), Some(seat)).await,
                Part::Full => return self.lead(waiting, (&rules, deadline), None).await,
                Part::Follow(twin) => match tokio::time::timeout_at(deadline, twin.wait()).await {
                    Ok(Some(answer)) => {
                        // As which event it is kept is known as soon as the store has it.
                        if let Ok(Some((event_id, _))) = tokio::time::timeout_at(deadline, waiting.soon.clone()).await {
                            waiting.event_id = event_id;
                        }
                        self.tell(&waiting, None, InboundOutcome::Repeated);
                        return answer.as_ref().to_owned();
                    }
                    // Its connection broke, and it with it.
                    Ok(None) => {}
                    Err(_) => return self.lead(waiting, (&rules, deadline), None).await,
                },
            }
        }
    }

    async fn lead(
        &self,
        mut waiting: Waiting,
        (rules, deadline): (&Rules, tokio::time::Instant),
        seat: Option<Seat>,
    ) -> String {
        let request = InboundRequest::read(&waiting.body);
        let decided = match self.decide_while_kept(rules, &mut waiting, (request.as_ref(), deadline)).await {
            Ok(decided) => decided,
            Err(earlier) => {
                self.tell(&waiting, earlier.rule.as_deref(), InboundOutcome::Repeated);
                return earlier.answer;
            }
        };
        let answer = match decided.answer {
            Some(answer) => answer,
            None => fallback(rules, request, &waiting, &waiting.context(deadline)).await,
        };
        let json = answer.to_json(waiting.kind);
        if let Some(seat) = &seat {
            seat.land(json.as_str().into());
        }
        let duration_ms = self.tell(&waiting, decided.rule.as_deref(), decided.outcome);
        let answered = InboundAnswered {
            event_id: waiting.event_id,
            rule: decided.rule.map(|rule| rule.to_string()),
            answer: json.clone(),
            outcome: decided.outcome.as_str().to_owned(),
            duration_ms,
            at_ms: self.clock.now_ms(),
        };
        self.ledger.keep(answered, waiting.at_last, seat);
        json
    }

    /// The request goes to disk meanwhile: that takes as long as many a service. `Err` is what it was answered when it came
    /// for the first time.
    async fn decide_while_kept(
        &self,
        rules: &Rules,
        waiting: &mut Waiting,
        (request, deadline): (Option<&InboundRequest>, tokio::time::Instant),
    ) -> Result<Decided, InboundAnswered> {
        let (soon, due) = (waiting.soon.clone(), deadline.max(tokio::time::Instant::now() + LEAST));
        let kept = async {
            let Ok(Some((event_id, before))) = tokio::time::timeout_at(due, soon).await else { return Err(None) };
            match if before { self.earlier(event_id).await } else { None } {
                Some(earlier) => Err(Some((event_id, earlier))),
                // None either for a twin that is answered by this one, or that died before it was answered.
                None => Ok(event_id),
            }
        };
        let decided = self.decide_in_time(rules, request, waiting, deadline).map(Ok);
        match futures_util::future::try_join(kept, decided).await {
            Ok((event_id, decided)) => {
                waiting.event_id = event_id;
                Ok(decided)
            }
            Err(Some((event_id, earlier))) => {
                waiting.event_id = event_id;
                Err(earlier)
            }
            Err(None) => Ok(Decided::by_nobody(InboundOutcome::NotStored)),
        }
    }

    async fn decide_in_time(
        &self,
        rules: &Rules,
        request: Option<&InboundRequest>,
        waiting: &Waiting,
        deadline: tokio::time::Instant,
    ) -> Decided {
        // Odd bodies that name the event and hold nothing: no rule has anything to go by.
        let Some(request) = request else { return Decided::by_nobody(InboundOutcome::Fallback) };
        let context = waiting.context(deadline);
        // Who was asked last is known even if that took too long.
        let asked = OnceLock::new();
        let given = (request, &context, waiting.signature.as_deref());
        let deciding = AssertUnwindSafe(self.decide(rules, given, &asked)).catch_unwind();
        let outcome = match tokio::time::timeout_at(deadline, deciding).await {
            Ok(Ok(decided)) => return decided,
            Ok(Err(_)) => panicked(waiting.event_id),
            Err(_) => InboundOutcome::Late,
        };
        Decided { rule: asked.get().cloned(), outcome, answer: None }
    }

    async fn decide(
        &self,
        rules: &Rules,
        (request, context, original): (&InboundRequest, &InboundContext, Option<&str>),
        asked: &OnceLock<Arc<str>>,
    ) -> Decided {
        let caller = Caller::new(&self.store, context.company_id, &request.from_number);
        if let Some(closure) = &self.closure
            && let Some(answer) = closure(request.clone(), context.clone()).await
        {
            let name = Arc::from(CLOSURE);
            return match answer.check() {
                Ok(()) => Decided::said(&name, answer),
                Err(error) => invalid(&name, &error),
            };
        }
        let Some(rule) = rules.first(request, context, &caller).await else { return Decided::nothing() };
        let _ = asked.set(Arc::clone(&rule.name));
        match &rule.says {
            Says::Made(made) => match made.answer(request, context, Some((&caller, &rule.times.zone))).await {
                Ok(answer) => Decided::said(&rule.name, answer),
                Err(error) => invalid(&rule.name, &error),
            },
            Says::Ask(ask) => match ask.answer(request, (context, original)).await {
                Ok(answer) => Decided::said(&rule.name, answer),
                Err(error @ Unanswered::Invalid(..)) => invalid(&rule.name, &error),
                // The service used up the whole budget.
                Err(_) if tokio::time::Instant::now() >= context.deadline => {
                    Decided::failed(&rule.name, InboundOutcome::Late)
                }
                Err(error) => failed(&rule.name, &error),
            },
        }
    }

    /// What a request that came again was answered the first time.
    async fn earlier(&self, event_id: EventId) -> Option<InboundAnswered> {
        tokio::time::timeout(LOOK_UP, self.store.inbound_answer(event_id)).await.ok()?.ok()?
    }

    /// One line, without numbers and without what is in the answer. Returns how long it took.
    fn tell(&self, waiting: &Waiting, rule: Option<&str>, outcome: InboundOutcome) -> i64 {
        let took = waiting.began.elapsed();
        self.counts.count(outcome, took);
        let duration_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        let (event_id, company, outcome) = (waiting.event_id, &waiting.company, outcome.as_str());
        tracing::info!(%event_id, %company, rule, outcome, duration_ms, "inbound answered");
        duration_ms
    }
}

fn invalid(rule: &Arc<str>, error: &dyn std::fmt::Display) -> Decided {
    tracing::warn!(%rule, %error, "inbound: Retell would drop this answer whole; the fallback is sent instead");
    Decided::failed(rule, InboundOutcome::Invalid)
}

fn failed(rule: &Arc<str>, error: &dyn std::fmt::Display) -> Decided {
    tracing::warn!(%rule, %error, "inbound: no answer; the fallback is sent instead");
    Decided::failed(rule, InboundOutcome::Fallback)
}

fn panicked(event_id: EventId) -> InboundOutcome {
    tracing::error!(%event_id, "inbound: making the answer panicked; the fallback is sent instead");
    InboundOutcome::Fallback
}

/// It waits for nothing: its templates know the request and no history.
async fn fallback(
    rules: &Rules,
    request: Option<InboundRequest>,
    waiting: &Waiting,
    context: &InboundContext,
) -> InboundAnswer {
    let request = request.unwrap_or_else(|| InboundRequest::unread(waiting.kind, &waiting.body));
    rules.fallback.answer(&request, context, None).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "inbound: the fallback is sent without its variables");
        rules.fallback.fixed()
    })
}

/// A closure as [`Inbound::with_closure`] takes it.
pub fn boxed<F>(ask: impl Fn(InboundRequest, InboundContext) -> F + Send + Sync + 'static) -> OnInbound
where
    F: Future<Output = Option<InboundAnswer>> + Send + 'static,
{
    Arc::new(move |request, context| Box::pin(ask(request, context)))
}
