//! An inbound request as closures, rules and templates see it.

use std::fmt;

use bytes::Bytes;
use tokio::time::Instant;

use crate::base::id::{CompanyId, EventId};
use crate::config::InboundKind;
use crate::event::{Event, JsonObject};
use crate::intake::LiveInboundRequest;

/// A call that is ringing, or the first text message of a chat.
#[derive(Clone)]
#[non_exhaustive]
pub struct InboundRequest {
    /// Whether a call or a text message came in.
    pub kind: InboundKind,
    /// The id that the call or chat will have, the same for every retry. Documented by Retell since September 2026;
    /// can be absent.
    pub id: Option<String>,
    /// The agent configured for the number in Retell; absent if it has none.
    pub agent_id: Option<String>,
    /// The version of that agent, if one is configured.
    pub agent_version: Option<i64>,
    /// The caller's number in E.164 format, or a word such as `anonymous`. Empty if Retell did not send it.
    pub from_number: String,
    /// The called number in E.164 format. Empty if Retell did not send it.
    pub to_number: String,
    /// SIP headers of the telephony provider, with lower-case names. Empty for text messages.
    pub custom_sip_headers: JsonObject,
    /// The body as received, byte for byte.
    pub body: Bytes,
}

/// Facts about an [`InboundRequest`] that are not in its body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InboundContext {
    /// The event id assigned to the request. It is assigned before the store has looked for duplicates, so a request
    /// that Retell repeats has another id here; it is still answered with the answer to the first one.
    pub event_id: EventId,
    /// The company's id in the store.
    pub company_id: CompanyId,
    /// The company's slug, `default` for the plain webhook address.
    pub company: String,
    /// When the request was received, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// When the fallback is sent, unless there is an answer by then.
    pub deadline: Instant,
}

impl InboundContext {
    pub(super) fn new(live: &LiveInboundRequest, deadline: Instant) -> Self {
        Self {
            event_id: live.event_id,
            company_id: live.company_id,
            company: live.company.to_string(),
            received_at_ms: live.received_at_ms,
            deadline,
        }
    }
}

/// The fields that calls and text messages have in common.
struct InboundFields {
    kind: InboundKind,
    id: Option<String>,
    agent_id: Option<String>,
    agent_version: Option<i64>,
    from_number: Option<String>,
    to_number: Option<String>,
    custom_sip_headers: JsonObject,
}

impl InboundRequest {
    /// For a body that names an inbound event but cannot be parsed as one. The fallback is rendered with it.
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

    /// Parses a body; `None` if it is not an inbound event or has neither number.
    pub(super) fn parse(body: &Bytes) -> Option<Self> {
        let fields = match Event::parse(body).ok()? {
            Event::CallInbound(event) => {
                let call = event.call_inbound;
                InboundFields {
                    kind: InboundKind::Call,
                    id: call.call_id,
                    agent_id: call.agent_id,
                    agent_version: call.agent_version,
                    from_number: call.from_number,
                    to_number: call.to_number,
                    custom_sip_headers: call.custom_sip_headers.unwrap_or_default(),
                }
            }
            Event::ChatInbound(event) => {
                let chat = event.chat_inbound;
                InboundFields {
                    kind: InboundKind::Chat,
                    id: chat.chat_id,
                    agent_id: chat.agent_id,
                    agent_version: chat.agent_version,
                    from_number: chat.from_number,
                    to_number: chat.to_number,
                    custom_sip_headers: JsonObject::default(),
                }
            }
            _ => return None,
        };
        // The contract has both numbers. Without either, no rule can be applied.
        if fields.from_number.is_none() && fields.to_number.is_none() {
            return None;
        }
        Some(Self {
            kind: fields.kind,
            id: fields.id,
            agent_id: fields.agent_id,
            agent_version: fields.agent_version,
            from_number: fields.from_number.unwrap_or_default(),
            to_number: fields.to_number.unwrap_or_default(),
            custom_sip_headers: fields.custom_sip_headers,
            body: body.clone(),
        })
    }
}

impl fmt::Debug for InboundRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Phone numbers and the body are personal data and must not end up in a log.
        f.debug_struct("InboundRequest").field("kind", &self.kind).field("id", &self.id).finish_non_exhaustive()
    }
}
