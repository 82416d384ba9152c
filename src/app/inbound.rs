//! Connects the inbound routes of `intake` with the responder of `live`.

use async_trait::async_trait;
use futures_util::FutureExt;

use crate::config::InboundKind;
use crate::event::EventKind;
use crate::intake::{self, InboundAnswerProvider};
use crate::live::inbound::{InboundResponder, LiveInboundRequest};

/// Answers inbound calls and text messages through an [`InboundResponder`].
pub(super) struct InboundAdapter(pub(super) InboundResponder);

#[async_trait]
impl InboundAnswerProvider for InboundAdapter {
    async fn answer(&self, inbound: intake::InboundWebhook) -> String {
        let kind = match inbound.kind {
            EventKind::ChatInbound => InboundKind::Chat,
            _ => InboundKind::Call,
        };
        let request = LiveInboundRequest {
            kind,
            // Shared, because the responder and its background tasks both wait for them.
            first_store_result: inbound.pending_write.clone().first_store_result().boxed().shared(),
            final_store_result: inbound.pending_write.final_store_result().boxed().shared(),
            event_id: inbound.event_id,
            dedupe_discriminator: inbound.dedupe_discriminator,
            company_id: inbound.company_id,
            company: inbound.company,
            body: inbound.body,
            signature: inbound.signature,
            received_at: inbound.received_at,
            received_at_ms: inbound.received_at_ms,
        };
        self.0.answer(request).await
    }
}
