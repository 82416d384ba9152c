//! Name and ids of a body without the rest: what a receiver needs before it stores the bytes.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::Unparsed;
use super::fields::{Fields, utf8};
use super::from_json::FromJson;
use super::kind::EventKind;

/// The name of the event and the ids of what it is about, by the rules [`Event`](super::Event) reads them: `call`
/// before `data`; of duplicate keys the last; a value that is no string counts as absent.
///
/// Nothing is bounded here: an id is as long as the sender made it. Whoever puts one into an index or a log bounds
/// it first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The `event` value.
    pub event: Option<String>,
    /// Id of the call, for events about a call and unknown ones.
    pub call_id: Option<String>,
    /// Id of the chat, for events about a chat and unknown ones.
    pub chat_id: Option<String>,
    /// The agent of that call or chat.
    pub agent_id: Option<String>,
}

impl Head {
    /// Reads the head of a body in one pass.
    ///
    /// # Errors
    /// The same as [`Event::parse`](super::Event::parse), for the same bodies.
    pub fn scan(body: &[u8]) -> Result<Self, Unparsed> {
        let text = utf8(body)?;
        // The quick pass knows ordinary bodies only. What it stumbles over may still be an event, with an odd value
        // somewhere; the tolerant scan, which also serves `Event`, has the last word.
        if let Ok(parts) = serde_json::from_str::<Parts<'_>>(text) {
            return Ok(parts.into_head());
        }
        Fields::of_body(text).map(|fields| Parts::of_fields(&fields).into_head())
    }

    /// The kind of the event.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.event.as_deref().map_or(EventKind::Unknown, EventKind::from_name)
    }
}

/// The members of a body a head can come from.
#[derive(Default)]
pub(super) struct Parts<'a> {
    event: Option<Cow<'a, str>>,
    call: Option<Ids<'a>>,
    data: Option<Ids<'a>>,
    chat: Option<Ids<'a>>,
    call_inbound: Option<Ids<'a>>,
    chat_inbound: Option<Ids<'a>>,
}

/// The ids one object holds.
#[derive(Default)]
struct Ids<'a> {
    call: Option<Cow<'a, str>>,
    chat: Option<Cow<'a, str>>,
    agent: Option<Cow<'a, str>>,
}

impl<'a> Parts<'a> {
    /// The same from raw members, tolerant of every value.
    pub(super) fn of_fields(fields: &Fields<'a>) -> Self {
        let ids = |key| fields.last(key).and_then(Ids::of_value);
        Self {
            event: fields.last("event").and_then(text),
            call: ids("call"),
            data: ids("data"),
            chat: ids("chat"),
            call_inbound: ids("call_inbound"),
            chat_inbound: ids("chat_inbound"),
        }
    }

    /// Picks the objects this kind of event is about.
    pub(super) fn into_head(self) -> Head {
        use EventKind as K;
        let kind = self.event.as_deref().map_or(K::Unknown, K::from_name);
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
        let (call, chat) = (call.unwrap_or_default(), chat.unwrap_or_default());
        Head {
            event: self.event.map(Cow::into_owned),
            call_id: call.call.map(Cow::into_owned),
            chat_id: chat.chat.map(Cow::into_owned),
            agent_id: call.agent.or(chat.agent).map(Cow::into_owned),
        }
    }
}

impl<'a> Ids<'a> {
    fn of_value(raw: &'a RawValue) -> Option<Self> {
        let fields = Fields::of_value(raw)?;
        let id = |key| fields.last(key).and_then(text);
        Some(Self { call: id("call_id"), chat: id("chat_id"), agent: id("agent_id") })
    }
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    String::from_json(raw).map(Cow::Owned)
}

/// An object read member by member, for the quick pass.
trait Strict<'de>: Default {
    /// Takes the value of a key it wants, skips any other.
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

impl<'de> Strict<'de> for Parts<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "event" => self.event = Some(map.next_value::<Text<'de>>()?.0),
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

impl<'de> Strict<'de> for Ids<'de> {
    fn take<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "call_id" => self.call = Some(map.next_value::<Text<'de>>()?.0),
            "chat_id" => self.chat = Some(map.next_value::<Text<'de>>()?.0),
            "agent_id" => self.agent = Some(map.next_value::<Text<'de>>()?.0),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

struct StrictVisitor<T>(PhantomData<T>);

impl<'de, T: Strict<'de>> Visitor<'de> for StrictVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut value = T::default();
        while let Some(Text(key)) = map.next_key()? {
            value.take(&key, &mut map)?;
        }
        Ok(value)
    }
}

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StrictVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Ids<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StrictVisitor(PhantomData))
    }
}

/// A string, borrowed from the body unless it holds escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}
