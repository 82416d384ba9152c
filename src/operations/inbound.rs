//! Tests the rules for inbound calls and text messages.

use std::sync::Arc;

use super::{OperationError, Principal};
use crate::base::clock::Clock;
use crate::base::id::CompanyId;
use crate::config::{DEFAULT_COMPANY_SLUG, InboundKind, Settings};
use crate::live::inbound::InboundDryRun;
use crate::storage::{CallStore, Store};
use crate::view::InboundTestView;

/// A made-up inbound call or text message.
pub(crate) struct InboundTest {
    pub kind: InboundKind,
    /// The number of the caller, or a word such as `anonymous`.
    pub from_number: String,
    pub to_number: String,
    /// The id of the agent that is assigned to the called number.
    pub agent_id: Option<String>,
    /// The slug of the company whose URL receives it.
    pub company: String,
    /// When it arrives, in milliseconds since the Unix epoch; `None` for now.
    pub at_ms: Option<i64>,
}

/// Finds the rule that would answer, and the answer. Stores nothing and sends no request.
pub(crate) async fn test_inbound(
    store: &Arc<dyn Store>,
    settings: &Settings,
    clock: &Clock,
    _principal: &Principal,
    test: InboundTest,
) -> Result<InboundTestView, OperationError> {
    if test.company != DEFAULT_COMPANY_SLUG && settings.find_company(&test.company).is_none() {
        return Err(OperationError::unknown_company(&test.company));
    }
    // A configured company without a row in the store has no callers either; no row has the id -1.
    let company_id = store.find_company_id(&test.company).await?.unwrap_or(CompanyId::new(-1));
    let dry_run = InboundDryRun {
        kind: test.kind,
        from_number: test.from_number,
        to_number: test.to_number,
        agent_id: test.agent_id,
        company: (company_id, test.company),
        received_at_ms: test.at_ms.unwrap_or_else(|| clock.now_ms()),
    };
    let calls: Arc<dyn CallStore> = Arc::<dyn Store>::clone(store);
    let result = dry_run.run(&settings.inbound, &calls).await?;
    Ok(InboundTestView {
        rule: result.rule,
        answer: result.answer.as_deref().and_then(|answer| serde_json::from_str(answer).ok()),
        fallback_reason: result.fallback_reason,
        answer_text: result.answer,
    })
}
