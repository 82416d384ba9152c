//! What the rules would answer to a request that nobody sent.

use std::sync::Arc;

use serde_json::json;

use super::answer_template::AnswerTemplate;
use super::caller_lookup::CallerLookup;
use super::request::{InboundContext, InboundRequest};
use super::rules::{AnswerSource, InboundConfigError, InboundRules};
use crate::base::id::EventIdGenerator;
use crate::config::{InboundKind, InboundSettings};
use crate::storage::Store;

/// A request that nobody sent.
pub(crate) struct InboundDryRun {
    /// Call or message.
    pub kind: InboundKind,
    /// The caller's number.
    pub from_number: String,
    /// The number called.
    pub to_number: String,
    /// The agent the number would use.
    pub agent_id: Option<String>,
    /// The company, as the store numbers it, and its slug.
    pub company: (i64, String),
    /// When it is received, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
}

/// What it would be answered.
pub(crate) struct InboundDryRunResult {
    /// The rule that answers; `None` when no rule holds.
    pub rule: Option<String>,
    /// The answer as JSON; `None` when a service is to say it, which is not asked.
    pub answer: Option<String>,
    /// Why the fallback is answered.
    pub fallback_reason: Option<String>,
}

impl InboundDryRun {
    /// Asks the rules of `settings`, and `store` for what is known of the caller. Nothing is stored, and no service asked.
    ///
    /// # Errors
    /// The rule that no answer can be made of.
    pub(crate) async fn run(
        self,
        settings: &InboundSettings,
        store: &Arc<dyn Store>,
    ) -> Result<InboundDryRunResult, InboundConfigError> {
        let rules = InboundRules::compile(settings, |_| Ok(()))?;
        let (request, context) = (self.build_request(), self.build_context(&rules));
        let caller = CallerLookup::new(store, context.company_id, &self.from_number);
        let Some(rule) = rules.first_match(&request, &context, &caller).await else {
            let answer = Some(super::InboundAnswer::empty().to_json(self.kind));
            return Ok(InboundDryRunResult { rule: None, answer, fallback_reason: None });
        };
        let name = Some(rule.name.to_string());
        let AnswerSource::Template(made) = &rule.answer_source else {
            return Ok(InboundDryRunResult { rule: name, answer: None, fallback_reason: None });
        };
        let (answer, problem) = match made.render(&request, &context, Some((&caller, &rule.schedule.time_zone))).await {
            Ok(answer) => (answer, None),
            Err(invalid) => (render_fallback(&rules.fallback, &request, &context).await, Some(invalid.to_string())),
        };
        Ok(InboundDryRunResult { rule: name, answer: Some(answer.to_json(self.kind)), fallback_reason: problem })
    }

    fn build_request(&self) -> InboundRequest {
        let name = match self.kind {
            InboundKind::Call => "call_inbound",
            InboundKind::Chat => "chat_inbound",
        };
        let about = json!({ "from_number": self.from_number, "to_number": self.to_number, "agent_id": self.agent_id });
        InboundRequest {
            kind: self.kind,
            id: None,
            agent_id: self.agent_id.clone(),
            agent_version: None,
            from_number: self.from_number.clone(),
            to_number: self.to_number.clone(),
            custom_sip_headers: crate::event::JsonObject::default(),
            body: json!({ "event": name, name: about }).to_string().into(),
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
    made: &AnswerTemplate,
    request: &InboundRequest,
    context: &InboundContext,
) -> super::InboundAnswer {
    made.render(request, context, None).await.unwrap_or_else(|_| made.without_variables())
}
