//! What is asked.

use std::fmt;

use bytes::Bytes;
use tokio::time::Instant;

use crate::base::id::EventId;
use crate::config::InboundKind;
use crate::event::{Event, JsonObject};

/// A call that is ringing, or the first text message of a chat.
#[derive(Clone)]
#[non_exhaustive]
pub struct InboundRequest {
    /// Call or message.
    pub kind: InboundKind,
    /// The id that the call or chat will have. Newer senders only.
    pub id: Option<String>,
    /// The agent the number would use; absent when it has none.
    pub agent_id: Option<String>,
    /// Its version.
    pub agent_version: Option<i64>,
    /// The caller's number, or a word such as "anonymous".
    pub from_number: String,
    /// The number called.
    pub to_number: String,
    /// Headers of the telephony provider, names in lower case.
    pub custom_sip_headers: JsonObject,
    /// The body as it came.
    pub body: Bytes,
}

/// What comes with it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InboundContext {
    /// The event as which the request is kept. One that Retell sends again is asked about under an id of its own, as its
    /// answer is made before the store has found the first; what was answered then is answered again.
    pub event_id: EventId,
    /// The company, as the store numbers it.
    pub company_id: i64,
    /// The company's slug.
    pub company: String,
    /// When it was received, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The fallback is answered then.
    pub deadline: Instant,
}

impl InboundRequest {
    /// Of a body that names the event and is none.
    pub(super) fn from_unparsed(kind: InboundKind, body: &Bytes) -> Self {
        Self {
            kind,
            id: None,
            agent_id: None,
            agent_version: None,
            from_number: String::new(),
            to_number: String::new(),
            custom_sip_headers: JsonObject::default(),
            body: body.clone(),
        }
    }

    /// Reads a body; `None` when it is no inbound event.
    pub(super) fn parse(body: &Bytes) -> Option<Self> {
        let (kind, id, agent_id, agent_version, from, to, custom_sip_headers) = match Event::parse(body).ok()? {
            Event::CallInbound(event) => {
                let call = event.call_inbound;
                let headers = call.custom_sip_headers.unwrap_or_default();
                (
                    InboundKind::Call,
                    call.call_id,
                    call.agent_id,
                    call.agent_version,
                    call.from_number,
                    call.to_number,
                    headers,
                )
            }
            Event::ChatInbound(event) => {
                let chat = event.chat_inbound;
                let headers = JsonObject::default();
                (
                    InboundKind::Chat,
                    chat.chat_id,
                    chat.agent_id,
                    chat.agent_version,
                    chat.from_number,
                    chat.to_number,
                    headers,
                )
            }
            _ => return None,
        };
        // Neither number: the contract has both, and no rule has anything to go by.
        if from.is_none() && to.is_none() {
            return None;
        }
        let (from_number, to_number) = (from.unwrap_or_default(), to.unwrap_or_default());
        let body = body.clone();
        Some(Self { kind, id, agent_id, agent_version, from_number, to_number, custom_sip_headers, body })
    }
}

impl fmt::Debug for InboundRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the numbers.
        f.debug_struct("InboundRequest").field("kind", &self.kind).field("id", &self.id).finish_non_exhaustive()
    }
}
