//! Handlers of stored events: the trait, and the built-in kinds.

mod call_store;
mod closure_handler;
mod context;
mod exec;
mod file;
mod filter;
mod forward;
mod log;
mod outcome;
mod registry;
mod slack;
mod status_policy;
#[cfg(test)]
mod test_fixtures;

use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use call_store::CallStoreHandler;
pub(crate) use closure_handler::ClosureHandler;
pub use context::Context;
pub(crate) use exec::ExecHandler;
pub(crate) use file::FileHandler;
pub use filter::Filter;
pub(crate) use log::LogHandler;
pub use outcome::Outcome;
pub(crate) use outcome::{AttemptResult, DestinationHealth};
pub(crate) use registry::HandlerRegistry;
pub use registry::RegisteredHandler;
pub(crate) use slack::SlackHandler;

use crate::event::{Call, Event};
use crate::storage::EventSummary;

/// Handles stored events. Implement the methods that you need; the default implementations succeed immediately.
///
/// A handler receives each stored event that its filter matches at least once, and the events of a call in the order
/// received. The same event can be delivered again after a crash: use [`Context::event_id`] as idempotency key.
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
    /// Handles `call_started`. Retell does not send it for outbound calls that never connect.
    async fn call_started(&self, call: &Call, context: &Context) -> Outcome {
        let _ = (call, context);
        Outcome::not_handled()
    }

    /// Handles `call_ended`: the call is over, or never connected.
    async fn call_ended(&self, call: &Call, context: &Context) -> Outcome {
        let _ = (call, context);
        Outcome::not_handled()
    }

    /// Handles `call_analyzed`: the analysis of a call is ready. It may arrive before `call_ended`.
    async fn call_analyzed(&self, call: &Call, context: &Context) -> Outcome {
        let _ = (call, context);
        Outcome::not_handled()
    }

    /// Handles every other event: chats, transfers, transcripts, inbound requests, alerts, unknown names.
    async fn other_event(&self, event: &Event, context: &Context) -> Outcome {
        let _ = (event, context);
        Outcome::not_handled()
    }

    /// Handles a verified body that is not a JSON object; `body` holds the raw bytes.
    async fn unparsed(&self, body: &[u8], context: &Context) -> Outcome {
        let _ = (body, context);
        Outcome::not_handled()
    }

    /// Runs one attempt with the raw bytes. The default parses them and calls [`EventHandler::handle`] or
    /// [`EventHandler::unparsed`]. Override it to forward the original bytes, or to store more about an attempt than
    /// its outcome.
    async fn deliver(&self, summary: &EventSummary, body: &Bytes, context: &Context) -> AttemptResult {
        let _ = summary;
        match Event::parse(body) {
            Ok(event) => self.handle(&event, context).await.into(),
            Err(_) => self.unparsed(body, context).await.into(),
        }
    }

    /// Whether the handler affects people or systems outside the receiver. Such a handler does not receive events of
    /// test calls and chats (`call_test_…`, `chat_test_…`) unless their sender requests effects, and it has a circuit
    /// breaker that pauses attempts while its destination is down: [`Outcome::Retry`] counts as a sign of that,
    /// [`Outcome::Fail`] does not.
    fn has_external_effects(&self) -> bool {
        false
    }

    /// Whether a line is logged for each successful delivery. The default is that of
    /// [`has_external_effects`](EventHandler::has_external_effects); other deliveries are logged at debug level.
    fn logs_deliveries(&self) -> bool {
        self.has_external_effects()
    }

    /// Calls the method for the event's kind. Override it to handle every event in one place.
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        match event {
            Event::CallStarted(event) => self.call_started(&event.call, context).await,
            Event::CallEnded(event) => self.call_ended(&event.call, context).await,
            Event::CallAnalyzed(event) => self.call_analyzed(&event.call, context).await,
            other => self.other_event(other, context).await,
        }
    }
}
