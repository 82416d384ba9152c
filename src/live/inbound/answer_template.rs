//! Answers made from the settings: fixed parts, and variables from templates.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::tz::TimeZone;
use minijinja::{AutoEscape, Environment, Error, Value, context};
use serde_json::Value as Json;

use super::answer::{InboundAnswer, InvalidField};
use super::caller_lookup::CallerLookup;
use super::request::{InboundContext, InboundRequest};
use super::rules::InvalidInboundKey;
use crate::config::{InboundAnswerSettings, InboundKind};
use crate::handlers::template::{describe_error, error_location, is_template_error, limited_environment};

/// Steps a template may take.
const TEMPLATE_FUEL: u64 = 20_000;
/// A variable is cut here, in bytes.
const MAX_VARIABLE_BYTES: usize = 8 * 1024;

/// An answer of the settings.
pub(super) struct AnswerTemplate {
    /// Whose answer it is, for the log.
    rule_name: String,
    base_answer: InboundAnswer,
    templates: Environment<'static>,
    variable_names: Vec<String>,
    /// That a variable could not be made was said.
    error_logged: AtomicBool,
    /// Some template speaks of the caller.
    uses_caller: bool,
}

impl AnswerTemplate {
    pub(super) fn compile(table: &str, settings: &InboundAnswerSettings) -> Result<Self, InvalidInboundKey> {
        let mut fixed = if settings.reject { InboundAnswer::reject() } else { InboundAnswer::empty() };
        let steers = settings.agent.is_some() || settings.agent_version.is_some() || !settings.metadata.is_empty();
        if settings.reject && (steers || !settings.dynamic_variables.is_empty()) {
            return Err(("reject", "who is turned away gets no agent, variables or metadata".to_owned()));
        }
        if let Some(agent) = &settings.agent {
            fixed = fixed.agent(agent);
        }
        if let Some(version) = settings.agent_version {
            fixed = fixed.agent_version(version);
        }
        if !settings.metadata.is_empty() {
            fixed = fixed.metadata(Json::Object(settings.metadata.clone()));
        }
        fixed.check().map_err(|error| ("answer", error.to_string()))?;
        let names: Vec<String> = settings.dynamic_variables.keys().cloned().collect();
        if names.iter().any(String::is_empty) {
            return Err(("dynamic_variables", "one has no name".to_owned()));
        }
        let wants_caller = settings.dynamic_variables.values().any(|text| text.contains("caller"));
        let mut templates = limited_environment(TEMPLATE_FUEL);
        // Whatever a variable is named, nothing in it is escaped: it is text for a model.
        templates.set_auto_escape_callback(|_| AutoEscape::None);
        for (name, text) in &settings.dynamic_variables {
            let refused = |error: &Error| ("dynamic_variables", format!("`{name}`: {}", describe_error(error)));
            templates.add_template_owned(name.clone(), text.clone()).map_err(|error| refused(&error))?;
            // Unknown filters and the like are found out only when a template is rendered.
            match templates.get_template(name).and_then(|template| template.render(())) {
                Err(error) if is_template_error(&error) => return Err(refused(&error)),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(Self {
            rule_name: table.to_owned(),
            base_answer: fixed,
            templates,
            variable_names: names,
            error_logged: AtomicBool::new(false),
            uses_caller: wants_caller,
        })
    }

    /// Refuses a variable that cannot even be made for an ordinary request. What a provider's headers hold is not known
    /// before there is one.
    pub(super) fn check_with_sample(&self, settings: &InboundAnswerSettings) -> Result<(), InvalidInboundKey> {
        let number = "+12025550100";
        let sample = context! {
            kind => "call", id => "call_1", from_number => number, to_number => number, agent_id => "agent_1",
            agent_version => 1, company => "default", event_id => "evt_1"
        };
        for name in self.variable_names.iter().filter(|name| !settings.dynamic_variables[*name].contains("sip")) {
            if let Err(error) = self.templates.get_template(name).and_then(|template| template.render(&sample)) {
                let why = describe_error(&error);
                return Err((
                    "dynamic_variables",
                    format!("`{name}`: {why}; the fallback knows no history of the caller"),
                ));
            }
        }
        Ok(())
    }

    /// What there is without the variables.
    pub(super) fn without_variables(&self) -> InboundAnswer {
        self.base_answer.clone()
    }

    /// With the variables filled in. One that cannot be made is left out: the agent and the others are worth more than it.
    pub(super) async fn render(
        &self,
        request: &InboundRequest,
        context: &InboundContext,
        caller: Option<(&CallerLookup, &TimeZone)>,
    ) -> Result<InboundAnswer, InvalidField> {
        let mut answer = self.base_answer.clone();
        if self.variable_names.is_empty() {
            return Ok(answer);
        }
        let caller = match caller.filter(|_| self.uses_caller) {
            Some((caller, zone)) => caller.template_variables(zone).await,
            None => Value::UNDEFINED,
        };
        let variables = template_variables(request, context, caller);
        for name in &self.variable_names {
            match self.templates.get_template(name).and_then(|template| template.render(&variables)) {
                Ok(mut text) => {
                    text.truncate(text.floor_char_boundary(MAX_VARIABLE_BYTES));
                    answer = answer.dynamic_variable(name, text);
                }
                Err(error) => self.log_variable_error(name, &error),
            }
        }
        answer.check()?;
        Ok(answer)
    }

    /// Once, as every further request would say it again.
    fn log_variable_error(&self, name: &str, error: &Error) {
        if !self.error_logged.swap(true, Ordering::Relaxed) {
            let (table, why) = (&*self.rule_name, error_location(error));
            tracing::warn!(table, variable = name, why, "inbound: a variable cannot be made and is left out");
        }
    }
}

fn template_variables(request: &InboundRequest, context: &InboundContext, caller: Value) -> Value {
    let kind = match request.kind {
        InboundKind::Call => "call",
        InboundKind::Chat => "chat",
    };
    let headers = &request.custom_sip_headers;
    let texts = headers.iter().map(|(name, _)| (name.to_owned(), headers.get_text(name).map(Cow::into_owned)));
    let sip = Value::from_pairs(texts);
    context! {
        caller,
        kind,
        id => request.id.clone(),
        from_number => request.from_number.clone(),
        to_number => request.to_number.clone(),
        agent_id => request.agent_id.clone(),
        agent_version => request.agent_version,
        sip => sip,
        company => context.company.clone(),
        event_id => context.event_id.to_string(),
    }
}
