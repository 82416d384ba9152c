//! Reads the event name and the ids of a body and skips everything else: this is what a receiver needs before it
//! stores the bytes.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::EventParseError;
use super::json::from_json::FromJson;
use super::json::raw_fields::{RawFields, body_as_str};
use super::kind::EventKind;

/// The event name and the ids of the call or chat, read by the same rules as [`Event`](super::Event): `call` takes
/// precedence over `data`, the last of duplicate keys wins, and a value that is not a string counts as absent.
///
/// The lengths are not bounded: an id is as long as the sender made it. Check the length before you put one into an
/// index or a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventIdentifiers {
    /// The value of `event`; absent when it is missing or not a string.
    pub event_name: Option<String>,
    /// Id of the call; set for events about a call and for unknown events that hold one.
    pub call_id: Option<String>,
    /// Id of the chat; set for events about a chat and for unknown events that hold one.
    pub chat_id: Option<String>,
    /// Id of the agent of that call or chat.
    pub agent_id: Option<String>,
}

impl EventIdentifiers {
    /// Reads name and ids of a body in one pass.
    ///
    /// # Errors
    /// The same errors as [`Event::parse`](super::Event::parse), for the same bodies.
    pub fn scan(body: &[u8]) -> Result<Self, EventParseError> {
        let text = body_as_str(body)?;
        // The strict pass is fast, but accepts only bodies whose ids are strings. A body that it rejects may still be
        // an event with an unexpected value somewhere, so the tolerant scan, which `Event` uses as well, decides.
        if let Ok(fields) = serde_json::from_str::<IdentifierFields<'_>>(text) {
            return Ok(fields.into_identifiers());
        }
        RawFields::parse_body(text).map(|fields| IdentifierFields::from_raw_fields(&fields).into_identifiers())
    }

    /// The kind that the event name stands for; `Unknown` when the name is missing.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.event_name.as_deref().map_or(EventKind::Unknown, EventKind::from_name)
    }
}

/// The members of a body that can hold the name or ids.
#[derive(Default)]
pub(super) struct IdentifierFields<'a> {
    event: Option<Cow<'a, str>>,
    call: Option<ObjectIdentifiers<'a>>,
    data: Option<ObjectIdentifiers<'a>>,
    chat: Option<ObjectIdentifiers<'a>>,
    call_inbound: Option<ObjectIdentifiers<'a>>,
    chat_inbound: Option<ObjectIdentifiers<'a>>,
}

/// The ids of one object, such as `call`.
#[derive(Default)]
struct ObjectIdentifiers<'a> {
    call_id: Option<Cow<'a, str>>,
    chat_id: Option<Cow<'a, str>>,
    agent_id: Option<Cow<'a, str>>,
}

impl<'a> IdentifierFields<'a> {
    /// Reads the members from a raw scan. A value of an unexpected type counts as absent.
    pub(super) fn from_raw_fields(fields: &RawFields<'a>) -> Self {
        let ids = |key| fields.get_last(key).and_then(ObjectIdentifiers::parse_value);
        Self {
            event: fields.get_last("event").and_then(parse_text),
            call: ids("call"),
            data: ids("data"),
            chat: ids("chat"),
            call_inbound: ids("call_inbound"),
            chat_inbound: ids("chat_inbound"),
        }
    }

    /// Picks the ids from the object that this kind of event is about.
    pub(super) fn into_identifiers(self) -> EventIdentifiers {
        use EventKind as K;
        let kind = self.event.as_deref().map_or(K::Unknown, K::from_name);
        // Old payloads have the call in `data`, or in both.
        let call = self.call.or(self.data);
        let (call, chat) = match kind {
            K::AlertTriggered | K::AlertResolved => (None, None),
            K::ChatStarted | K::ChatEnded | K::ChatAnalyzed => (None, self.chat),
            K::CallInbound => (self.call_inbound, None),
            K::ChatInbound => (None, self.chat_inbound),
            K::TranscriptUpdated => (call, self.chat),
            K::Unknown => (call.or(self.call_inbound), self.chat.or(self.chat_inbound)),
            _ => (call, None),
        };
        let call = call.unwrap_or_default();
        let chat = chat.unwrap_or_default();
        EventIdentifiers {
            event_name: self.event.map(Cow::into_owned),
            call_id: call.call_id.map(Cow::into_owned),
            chat_id: chat.chat_id.map(Cow::into_owned),
            agent_id: call.agent_id.or(chat.agent_id).map(Cow::into_owned),
        }
    }
}

impl<'a> ObjectIdentifiers<'a> {
    fn parse_value(raw: &'a RawValue) -> Option<Self> {
        let fields = RawFields::parse_value(raw)?;
        let id = |key| fields.get_last(key).and_then(parse_text);
        Some(Self { call_id: id("call_id"), chat_id: id("chat_id"), agent_id: id("agent_id") })
    }
}

fn parse_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    String::from_json(raw).map(Cow::Owned)
}

/// An object that the strict pass reads member by member. Any value of an unexpected type ends the pass.
trait StrictMapReader<'de>: Default {
    /// Reads the value of a key that is needed and skips all others.
    fn read_entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

impl<'de> StrictMapReader<'de> for IdentifierFields<'de> {
    fn read_entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "event" => self.event = Some(map.next_value::<BorrowedText<'de>>()?.0),
            "call" => self.call = Some(map.next_value()?),
            "data" => self.data = Some(map.next_value()?),
            "chat" => self.chat = Some(map.next_value()?),
            "call_inbound" => self.call_inbound = Some(map.next_value()?),
            "chat_inbound" => self.chat_inbound = Some(map.next_value()?),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

impl<'de> StrictMapReader<'de> for ObjectIdentifiers<'de> {
    fn read_entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "call_id" => self.call_id = Some(map.next_value::<BorrowedText<'de>>()?.0),
            "chat_id" => self.chat_id = Some(map.next_value::<BorrowedText<'de>>()?.0),
            "agent_id" => self.agent_id = Some(map.next_value::<BorrowedText<'de>>()?.0),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

struct StrictMapVisitor<T>(PhantomData<T>);

impl<'de, T: StrictMapReader<'de>> Visitor<'de> for StrictMapVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut value = T::default();
        while let Some(BorrowedText(key)) = map.next_key()? {
            value.read_entry(&key, &mut map)?;
        }
        Ok(value)
    }
}

impl<'de> Deserialize<'de> for IdentifierFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StrictMapVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for ObjectIdentifiers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StrictMapVisitor(PhantomData))
    }
}

/// A string that is borrowed from the body, except when it contains escapes.
struct BorrowedText<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for BorrowedText<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(BorrowedTextVisitor)
    }
}

struct BorrowedTextVisitor;

impl<'de> Visitor<'de> for BorrowedTextVisitor {
    type Value = BorrowedText<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(BorrowedText(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(BorrowedText(Cow::Owned(text.to_owned())))
    }
}
