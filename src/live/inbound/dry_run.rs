//! `inbound test`: what the rules would answer to a made-up request.

use std::sync::Arc;

use serde_json::json;

use super::answer_template::AnswerTemplate;
use super::caller_lookup::CallerLookup;
use super::request::{InboundContext, InboundRequest};
use super::rules::{AnswerSource, InboundRules};
use crate::base::id::{CompanyId, EventIdGenerator};
use crate::config::{FieldError, InboundKind, InboundSettings};
use crate::storage::CallStore;

pub(crate) struct InboundDryRun {
    pub kind: InboundKind,
    pub from_number: String,
    pub to_number: String,
    /// The agent configured for the number in Retell.
    pub agent_id: Option<String>,
    /// The company's id in the store, and its slug.
    pub company: (CompanyId, String),
    /// The time of the request, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
}

pub(crate) struct InboundDryRunResult {
    /// The rule that would answer; `None` if no rule matches.
    pub rule: Option<String>,
    /// The answer as JSON; `None` if a service would answer, since a dry run sends no request.
    pub answer: Option<String>,
    /// Why the fallback would be answered.
    pub fallback_reason: Option<String>,
}

impl InboundDryRun {
    /// Applies the rules of `settings`. The caller's history is read from `store`; nothing is written, and no service
    /// is called.
    ///
    /// # Errors
    /// A rule or the fallback that cannot be compiled.
    pub(crate) async fn run(
        self,
        settings: &InboundSettings,
        calls: &Arc<dyn CallStore>,
    ) -> Result<InboundDryRunResult, FieldError> {
        let rules = InboundRules::compile(settings, |_| Ok(()))?;
        let request = self.build_request();
        let context = self.build_context(&rules);
        let caller = CallerLookup::new(calls, context.company_id, &self.from_number);
        let Some(rule) = rules.first_match(&request, &context, &caller).await else {
            let answer = Some(super::InboundAnswer::empty().to_json(self.kind));
            return Ok(InboundDryRunResult { rule: None, answer, fallback_reason: None });
        };
        let name = Some(rule.name.to_string());
        let AnswerSource::Template(template) = &rule.answer_source else {
            return Ok(InboundDryRunResult { rule: name, answer: None, fallback_reason: None });
        };
        let rendered = template.render(&request, &context, Some((&caller, &rule.schedule.time_zone))).await;
        let (answer, fallback_reason) = match rendered {
            Ok(answer) => (answer, None),
            Err(invalid) => (render_fallback(&rules.fallback, &request, &context).await, Some(invalid.to_string())),
        };
        Ok(InboundDryRunResult { rule: name, answer: Some(answer.to_json(self.kind)), fallback_reason })
    }

    fn build_request(&self) -> InboundRequest {
        let name = match self.kind {
            InboundKind::Call => "call_inbound",
            InboundKind::Chat => "chat_inbound",
        };
        let fields = json!({ "from_number": self.from_number, "to_number": self.to_number, "agent_id": self.agent_id });
        InboundRequest {
            kind: self.kind,
            id: None,
            agent_id: self.agent_id.clone(),
            agent_version: None,
            from_number: self.from_number.clone(),
            to_number: self.to_number.clone(),
            custom_sip_headers: crate::event::JsonObject::default(),
            body: json!({ "event": name, name: fields }).to_string().into(),
        }
    }

    fn build_context(&self, rules: &InboundRules<()>) -> InboundContext {
        InboundContext {
            event_id: EventIdGenerator::default().next_id(self.received_at_ms),
            company_id: self.company.0,
            company: self.company.1.clone(),
            received_at_ms: self.received_at_ms,
            deadline: tokio::time::Instant::now() + rules.timeout,
        }
    }
}

async fn render_fallback(
    fallback: &AnswerTemplate,
    request: &InboundRequest,
    context: &InboundContext,
) -> super::InboundAnswer {
    fallback.render(request, context, None).await.unwrap_or_else(|_| fallback.without_variables())
}
