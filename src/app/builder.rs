//! A receiver, built from settings or by hand.

use std::future::Future;
use std::sync::Arc;

use super::receiver::Receiver;
use super::reload::BuilderOverrides;
use super::start;
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::config::Settings;
use crate::event::{Call, Event};
use crate::handlers::{ClosureHandler, Context, EventHandler, Filter, HandlerConfigError, Outcome, RegisteredHandler};
use crate::live::functions::FunctionConfigError;
use crate::live::inbound::{self, InboundAnswer, InboundClosure, InboundConfigError, InboundContext, InboundRequest};
use crate::live::{BuiltInFunction, Function};
use crate::storage::StoreError;
use crate::telemetry::logging::DroppedLines;

/// Why a receiver could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The settings are refused.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Two handlers have this name: they would share one place in the journal.
    #[error("two handlers are named `{0}`; the store remembers by its name how far each has come")]
    DuplicateHandlerName(String),
    /// A `[[handlers]]` table that no handler can be made of.
    #[error(transparent)]
    Handler(#[from] HandlerConfigError),
    /// A custom function that cannot be had.
    #[error(transparent)]
    Function(#[from] FunctionConfigError),
    /// An answer to inbound requests that cannot be given.
    #[error(transparent)]
    Inbound(#[from] InboundConfigError),
    /// The development key cannot be read or written.
    #[error("cannot read or write the development key: {0}; make the data folder writable, or set RETELL_API_KEY")]
    DevKey(std::io::Error),
}

/// Builds a [`Receiver`]. See the [crate's front page](crate) for an example.
#[derive(Default)]
pub struct ReceiverBuilder {
    pub(super) settings: Option<Settings>,
    pub(super) overrides: BuilderOverrides,
    pub(super) clock: Clock,
    pub(super) listening_port: Option<u16>,
    pub(super) closures: ClosureHandler,
    pub(super) on_inbound: Option<InboundClosure>,
    pub(super) dropped_lines: DroppedLines,
}

impl ReceiverBuilder {
    /// Starts from these settings instead of the defaults (without the built-in handlers).
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Accepts what this API key signed. Call it again for a second key while you rotate.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.overrides.keys.push(Secret::new(key));
        self
    }

    /// Keeps events at this `sqlite://` URL.
    #[must_use]
    pub fn storage_url(mut self, url: impl Into<String>) -> Self {
        self.overrides.storage_url = Some(url.into());
        self
    }

    /// The port really listened on, when it differs from `server.port`; shown in the webhook's URL.
    #[must_use]
    pub fn listening_on(mut self, port: u16) -> Self {
        self.listening_port = Some(port);
        self
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Shows how many log lines were left out among the metrics.
    #[must_use]
    pub fn dropped_lines(mut self, dropped_lines: DroppedLines) -> Self {
        self.dropped_lines = dropped_lines;
        self
    }

    /// Adds a handler. The store remembers by `name` how far it has come, so keep it over restarts.
    #[must_use]
    pub fn handler(self, name: impl Into<String>, filter: Filter, handler: impl EventHandler + 'static) -> Self {
        self.registered_handler(RegisteredHandler::new(name, filter, Arc::new(handler)))
    }

    /// Adds a handler with delivery settings of its own: see [`RegisteredHandler`].
    #[must_use]
    pub fn registered_handler(mut self, registered: RegisteredHandler) -> Self {
        self.overrides.handlers.push(registered);
        self
    }

    /// Runs `run` for `call_started`. All closures together are the handler named `closures`.
    #[must_use]
    pub fn on_call_started<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.closures = self.closures.on_call_started(run);
        self
    }

    /// Runs `run` for `call_ended`.
    #[must_use]
    pub fn on_call_ended<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.closures = self.closures.on_call_ended(run);
        self
    }

    /// Runs `run` for `call_analyzed`.
    #[must_use]
    pub fn on_call_analyzed<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.closures = self.closures.on_call_analyzed(run);
        self
    }

    /// Runs `run` for every other event.
    #[must_use]
    pub fn on_other<F>(mut self, run: impl Fn(Event, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.closures = self.closures.on_other_event(run);
        self
    }

    /// Adds a custom function for every company, at `/api/v1/function/<name>`: what an agent's model can call. `parameters` is
    /// the JSON Schema of its arguments. A closure of arguments and [`FunctionContext`](crate::live::FunctionContext) does
    /// as well as a [`Function`]. A `[[functions]]` table with `builtin = "<name>"` gives it other rules.
    #[must_use]
    pub fn function(
        mut self,
        name: impl Into<String>,
        description: impl Into<String>,
        parameters: serde_json::Value,
        function: impl Function + 'static,
    ) -> Self {
        let (name, description) = (name.into(), description.into());
        self.overrides.functions.push(BuiltInFunction { name, description, parameters, function: Arc::new(function) });
        self
    }

    /// Asks `answer` about inbound calls and text messages, before the rules of the settings; `None` leaves them to those.
    /// What takes longer than `inbound.timeout_ms`, or breaks Retell's contract, gets `inbound.fallback`.
    #[must_use]
    pub fn on_inbound<F>(mut self, answer: impl Fn(InboundRequest, InboundContext) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<InboundAnswer>> + Send + 'static,
    {
        self.on_inbound = Some(inbound::boxed_closure(answer));
        self
    }

    /// Opens the store and starts the handlers. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BuildError`] states what to change.
    pub async fn build(self) -> Result<Receiver, BuildError> {
        start::start(self).await
    }
}
