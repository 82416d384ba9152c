//! The rules of the settings, ready to be asked.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::answer_template::AnswerTemplate;
use super::caller_lookup::CallerLookup;
use super::number_matcher::NumberMatcher;
use super::request::{InboundContext, InboundRequest};
use super::rule_schedule::RuleSchedule;
use super::target::{self, InboundTarget};
use crate::config::{InboundAnswerSettings, InboundAskSettings, InboundKind, InboundRuleSettings, InboundSettings};
use crate::egress::Egress;
use crate::handlers::HandlerDeps;

/// A key, and why its value is refused.
pub(super) type InvalidInboundKey = (&'static str, String);

/// An `[[inbound.rules]]` table, or the fallback, that no answer can be made of.
#[derive(Debug, thiserror::Error)]
#[error("{table}: {key}: {reason}")]
pub struct InboundConfigError {
    /// `inbound rule` with its name, or `inbound.fallback`.
    pub table: String,
    /// Its key that is refused.
    pub key: &'static str,
    /// What is wrong with it, and what to do.
    pub reason: String,
}

/// `[inbound]`, as of one reading of the settings. `A` asks a service; `()` where none is to be asked.
pub(crate) struct InboundRules<A = Box<InboundTarget>> {
    pub(super) timeout: Duration,
    pub(super) fallback: AnswerTemplate,
    rules: Vec<CompiledInboundRule<A>>,
}

pub(super) struct CompiledInboundRule<A> {
    pub(super) name: Arc<str>,
    from: Option<NumberMatcher>,
    to: Option<NumberMatcher>,
    agents: Vec<String>,
    companies: Vec<String>,
    kind: Option<InboundKind>,
    pub(super) schedule: RuleSchedule,
    known_caller: Option<bool>,
    pub(super) answer_source: AnswerSource<A>,
}

/// Where a rule's answer comes from.
pub(super) enum AnswerSource<A> {
    Template(Box<AnswerTemplate>),
    Target(A),
}

impl InboundRules {
    /// Reads the settings, the lists of numbers they name as well.
    ///
    /// # Errors
    /// The key that is refused, and why.
    pub(crate) fn from_settings(settings: &InboundSettings, tools: &HandlerDeps) -> Result<Self, InboundConfigError> {
        Self::compile(settings, |ask| InboundTarget::new(ask, tools).map(Box::new))
    }

    /// Refuses what [`InboundRules::configured`] would refuse, without making a connection's parts.
    ///
    /// # Errors
    /// The key that is refused, and why.
    pub(crate) fn check(settings: &InboundSettings, egress: &Egress) -> Result<(), InboundConfigError> {
        InboundRules::compile(settings, |ask| target::check_settings(ask, egress)).map(drop)
    }
}

impl<A> InboundRules<A> {
    pub(super) fn compile(
        settings: &InboundSettings,
        asking: impl Fn(&InboundAskSettings) -> Result<A, InvalidInboundKey>,
    ) -> Result<Self, InboundConfigError> {
        let rule = |table: &InboundRuleSettings| {
            CompiledInboundRule::compile(table, &asking).map_err(|refused| rule_error(table, refused))
        };
        Ok(Self {
            timeout: Duration::from_millis(settings.timeout_ms),
            fallback: compile_fallback(&settings.fallback)?,
            rules: settings.rules.iter().map(rule).collect::<Result<_, _>>()?,
        })
    }

    /// The first one whose conditions all hold.
    pub(super) async fn first_match(
        &self,
        request: &InboundRequest,
        context: &InboundContext,
        caller: &CallerLookup,
    ) -> Option<&CompiledInboundRule<A>> {
        for rule in &self.rules {
            if rule.matches(request, context, caller).await {
                return Some(rule);
            }
        }
        None
    }
}

fn rule_error(table: &InboundRuleSettings, (key, why): InvalidInboundKey) -> InboundConfigError {
    InboundConfigError { table: format!("inbound rule `{}`", table.name), key, reason: why }
}

fn compile_fallback(settings: &InboundAnswerSettings) -> Result<AnswerTemplate, InboundConfigError> {
    const TABLE: &str = "inbound.fallback";
    let made =
        AnswerTemplate::compile(TABLE, settings).and_then(|made| made.check_with_sample(settings).map(|()| made));
    made.map_err(|(key, why)| InboundConfigError { table: TABLE.to_owned(), key, reason: why })
}

impl<A> CompiledInboundRule<A> {
    fn compile(
        table: &InboundRuleSettings,
        asking: impl Fn(&InboundAskSettings) -> Result<A, InvalidInboundKey>,
    ) -> Result<Self, InvalidInboundKey> {
        let answer = table.static_answer();
        let says = match &table.ask {
            Some(_) if answer != InboundAnswerSettings::default() => {
                return Err(("ask", "the service answers: leave reject, agent, variables and metadata out".to_owned()));
            }
            Some(ask) => AnswerSource::Target(asking(ask)?),
            None => AnswerSource::Template(Box::new(AnswerTemplate::compile(&table.name, &answer)?)),
        };
        Ok(Self {
            name: table.name.as_str().into(),
            from: NumberMatcher::parse("from", &table.from)?,
            to: NumberMatcher::parse("to", &table.to)?,
            agents: table.agents.clone(),
            companies: table.companies.clone(),
            kind: table.kind,
            schedule: RuleSchedule::from_rule(table)?,
            known_caller: table.known_caller,
            answer_source: says,
        })
    }

    /// What costs nothing is asked first.
    async fn matches(&self, request: &InboundRequest, context: &InboundContext, caller: &CallerLookup) -> bool {
        let agent = request.agent_id.as_ref();
        if self.kind.is_some_and(|kind| kind != request.kind)
            || !(self.agents.is_empty() || agent.is_some_and(|agent| self.agents.contains(agent)))
            || !(self.companies.is_empty() || self.companies.contains(&context.company))
            || !self.schedule.is_active(context.received_at_ms)
        {
            return false;
        }
        for (numbers, number) in [(&self.from, &request.from_number), (&self.to, &request.to_number)] {
            if let Some(numbers) = numbers
                && !numbers.matches(number).await
            {
                return false;
            }
        }
        match self.known_caller {
            Some(wanted) => caller.is_known().await == Some(wanted),
            None => true,
        }
    }
}

/// The rules of the moment: every request looks once, and keeps what it saw.
#[derive(Clone)]
pub(crate) struct CurrentInboundRules(Arc<RwLock<Arc<InboundRules>>>);

impl CurrentInboundRules {
    /// Begins with these.
    #[must_use]
    pub(crate) fn new(rules: InboundRules) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(rules))))
    }

    pub(super) fn get(&self) -> Arc<InboundRules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Requests that begin from here on see these.
    pub(crate) fn replace(&self, rules: InboundRules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}
