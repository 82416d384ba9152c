//! [`Event`]: a typed webhook event.

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::conversation::call::Call;
use super::conversation::chat::Chat;
use super::error::EventParseError;
use super::identifiers::{EventIdentifiers, IdentifierFields};
use super::json::from_json::{self, FromJson};
use super::json::json_object::JsonObject;
use super::json::open_object::OpenObject;
use super::json::raw_fields::{RawFields, body_as_str};
use super::kind::EventKind;
use super::payload::{
    AlertEvent, CallEvent, ChatEvent, InboundCallEvent, InboundChatEvent, TranscriptUpdated, TransferEvent,
};

/// Generates the enum and the conversions from and to an open object from one table.
macro_rules! event_enum {
    ($($(#[$meta:meta])* $variant:ident($payload:ident),)*) => {
        /// One webhook event. The payloads are boxed, because their sizes differ by a factor of ten.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum Event {
            $($(#[$meta])* $variant(Box<$payload>),)*
            /// An event that this crate does not know, or an object without an event name.
            Unknown {
                /// The value of `event`; empty when it is missing or not a string.
                name: String,
                /// All other members, including an `event` that is not a string or is empty.
                fields: JsonObject,
            },
        }

        impl Event {
            /// The kind of the event; `Unknown` for names that this crate does not know.
            #[must_use]
            pub fn kind(&self) -> EventKind {
                match self {
                    $(Self::$variant(_) => EventKind::$variant,)*
                    Self::Unknown { .. } => EventKind::Unknown,
                }
            }

            /// When the event was sent, in milliseconds since the Unix epoch. Documented for `call_inbound` only.
            #[must_use]
            pub fn event_timestamp(&self) -> Option<i64> {
                match self {
                    $(Self::$variant(payload) => payload.event_timestamp,)*
                    Self::Unknown { fields, .. } => fields.get_as("event_timestamp"),
                }
            }

            /// Builds the event from its name and the other fields.
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
    /// A call begins. Not sent for an outbound call that never connects.
    CallStarted(CallEvent),
    /// A call is over: it finished, was transferred, failed or never connected.
    CallEnded(CallEvent),
    /// The analysis of a call is ready; `call_analysis` is set.
    CallAnalyzed(CallEvent),
    /// The transcript of a call or chat in progress has grown. Sent many times per call.
    TranscriptUpdated(TranscriptUpdated),
    /// A transfer of the call to another destination begins.
    TransferStarted(TransferEvent),
    /// The transfer is connected to its destination.
    TransferBridged(TransferEvent),
    /// The transfer was canceled or failed.
    TransferCancelled(TransferEvent),
    /// The transferred leg of the call is over.
    TransferEnded(TransferEvent),
    /// A chat through the API or by text message begins.
    ChatStarted(ChatEvent),
    /// A chat is over: it finished or failed.
    ChatEnded(ChatEvent),
    /// The analysis of a chat is ready; `chat_analysis` is set.
    ChatAnalyzed(ChatEvent),
    /// A call reaches a number with an inbound webhook; the response decides how it continues.
    CallInbound(InboundCallEvent),
    /// A text message reaches a number with an inbound webhook; the response decides how the chat continues.
    ChatInbound(InboundChatEvent),
    /// An alert rule has raised an incident.
    AlertTriggered(AlertEvent),
    /// The incident of an alert rule is resolved.
    AlertResolved(AlertEvent),
}

impl Event {
    /// Parses the body of a webhook request.
    ///
    /// # Errors
    /// [`EventParseError`] when the body is not valid UTF-8, not JSON, or not an object. No field inside an object
    /// can cause an error.
    pub fn parse(body: &[u8]) -> Result<Self, EventParseError> {
        RawFields::parse_body(body_as_str(body)?).map(Self::from_raw_fields)
    }

    fn from_raw_fields(mut fields: RawFields<'_>) -> Self {
        // An empty name stays among the fields. As the name it would look like a missing one, and would not be
        // written back.
        let name = fields.get_last("event").and_then(String::from_json).filter(|name| !name.is_empty());
        if name.is_some() {
            fields.0.retain(|(key, _)| key != "event");
        }
        Self::from_name_and_fields(name.unwrap_or_default(), fields)
    }

    /// The value of `event`; empty when there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown { name, .. } => name,
            known => known.kind().as_str(),
        }
    }

    /// The call, for events about a call. It is empty when the body has no call object.
    #[must_use]
    pub fn call(&self) -> Option<&Call> {
        match self {
            Self::CallStarted(e) | Self::CallEnded(e) | Self::CallAnalyzed(e) => Some(&e.call),
            Self::TransferStarted(e)
            | Self::TransferBridged(e)
            | Self::TransferCancelled(e)
            | Self::TransferEnded(e) => Some(&e.call),
            // With neither a call nor a chat, the event counts as one about a call.
            Self::TranscriptUpdated(e) if e.chat.is_none() || !e.call.is_empty() => Some(&e.call),
            _ => None,
        }
    }

    /// The chat, for events about a chat. It is empty when the body has no chat object.
    #[must_use]
    pub fn chat(&self) -> Option<&Chat> {
        match self {
            Self::ChatStarted(e) | Self::ChatEnded(e) | Self::ChatAnalyzed(e) => Some(&e.chat),
            Self::TranscriptUpdated(e) => e.chat.as_ref(),
            _ => None,
        }
    }

    /// Name and ids of the event, the same as [`EventIdentifiers::scan`] finds in its body.
    #[must_use]
    pub fn identifiers(&self) -> EventIdentifiers {
        let (call_id, chat_id, agent_id) = match self {
            Self::Unknown { name, fields } => return unknown_event_identifiers(name, fields),
            Self::CallInbound(e) => (e.call_inbound.call_id.as_ref(), None, e.call_inbound.agent_id.as_ref()),
            Self::ChatInbound(e) => (None, e.chat_inbound.chat_id.as_ref(), e.chat_inbound.agent_id.as_ref()),
            _ => {
                let call = self.call();
                let chat = self.chat();
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

    /// The event as compact JSON, equal to the body that it was parsed from.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Serializing strings, raw JSON and integers under string keys into memory cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// An unknown event may still contain a call or a chat.
fn unknown_event_identifiers(name: &str, fields: &JsonObject) -> EventIdentifiers {
    let identifiers = IdentifierFields::from_raw_fields(&RawFields::from_object(fields)).into_identifiers();
    if name.is_empty() {
        return identifiers;
    }
    EventIdentifiers { event_name: Some(name.to_owned()), ..identifiers }
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
