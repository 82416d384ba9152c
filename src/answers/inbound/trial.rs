//! What the rules would answer to a request that nobody sent.

use std::sync::Arc;

use serde_json::json;

use super::caller::Caller;
use super::made::Made;
use super::request::{InboundContext, InboundRequest};
use super::rules::{InboundError, Rules, Says};
use crate::base::id::EventIds;
use crate::config::{InboundKind, InboundSettings};
use crate::storage::Store;

/// A request that nobody sent.
pub struct Trial {
    /// Call or message.
    pub kind: InboundKind,
    /// The caller's number.
    pub from: String,
    /// The number called.
    pub to: String,
    /// The agent the number would use.
    pub agent: Option<String>,
    /// The company, as the store numbers it, and its slug.
    pub company: (i64, String),
    /// When it is received, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// What it would be answered.
pub struct Tried {
    /// The rule that answers; `None` when no rule holds.
    pub rule: Option<String>,
    /// The answer as JSON; `None` when a service is to say it, which is not asked.
    pub answer: Option<String>,
    /// Why the fallback is answered.
    pub problem: Option<String>,
}

impl Trial {
    /// Asks the rules of `settings`, and `store` for what is known of the caller. Nothing is stored, and no service asked.
    ///
    /// # Errors
    /// The rule that no answer can be made of.
    pub async fn run(self, settings: &InboundSettings, store: &Arc<dyn Store>) -> Result<Tried, InboundError> {
        let rules = Rules::of(settings, |_| Ok(()))?;
        let (request, context) = (self.request(), self.context(&rules));
        let caller = Caller::new(store, context.company_id, &self.from);
        let Some(rule) = rules.first(&request, &context, &caller).await else {
            let answer = Some(super::InboundAnswer::empty().to_json(self.kind));
            return Ok(Tried { rule: None, answer, problem: None });
        };
        let name = Some(rule.name.to_string());
        let Says::Made(made) = &rule.says else {
            return Ok(Tried { rule: name, answer: None, problem: None });
        };
        let (answer, problem) = match made.answer(&request, &context, Some((&caller, &rule.times.zone))).await {
            Ok(answer) => (answer, None),
            Err(invalid) => (fallback(&rules.fallback, &request, &context).await, Some(invalid.to_string())),
        };
        Ok(Tried { rule: name, answer: Some(answer.to_json(self.kind)), problem })
    }

    fn request(&self) -> InboundRequest {
        let name = match self.kind {
            InboundKind::Call => "call_inbound",
            InboundKind::Chat => "chat_inbound",
        };
        let about = json!({ "from_number": self.from, "to_number": self.to, "agent_id": self.agent });
        InboundRequest {
            kind: self.kind,
            id: None,
            agent_id: self.agent.clone(),
            agent_version: None,
            from_number: self.from.clone(),
            to_number: self.to.clone(),
            custom_sip_headers: crate::event::Object::default(),
            body: json!({ "event": name, name: about }).to_string().into(),
        }
    }

    fn context(&self, rules: &Rules<()>) -> InboundContext {
        InboundContext {
            event_id: EventIds::default().next(self.at_ms),
            company_id: self.company.0,
            company: self.company.1.clone(),
            received_at_ms: self.at_ms,
            deadline: tokio::time::Instant::now() + rules.timeout,
        }
    }
}

async fn fallback(made: &Made, request: &InboundRequest, context: &InboundContext) -> super::InboundAnswer {
    made.answer(request, context, None).await.unwrap_or_else(|_| made.fixed())
}
