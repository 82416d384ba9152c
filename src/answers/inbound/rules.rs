//! The rules of the settings, ready to be asked.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::ask::{self, Ask};
use super::caller::Caller;
use super::made::Made;
use super::numbers::Numbers;
use super::request::{InboundContext, InboundRequest};
use super::times::Times;
use crate::config::{AskSettings, InboundAnswerSettings, InboundKind, InboundRule, InboundSettings};
use crate::egress::Egress;
use crate::handlers::Tools;

/// A key, and why its value is refused.
pub(super) type Refused = (&'static str, String);

/// An `[[inbound.rules]]` table, or the fallback, that no answer can be made of.
#[derive(Debug, thiserror::Error)]
#[error("{table}: {key}: {why}")]
pub struct InboundError {
    /// `inbound rule` with its name, or `inbound.fallback`.
    pub table: String,
    /// Its key that is refused.
    pub key: &'static str,
    /// What is wrong with it, and what to do.
    pub why: String,
}

/// `[inbound]`, as of one reading of the settings. `A` asks a service; `()` where none is to be asked.
pub struct Rules<A = Box<Ask>> {
    pub(super) timeout: Duration,
    pub(super) fallback: Made,
    list: Vec<Rule<A>>,
}

pub(super) struct Rule<A> {
    pub(super) name: Arc<str>,
    from: Option<Numbers>,
    to: Option<Numbers>,
    agents: Vec<String>,
    companies: Vec<String>,
    kind: Option<InboundKind>,
    pub(super) times: Times,
    known: Option<bool>,
    pub(super) says: Says<A>,
}

/// Where a rule's answer comes from.
pub(super) enum Says<A> {
    Made(Box<Made>),
    Ask(A),
}

impl Rules {
    /// Reads the settings, the lists of numbers they name as well.
    ///
    /// # Errors
    /// The key that is refused, and why.
    pub fn configured(settings: &InboundSettings, tools: &Tools) -> Result<Self, InboundError> {
        Self::of(settings, |ask| Ask::of(ask, tools).map(Box::new))
    }

    /// Refuses what [`Rules::configured`] would refuse, without making a connection's parts.
    ///
    /// # Errors
    /// The key that is refused, and why.
    pub fn check(settings: &InboundSettings, egress: &Egress) -> Result<(), InboundError> {
        Rules::of(settings, |ask| ask::check(ask, egress)).map(drop)
    }
}

impl<A> Rules<A> {
    pub(super) fn of(
        settings: &InboundSettings,
        asking: impl Fn(&AskSettings) -> Result<A, Refused>,
    ) -> Result<Self, InboundError> {
        let rule = |table: &InboundRule| Rule::of(table, &asking).map_err(|refused| of_rule(table, refused));
        Ok(Self {
            timeout: Duration::from_millis(settings.timeout_ms),
            fallback: fallback(&settings.fallback)?,
            list: settings.rules.iter().map(rule).collect::<Result<_, _>>()?,
        })
    }

    /// The first one whose conditions all hold.
    pub(super) async fn first(
        &self,
        request: &InboundRequest,
        context: &InboundContext,
        caller: &Caller,
    ) -> Option<&Rule<A>> {
        for rule in &self.list {
            if rule.holds(request, context, caller).await {
                return Some(rule);
            }
        }
        None
    }
}

fn of_rule(table: &InboundRule, (key, why): Refused) -> InboundError {
    InboundError { table: format!("inbound rule `{}`", table.name), key, why }
}

fn fallback(settings: &InboundAnswerSettings) -> Result<Made, InboundError> {
    const TABLE: &str = "inbound.fallback";
    let made = Made::of(TABLE, settings).and_then(|made| made.try_out(settings).map(|()| made));
    made.map_err(|(key, why)| InboundError { table: TABLE.to_owned(), key, why })
}

impl<A> Rule<A> {
    fn of(table: &InboundRule, asking: impl Fn(&AskSettings) -> Result<A, Refused>) -> Result<Self, Refused> {
        let answer = table.answer();
        let says = match &table.ask {
            Some(_) if answer != InboundAnswerSettings::default() => {
                return Err(("ask", "the service answers: leave reject, agent, variables and metadata out".to_owned()));
            }
            Some(ask) => Says::Ask(asking(ask)?),
            None => Says::Made(Box::new(Made::of(&table.name, &answer)?)),
        };
        Ok(Self {
            name: table.name.as_str().into(),
            from: Numbers::of("from", &table.from)?,
            to: Numbers::of("to", &table.to)?,
            agents: table.agents.clone(),
            companies: table.companies.clone(),
            kind: table.kind,
            times: Times::of(table)?,
            known: table.known,
            says,
        })
    }

    /// What costs nothing is asked first.
    async fn holds(&self, request: &InboundRequest, context: &InboundContext, caller: &Caller) -> bool {
        let agent = request.agent_id.as_ref();
        if self.kind.is_some_and(|kind| kind != request.kind)
            || !(self.agents.is_empty() || agent.is_some_and(|agent| self.agents.contains(agent)))
            || !(self.companies.is_empty() || self.companies.contains(&context.company))
            || !self.times.hold(context.received_at_ms)
        {
            return false;
        }
        for (numbers, number) in [(&self.from, &request.from_number), (&self.to, &request.to_number)] {
            if let Some(numbers) = numbers
                && !numbers.contain(number).await
            {
                return false;
            }
        }
        match self.known {
            Some(wanted) => caller.is_known().await == Some(wanted),
            None => true,
        }
    }
}

/// The rules of the moment: every request looks once, and keeps what it saw.
#[derive(Clone)]
pub struct CurrentRules(Arc<RwLock<Arc<Rules>>>);

impl CurrentRules {
    /// Begins with these.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(rules))))
    }

    pub(super) fn get(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Requests that begin from here on see these.
    pub fn replace(&self, rules: Rules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}
