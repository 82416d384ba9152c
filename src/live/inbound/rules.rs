//! The compiled rules of `[inbound]`.

use std::sync::Arc;
use std::time::Duration;

use super::answer_template::AnswerTemplate;
use super::caller_lookup::CallerLookup;
use super::number_matcher::NumberMatcher;
use super::request::{InboundContext, InboundRequest};
use super::rule_schedule::RuleSchedule;
use super::target::{self, InboundTarget};
use crate::base::current::Current;
use crate::config::{
    CompanySlug, FieldError, InboundAnswerSettings, InboundAskSettings, InboundKind, InboundRuleSettings,
    InboundSettings,
};
use crate::egress::Egress;
use crate::outbound::OutboundContext;

/// The compiled rules. `A` is the target of an `ask` table, or `()` where no requests are sent (checks and dry runs).
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
    companies: Vec<CompanySlug>,
    kind: Option<InboundKind>,
    pub(super) schedule: RuleSchedule,
    known_caller: Option<bool>,
    pub(super) answer_source: AnswerSource<A>,
}

pub(super) enum AnswerSource<A> {
    Template(Box<AnswerTemplate>),
    Target(A),
}

impl InboundRules {
    /// Compiles the settings and reads the number files that they name.
    ///
    /// # Errors
    /// The first table and key that is invalid.
    pub(crate) fn from_settings(settings: &InboundSettings, outbound: &OutboundContext) -> Result<Self, FieldError> {
        Self::compile(settings, |ask| InboundTarget::new(ask, outbound).map(Box::new))
    }

    /// Reports the errors of [`InboundRules::from_settings`] without creating outbound HTTP clients.
    ///
    /// # Errors
    /// The first table and key that is invalid.
    pub(crate) fn check(settings: &InboundSettings, egress: &Egress) -> Result<(), FieldError> {
        InboundRules::compile(settings, |ask| target::check_settings(ask, egress)).map(drop)
    }
}

impl<A> InboundRules<A> {
    pub(super) fn compile(
        settings: &InboundSettings,
        compile_target: impl Fn(&InboundAskSettings) -> Result<A, FieldError>,
    ) -> Result<Self, FieldError> {
        let compile_rule = |(position, table): (usize, &InboundRuleSettings)| {
            let compiled = CompiledInboundRule::compile(table, &compile_target);
            compiled.map_err(|error| error.in_list("inbound.rules", position, &table.name))
        };
        Ok(Self {
            timeout: settings.timeout,
            fallback: compile_fallback(&settings.fallback)?,
            rules: settings.rules.iter().enumerate().map(compile_rule).collect::<Result<_, _>>()?,
        })
    }

    /// The first rule whose conditions all hold.
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

fn compile_fallback(settings: &InboundAnswerSettings) -> Result<AnswerTemplate, FieldError> {
    const TABLE: &str = "inbound.fallback";
    let invalid = |error: FieldError| error.in_table(TABLE, "");
    let fallback = AnswerTemplate::compile(TABLE, settings).map_err(invalid)?;
    // The fallback is the last resort: a template that always fails is reported at start, not at the first incident.
    fallback.check_with_sample(settings).map_err(invalid)?;
    Ok(fallback)
}

impl<A> CompiledInboundRule<A> {
    fn compile(
        table: &InboundRuleSettings,
        compile_target: impl Fn(&InboundAskSettings) -> Result<A, FieldError>,
    ) -> Result<Self, FieldError> {
        let answer = table.static_answer();
        let answer_source = match &table.ask {
            Some(_) if answer != InboundAnswerSettings::default() => {
                let reason = "the service gives the whole answer; remove reject, agent, agent_version, \
                              dynamic_variables and metadata, or remove `ask`";
                return Err(FieldError::new("ask", reason.to_owned()));
            }
            Some(ask) => AnswerSource::Target(compile_target(ask)?),
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
            answer_source,
        })
    }

    /// Checks the conditions in the order of their cost: memory first, then number files, then the store.
    async fn matches(&self, request: &InboundRequest, context: &InboundContext, caller: &CallerLookup) -> bool {
        if self.kind.is_some_and(|kind| kind != request.kind) {
            return false;
        }
        if !self.agents.is_empty() && !request.agent_id.as_ref().is_some_and(|agent| self.agents.contains(agent)) {
            return false;
        }
        if !self.companies.is_empty() && !self.companies.iter().any(|slug| **slug == *context.company) {
            return false;
        }
        if !self.schedule.is_active(context.received_at_ms) {
            return false;
        }
        for (matcher, number) in [(&self.from, &request.from_number), (&self.to, &request.to_number)] {
            if let Some(matcher) = matcher
                && !matcher.matches(number).await
            {
                return false;
            }
        }
        match self.known_caller {
            Some(expected) => caller.is_known().await == Some(expected),
            None => true,
        }
    }
}

/// The rules in use. A request takes a snapshot and keeps it until it is answered.
pub(crate) type CurrentInboundRules = Current<InboundRules>;
