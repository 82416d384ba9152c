//! [`Event`]: a body with its type.

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::call::Call;
use super::chat::Chat;
use super::error::EventParseError;
use super::from_json::{self, FromJson};
use super::identifiers::{EventIdentifiers, IdentifierFields};
use super::json_object::JsonObject;
use super::kind::EventKind;
use super::open_object::OpenObject;
use super::payload::{
    AlertEvent, CallEvent, ChatEvent, InboundCallEvent, InboundChatEvent, TranscriptUpdated, TransferEvent,
};
use super::raw_fields::{RawFields, body_as_str};

/// Makes the enum and the conversions from and to an open object from one table.
macro_rules! event_enum {
    ($($(#[$meta:meta])* $variant:ident($payload:ident),)*) => {
        /// One webhook event. The payloads are boxed: they differ tenfold in size.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum Event {
            $($(#[$meta])* $variant(Box<$payload>),)*
            /// An event this crate does not know, or an object without a name.
            Unknown {
                /// The `event` value; empty when there was none, or no string.
                name: String,
                /// All other members. An `event` that is no name is among them.
                fields: JsonObject,
            },
        }

        impl Event {
            /// The kind of the event.
            #[must_use]
            pub fn kind(&self) -> EventKind {
                match self {
                    $(Self::$variant(_) => EventKind::$variant,)*
                    Self::Unknown { .. } => EventKind::Unknown,
                }
            }

            /// When the event was sent, ms since 1970. Documented for `call_inbound` only.
            #[must_use]
            pub fn event_timestamp(&self) -> Option<i64> {
                match self {
                    $(Self::$variant(payload) => payload.event_timestamp,)*
                    Self::Unknown { fields, .. } => fields.get_as("event_timestamp"),
                }
            }

            /// Builds the event of a name that has been taken out of the fields.
            fn from_name_and_fields(name: String, fields: RawFields<'_>) -> Self {
                match EventKind::from_name(&name) {
                    $(EventKind::$variant => Self::$variant(Box::new($payload::from_fields(fields))),)*
                    EventKind::Unknown => Self::Unknown { name, fields: JsonObject::from_fields(fields.0) },
                }
            }

            fn write_fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                match self {
                    $(Self::$variant(payload) => payload.write_fields(map),)*
                    Self::Unknown { name, fields } => {
                        fields.write_remaining(map, |key| key == "event" && !name.is_empty())
                    }
                }
            }
        }
    };
}

event_enum! {
    /// A call begins.
    CallStarted(CallEvent),
    /// A call is over.
    CallEnded(CallEvent),
    /// The analysis of a call is ready.
    CallAnalyzed(CallEvent),
    /// The transcript of a running call or chat has grown.
    TranscriptUpdated(TranscriptUpdated),
    /// A transfer begins.
    TransferStarted(TransferEvent),
    /// A transfer is connected.
    TransferBridged(TransferEvent),
    /// A transfer was given up or failed.
    TransferCancelled(TransferEvent),
    /// The transferred leg is over.
    TransferEnded(TransferEvent),
    /// A chat begins.
    ChatStarted(ChatEvent),
    /// A chat is over.
    ChatEnded(ChatEvent),
    /// The analysis of a chat is ready.
    ChatAnalyzed(ChatEvent),
    /// A call reaches a number; the answer steers it.
    CallInbound(InboundCallEvent),
    /// A text message reaches a number; the answer steers the chat.
    ChatInbound(InboundChatEvent),
    /// An alert rule has opened an incident.
    AlertTriggered(AlertEvent),
    /// An incident is closed.
    AlertResolved(AlertEvent),
}

impl Event {
    /// Reads a body.
    ///
    /// # Errors
    /// [`EventParseError`] when the body is not UTF-8, not JSON, or not an object. Nothing inside an object is an error.
    pub fn parse(body: &[u8]) -> Result<Self, EventParseError> {
        RawFields::parse_body(body_as_str(body)?).map(Self::from_raw_fields)
    }

    fn from_raw_fields(mut fields: RawFields<'_>) -> Self {
        // An empty name stays among the fields: as a name it could not be told from none when written back.
        let named = fields.get_last("event").and_then(String::from_json).filter(|name| !name.is_empty());
        if named.is_some() {
            fields.0.retain(|(key, _)| key != "event");
        }
        Self::from_name_and_fields(named.unwrap_or_default(), fields)
    }

    /// The `event` value; empty when there was none.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown { name, .. } => name,
            known => known.kind().as_str(),
        }
    }

    /// The call, for events about a call. Empty when the event came without one.
    #[must_use]
    pub fn call(&self) -> Option<&Call> {
        match self {
            Self::CallStarted(e) | Self::CallEnded(e) | Self::CallAnalyzed(e) => Some(&e.call),
            Self::TransferStarted(e)
            | Self::TransferBridged(e)
            | Self::TransferCancelled(e)
            | Self::TransferEnded(e) => Some(&e.call),
            Self::TranscriptUpdated(e) if e.chat.is_none() || !e.call.is_empty() => Some(&e.call),
            _ => None,
        }
    }

    /// The chat, for events about a chat. Empty when the event came without one.
    #[must_use]
    pub fn chat(&self) -> Option<&Chat> {
        match self {
            Self::ChatStarted(e) | Self::ChatEnded(e) | Self::ChatAnalyzed(e) => Some(&e.chat),
            Self::TranscriptUpdated(e) => e.chat.as_ref(),
            _ => None,
        }
    }

    /// Name and ids, the same [`EventIdentifiers::scan`] finds in the body.
    #[must_use]
    pub fn identifiers(&self) -> EventIdentifiers {
        let (call_id, chat_id, agent_id) = match self {
            Self::Unknown { name, fields } => return unknown_event_identifiers(name, fields),
            Self::CallInbound(e) => (e.call_inbound.call_id.as_ref(), None, e.call_inbound.agent_id.as_ref()),
            Self::ChatInbound(e) => (None, e.chat_inbound.chat_id.as_ref(), e.chat_inbound.agent_id.as_ref()),
            _ => {
                let (call, chat) = (self.call(), self.chat());
                let agent_id = call.and_then(|call| call.agent_id.as_ref());
                (
                    call.and_then(|call| call.call_id.as_ref()),
                    chat.and_then(|chat| chat.chat_id.as_ref()),
                    agent_id.or_else(|| chat.and_then(|chat| chat.agent_id.as_ref())),
                )
            }
        };
        EventIdentifiers {
            event_name: Some(self.name().to_owned()),
            call_id: call_id.cloned(),
            chat_id: chat_id.cloned(),
            agent_id: agent_id.cloned(),
        }
    }

    /// The event as compact JSON, equal to the body it was read from.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Writing strings, raw JSON and integers under string keys into memory cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// An unknown event may still hold a call or a chat.
fn unknown_event_identifiers(name: &str, fields: &JsonObject) -> EventIdentifiers {
    let head = IdentifierFields::from_raw_fields(&RawFields::from_object(fields)).into_identifiers();
    if name.is_empty() {
        return head;
    }
    EventIdentifiers { event_name: Some(name.to_owned()), ..head }
}

impl FromJson for Event {
    fn from_json(raw: &RawValue) -> Option<Self> {
        RawFields::parse_value(raw).map(Self::from_raw_fields)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_json::deserialize(deserializer)
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.name().is_empty() {
            map.serialize_entry("event", self.name())?;
        }
        self.write_fields(&mut map)?;
        map.end()
    }
}
