//! What is done with stored events: the trait, and the handlers in the box.

mod call_store;
mod closures;
mod filter;
mod log;
mod registry;

use std::time::Duration;

use async_trait::async_trait;

pub use call_store::CallStore;
pub use closures::Closures;
pub use filter::Filter;
pub use log::Log;
pub use registry::{Registered, Registry};

use crate::base::id::EventId;
use crate::event::{Call, Event};

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

/// What a handler is told besides the event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// The same over retries and replays: the idempotency key.
    pub event_id: EventId,
    /// The company, as the store numbers it.
    pub company_id: i64,
    /// The company's slug.
    pub company: String,
    /// When the event was received, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The earlier event of the same name and call whose body this one replaces.
    pub revision_of: Option<EventId>,
}

impl Context {
    /// The context of an attempt.
    #[must_use]
    pub fn new(
        event_id: EventId,
        (company_id, company): (i64, &str),
        received_at_ms: i64,
        attempt: u32,
        revision_of: Option<EventId>,
    ) -> Self {
        Self { event_id, company_id, company: company.to_owned(), received_at_ms, attempt, revision_of }
    }
}

/// What became of an attempt. Reasons go to the log and the store: no personal data in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Finished with this event.
    Done,
    /// Try again.
    Retry {
        /// Not before so long; `None` leaves it to the schedule.
        after: Option<Duration>,
        /// What went wrong.
        reason: String,
    },
    /// Trying again is of no use.
    Fail {
        /// What went wrong.
        reason: String,
    },
}

impl Outcome {
    /// Try again by the schedule.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { after: None, reason: reason.into() }
    }

    /// Try again after this long.
    pub fn retry_after(after: Duration, reason: impl Into<String>) -> Self {
        Self::Retry { after: Some(after), reason: reason.into() }
    }

    /// Give up.
    pub fn fail(reason: impl Into<String>) -> Self {
        Self::Fail { reason: reason.into() }
    }
}
