//! What is done with stored events: the trait, and the handlers in the box.

mod answered;
mod call_store;
mod closures;
mod context;
mod exec;
mod file;
mod filter;
#[cfg(test)]
mod fixture;
mod forward;
mod log;
mod outcome;
mod registry;
mod signing;
mod slack;
pub mod template;

use async_trait::async_trait;
use bytes::Bytes;

pub use call_store::CallStore;
pub use closures::Closures;
pub use context::Context;
pub use exec::{AnsweringProgram, Exec};
pub use file::JsonLines;
pub use filter::Filter;
pub use forward::Forward;
pub use log::Log;
pub use outcome::{Attempt, Outcome};
pub use registry::{HandlerError, Refused, Registered, Registry, Tools};
pub use signing::{Signed, Signer, Signing};
pub use slack::Slack;

use crate::event::{Call, Event};
use crate::storage::EventSummary;

/// Does something with events. Implement the methods you care about; the others are done at once.
///
/// A handler gets each stored event that its filter matches at least once, in the order received within a call. The
/// same event can come again after a crash: use [`Context::event_id`] as idempotency key.
///
/// ```
/// use retell_webhook::{Call, Context, EventHandler, Outcome, async_trait};
///
/// struct Crm;
///
/// #[async_trait]
/// impl EventHandler for Crm {
///     async fn call_ended(&self, call: &Call, context: &Context) -> Outcome {
///         match call.call_id.as_deref() {
///             Some(call_id) => { println!("{} ended ({})", call_id, context.event_id); Outcome::Done }
///             None => Outcome::fail("the call has no id"),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait EventHandler: Send + Sync {
    /// A call began. Not sent for outbound calls that never connect.
    async fn call_started(&self, call: &Call, context: &Context) -> Outcome {
        let _ = (call, context);
        Outcome::Done
    }

    /// A call is over, or never connected.
    async fn call_ended(&self, call: &Call, context: &Context) -> Outcome {
        let _ = (call, context);
        Outcome::Done
    }

    /// The analysis of a call is ready. May arrive before [`EventHandler::call_ended`].
    async fn call_analyzed(&self, call: &Call, context: &Context) -> Outcome {
        let _ = (call, context);
        Outcome::Done
    }

    /// Everything else: chats, transfers, transcripts, inbound requests, alerts, names not known yet.
    async fn other(&self, event: &Event, context: &Context) -> Outcome {
        let _ = (event, context);
        Outcome::Done
    }

    /// A verified body that is no JSON object; `body` holds the raw bytes.
    async fn unparsed(&self, body: &[u8], context: &Context) -> Outcome {
        let _ = (body, context);
        Outcome::Done
    }

    /// Gets the raw bytes first. Override it to pass them on as they are, or to have more kept of an attempt than its
    /// outcome; else the methods for typed events are called.
    async fn deliver(&self, summary: &EventSummary, body: &Bytes, context: &Context) -> Attempt {
        let _ = summary;
        match Event::parse(body) {
            Ok(event) => self.handle(&event, context).await.into(),
            Err(_) => self.unparsed(body, context).await.into(),
        }
    }

    /// Whether it reaches people or systems outside. Then it does not get events of test calls and chats (`call_test_…`,
    /// `chat_test_…`) unless their sender asked for effects, and rests while what it calls is down.
    fn has_outside_effects(&self) -> bool {
        false
    }

    /// Calls the method for the event's kind. Override it to see every event in one place.
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        match event {
            Event::CallStarted(event) => self.call_started(&event.call, context).await,
            Event::CallEnded(event) => self.call_ended(&event.call, context).await,
            Event::CallAnalyzed(event) => self.call_analyzed(&event.call, context).await,
            other => self.other(other, context).await,
        }
    }
}
