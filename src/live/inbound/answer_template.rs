//! Answers made from the settings: fixed fields, and dynamic variables from templates.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::tz::TimeZone;
use minijinja::{AutoEscape, Environment, Error, Value, context};
use serde_json::Value as Json;

use super::answer::{InboundAnswer, InvalidField};
use super::caller_lookup::CallerLookup;
use super::request::{InboundContext, InboundRequest};
use crate::config::FieldError;
use crate::config::{InboundAnswerSettings, InboundKind};
use crate::outbound::template::{describe_error, error_location, is_template_error, limited_environment};

/// Instructions that one template may execute. It ends a runaway loop long before the deadline.
const TEMPLATE_FUEL: u64 = 20_000;
/// Longer variables are truncated, in bytes.
const MAX_VARIABLE_BYTES: usize = 8 * 1024;

/// A compiled answer of a rule or of the fallback.
pub(super) struct AnswerTemplate {
    /// Name of the rule, or `inbound.fallback`, for the log.
    rule_name: String,
    base_answer: InboundAnswer,
    templates: Environment<'static>,
    variable_names: Vec<String>,
    /// Set after the first failed variable was logged.
    error_logged: AtomicBool,
    /// Whether any template mentions `caller`. If none does, the store is not queried.
    uses_caller: bool,
}

impl AnswerTemplate {
    pub(super) fn compile(rule_name: &str, settings: &InboundAnswerSettings) -> Result<Self, FieldError> {
        let base_answer = build_base_answer(settings)?;
        let variable_names: Vec<String> = settings.dynamic_variables.keys().cloned().collect();
        if variable_names.iter().any(String::is_empty) {
            return Err(FieldError::new(
                "dynamic_variables",
                "a variable has an empty name; give each a name".to_owned(),
            ));
        }
        let uses_caller = settings.dynamic_variables.values().any(|text| text.contains("caller"));
        let mut templates = limited_environment(TEMPLATE_FUEL);
        // minijinja escapes by the extension of the template name, and a variable may be called `page.html`. The
        // value is text for a model, never HTML.
        templates.set_auto_escape_callback(|_| AutoEscape::None);
        for (name, text) in &settings.dynamic_variables {
            let invalid =
                |error: &Error| FieldError::new("dynamic_variables", format!("`{name}`: {}", describe_error(error)));
            templates.add_template_owned(name.clone(), text.clone()).map_err(|error| invalid(&error))?;
            // Unknown filters and functions are reported by minijinja only when a template is rendered. Errors that
            // come from missing values are expected here.
            let rendered = templates.get_template(name).and_then(|template| template.render(()));
            if let Err(error) = rendered
                && is_template_error(&error)
            {
                return Err(invalid(&error));
            }
        }
        Ok(Self {
            rule_name: rule_name.to_owned(),
            base_answer,
            templates,
            variable_names,
            error_logged: AtomicBool::new(false),
            uses_caller,
        })
    }

    /// Rejects variables of the fallback that fail for an ordinary request. Templates that use `sip` are skipped:
    /// which headers a provider sends is not known before there is a request.
    pub(super) fn check_with_sample(&self, settings: &InboundAnswerSettings) -> Result<(), FieldError> {
        let number = "+12025550100";
        let sample = context! {
            kind => "call", id => "call_1", from_number => number, to_number => number, agent_id => "agent_1",
            agent_version => 1, company => "default", event_id => "evt_1"
        };
        for name in self.variable_names.iter().filter(|name| !settings.dynamic_variables[*name].contains("sip")) {
            if let Err(error) = self.templates.get_template(name).and_then(|template| template.render(&sample)) {
                let problem = describe_error(&error);
                return Err(FieldError::new(
                    "dynamic_variables",
                    format!("`{name}`: {problem}; the fallback cannot use `caller`, it is sent without a lookup"),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn without_variables(&self) -> InboundAnswer {
        self.base_answer.clone()
    }

    /// Renders the variables. One that fails is left out and logged: the call should still get its agent and the
    /// other variables.
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
        let caller = match caller {
            Some((caller, zone)) if self.uses_caller => caller.template_variables(zone).await,
            _ => Value::UNDEFINED,
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
        // Each variable is bounded, but many together may exceed the limit of an answer.
        answer.check()?;
        Ok(answer)
    }

    /// Logs once per rule, since every further request would fail in the same way.
    fn log_variable_error(&self, name: &str, error: &Error) {
        if !self.error_logged.swap(true, Ordering::Relaxed) {
            let rule = &*self.rule_name;
            // The location only: the message of minijinja may quote a value, such as a phone number.
            let error = error_location(error);
            tracing::warn!(rule, variable = name, error, "inbound variable omitted");
        }
    }
}

fn build_base_answer(settings: &InboundAnswerSettings) -> Result<InboundAnswer, FieldError> {
    let mut answer = if settings.reject { InboundAnswer::reject() } else { InboundAnswer::empty() };
    let has_other_keys = settings.agent.is_some()
        || settings.agent_version.is_some()
        || !settings.metadata.is_empty()
        || !settings.dynamic_variables.is_empty();
    if settings.reject && has_other_keys {
        let problem = "a rejected call has no agent, variables or metadata; remove them, or remove `reject`";
        return Err(FieldError::new("reject", problem.to_owned()));
    }
    if let Some(agent) = &settings.agent {
        answer = answer.agent(agent);
    }
    if let Some(version) = settings.agent_version {
        answer = answer.agent_version(version);
    }
    if !settings.metadata.is_empty() {
        answer = answer.metadata(Json::Object(settings.metadata.clone()));
    }
    answer.check().map_err(|error| FieldError::new("answer", error.to_string()))?;
    Ok(answer)
}

fn template_variables(request: &InboundRequest, context: &InboundContext, caller: Value) -> Value {
    let kind = match request.kind {
        InboundKind::Call => "call",
        InboundKind::Chat => "chat",
    };
    let headers = &request.custom_sip_headers;
    let header_texts = headers.iter().map(|(name, _)| (name.to_owned(), headers.get_text(name).map(Cow::into_owned)));
    let sip = Value::from_pairs(header_texts);
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
