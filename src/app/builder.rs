//! Builds a receiver from settings, code, or both.

use std::future::Future;
use std::sync::Arc;

use super::receiver::Receiver;
use super::start;
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::config::{FieldError, Settings};
use crate::event::{Call, Event};
use crate::handlers::{ClosureHandler, Context, EventHandler, Filter, Outcome, RegisteredHandler};
use crate::live::inbound::{self, InboundAnswer, InboundClosure, InboundContext, InboundRequest};
use crate::live::{BuiltInFunction, Function, FunctionPolicy};
use crate::storage::StoreError;
use crate::telemetry::logging::DroppedLines;

/// Why a receiver could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting, or a function given in code, is invalid.
    #[error(transparent)]
    Config(#[from] crate::config::FieldError),
    /// The store cannot be opened; the error states why and what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Two handlers have the same name, under which the store keeps a handler's progress.
    #[error("two handlers are named `{0}`; the store keeps a handler's progress under its name, so choose another one")]
    DuplicateHandlerName(String),
    /// The development key cannot be read or written.
    #[error("cannot read or write the development key: {0}; make the data folder writable, or set RETELL_API_KEY")]
    DevKey(std::io::Error),
}

impl BuildError {
    /// Adds the value, and the file and line or the variable, to an error about a setting.
    pub(super) fn complete(self, settings: &Settings) -> Self {
        match self {
            Self::Config(error) => Self::Config(settings.complete(error)),
            other => other,
        }
    }
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

/// Values set in code with the builder, in addition to the settings.
#[derive(Default)]
pub(super) struct BuilderOverrides {
    pub(super) keys: Vec<Secret>,
    pub(super) storage_url: Option<String>,
    pub(super) handlers: Vec<RegisteredHandler>,
    pub(super) functions: Vec<BuiltInFunction>,
}

impl BuilderOverrides {
    pub(super) fn apply_to(&self, mut settings: Settings) -> Result<Settings, BuildError> {
        settings.security.keys.extend(self.keys.iter().cloned());
        if let Some(url) = &self.storage_url {
            settings.storage.url = url.parse().map_err(|problem: String| FieldError::new("storage.url", problem))?;
        }
        settings.validate()?;
        let is_duplicate = |handler: &&RegisteredHandler| {
            settings.handlers.iter().any(|table| table.enabled && table.name == handler.name)
        };
        match self.handlers.iter().find(is_duplicate) {
            Some(handler) => Err(BuildError::DuplicateHandlerName(handler.name.clone())),
            None => Ok(settings),
        }
    }
}

impl ReceiverBuilder {
    /// Starts from these settings instead of the defaults (without the built-in handlers).
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Accepts requests signed with this API key, in addition to the keys of the settings. Call it twice during a key
    /// rotation.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.overrides.keys.push(Secret::new(key));
        self
    }

    /// Stores events in the database at this `sqlite://` URL.
    #[must_use]
    pub fn storage_url(mut self, url: impl Into<String>) -> Self {
        self.overrides.storage_url = Some(url.into());
        self
    }

    /// The actual port of the listener, if it differs from `server.port`. It is shown in the webhook URL.
    #[must_use]
    pub fn listening_on(mut self, port: u16) -> Self {
        self.listening_port = Some(port);
        self
    }

    /// Uses `clock` instead of the system clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Includes the number of dropped log lines in the metrics.
    #[must_use]
    pub(crate) fn dropped_lines(mut self, dropped_lines: DroppedLines) -> Self {
        self.dropped_lines = dropped_lines;
        self
    }

    /// Adds a handler. The store keeps its progress under `name`, so do not change the name between restarts.
    #[must_use]
    pub fn handler(self, name: impl Into<String>, filter: Filter, handler: impl EventHandler + 'static) -> Self {
        self.registered_handler(RegisteredHandler::new(name, filter, Arc::new(handler)))
    }

    /// Adds a handler with separate delivery settings.
    #[doc(hidden)]
    #[must_use]
    pub fn registered_handler(mut self, registered: RegisteredHandler) -> Self {
        self.overrides.handlers.push(registered);
        self
    }

    /// Runs `run` for each `call_started` event. All event closures together are one handler named `closures`.
    #[must_use]
    pub fn on_call_started<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.closures = self.closures.on_call_started(run);
        self
    }

    /// Runs `run` for each `call_ended` event.
    #[must_use]
    pub fn on_call_ended<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.closures = self.closures.on_call_ended(run);
        self
    }

    /// Runs `run` for each `call_analyzed` event.
    #[must_use]
    pub fn on_call_analyzed<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.closures = self.closures.on_call_analyzed(run);
        self
    }

    /// Runs `run` for every event that has no closure of its kind.
    #[must_use]
    pub fn on_other<F>(mut self, run: impl Fn(Event, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.closures = self.closures.on_other_event(run);
        self
    }

    /// Adds a custom function for every company, at `/api/v1/function/<name>`. `description` tells the model when to call
    /// it, and `parameters` is the JSON Schema of its arguments. `function` is a [`Function`] or a closure that takes the
    /// arguments and a [`FunctionContext`](crate::FunctionContext). A `[[functions]]` table with `builtin = "<name>"`
    /// changes its timeout, fallback and other settings.
    #[must_use]
    pub fn function(
        mut self,
        name: impl Into<String>,
        description: impl Into<String>,
        parameters: serde_json::Value,
        function: impl Function + 'static,
    ) -> Self {
        self.overrides.functions.push(BuiltInFunction {
            name: name.into(),
            description: description.into(),
            parameters,
            function: Arc::new(function),
            policy: FunctionPolicy::default(),
        });
        self
    }

    /// Asks `answer` about inbound calls and text messages before the inbound rules; `None` leaves the answer to the rules.
    /// An answer that comes after `inbound.timeout_ms` or breaks Retell's contract is replaced by `inbound.fallback`.
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
