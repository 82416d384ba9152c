//! An inbound call or text message: stored like any event, and answered at the same time because a caller waits.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::write_behind::PendingWrite;
use crate::base::id::{CompanyId, EventId};
use crate::config::InboundKind;
use crate::storage::NewEvent;
use crate::tenants::Company;

/// A verified request that is being stored and is to be answered.
pub(crate) struct LiveInboundRequest {
    pub kind: InboundKind,
    /// The id under which the request is stored, unless it is a duplicate; `pending_write` tells.
    pub event_id: EventId,
    pub pending_write: PendingWrite,
    /// Distinguishes requests of the same company with the same body, see `dedupe.rs`.
    pub dedupe_discriminator: Option<String>,
    /// The company's id in the store.
    pub company_id: CompanyId,
    pub company: Arc<str>,
    pub body: Bytes,
    /// Retell's own signature, from the header `X-Retell-Signature`.
    pub signature: Option<String>,
    /// When the head of the request had arrived. The time for the answer counts from here.
    pub received_at: Instant,
    /// The same moment in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
}

impl LiveInboundRequest {
    pub(super) fn new(
        kind: InboundKind,
        event: NewEvent,
        company: &Company,
        received_at: Instant,
        pending_write: PendingWrite,
    ) -> Self {
        Self {
            kind,
            event_id: event.id,
            pending_write,
            dedupe_discriminator: event.dedupe_discriminator,
            company_id: company.id,
            company: Arc::clone(&company.slug),
            body: event.body,
            signature: event.signature,
            received_at,
            received_at_ms: event.received_at_ms,
        }
    }
}
