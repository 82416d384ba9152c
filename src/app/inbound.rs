//! Puts the answers of `answers` behind the routes of `intake`.

use async_trait::async_trait;
use futures_util::FutureExt;

use crate::answers::inbound::{Inbound, Waiting};
use crate::config::InboundKind;
use crate::event::EventKind;
use crate::intake::{self, AnswerInbound};

/// The lane of inbound calls and text messages.
pub(super) struct Lane(pub(super) Inbound);

#[async_trait]
impl AnswerInbound for Lane {
    async fn answer(&self, inbound: intake::Inbound) -> String {
        let kind = match inbound.kind {
            EventKind::ChatInbound => InboundKind::Chat,
            _ => InboundKind::Call,
        };
        let waiting = Waiting {
            kind,
            soon: inbound.kept.clone().soon().boxed().shared(),
            at_last: inbound.kept.at_last().boxed().shared(),
            event_id: inbound.event_id,
            told_apart_by: inbound.told_apart_by,
            company_id: inbound.company_id,
            company: inbound.company,
            body: inbound.body,
            signature: inbound.signature,
            began: inbound.began,
            received_at_ms: inbound.received_at_ms,
        };
        self.0.answer(waiting).await
    }
}
