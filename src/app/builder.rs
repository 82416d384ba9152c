//! A receiver, built from settings or by hand.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;

use super::inbound::Lane;
use super::ops::Ops;
use super::refusals::{self, Refusals};
use super::reload::{self, Given, Reload};
use super::signer::FirstKeys;
use super::web::Web;
use super::{alarms, calls, docs};
use crate::answers::functions::FunctionError;
use crate::answers::inbound::{
    self, CurrentRules, Inbound, InboundAnswer, InboundContext, InboundError, InboundRequest, OnInbound, Rules,
};
use crate::answers::{BuiltIn, Function};
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::base::supervise::Supervisor;
use crate::config::{ProgramPath, Settings};
use crate::dispatch::{Dispatch, Workers};
use crate::egress::Egress;
use crate::event::{Call, Event};
use crate::handlers::{Closures, Context, EventHandler, Filter, HandlerError, Outcome, Registered, Registry, Tools};
use crate::http::ApiError;
use crate::http::company::CurrentCompanies;
use crate::intake::WEBHOOK_PATH;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{Store, StoreError};
use crate::telemetry::counters::Counters;
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
    HandlerName(String),
    /// A `[[handlers]]` table that no handler can be made of.
    #[error(transparent)]
    Handler(#[from] HandlerError),
    /// A custom function that cannot be had.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// An answer to inbound requests that cannot be given.
    #[error(transparent)]
    Inbound(#[from] InboundError),
    /// The development key cannot be read or written.
    #[error("cannot read or write the development key: {0}; make the data folder writable, or set RETELL_API_KEY")]
    DevKey(std::io::Error),
}

/// Builds a [`Receiver`]. See the [crate's front page](crate) for an example.
#[derive(Default)]
pub struct ReceiverBuilder {
    settings: Option<Settings>,
    given: Given,
    clock: Clock,
    port: Option<u16>,
    closures: Closures,
    on_inbound: Option<OnInbound>,
    dropped_lines: DroppedLines,
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
        self.given.keys.push(Secret::new(key));
        self
    }

    /// Keeps events at this `sqlite://` URL.
    #[must_use]
    pub fn storage_url(mut self, url: impl Into<String>) -> Self {
        self.given.storage_url = Some(url.into());
        self
    }

    /// The port really listened on, when it differs from `server.port`; shown in the webhook's URL.
    #[must_use]
    pub fn listening_on(mut self, port: u16) -> Self {
        self.port = Some(port);
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
        self.registered(Registered::new(name, filter, Arc::new(handler)))
    }

    /// Adds a handler with delivery settings of its own: see [`Registered`].
    #[must_use]
    pub fn registered(mut self, registered: Registered) -> Self {
        self.given.handlers.push(registered);
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
        self.closures = self.closures.on_other(run);
        self
    }

    /// Adds a custom function for every company, at `/api/v1/function/<name>`: what an agent's model can call. `parameters` is
    /// the JSON Schema of its arguments. A closure of arguments and [`FunctionContext`](crate::answers::FunctionContext) does
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
        self.given.functions.push(BuiltIn { name, description, parameters, function: Arc::new(function) });
        self
    }

    /// Asks `answer` about inbound calls and text messages, before the rules of the settings; `None` leaves them to those.
    /// What takes longer than `inbound.timeout_ms`, or breaks Retell's contract, gets `inbound.fallback`.
    #[must_use]
    pub fn on_inbound<F>(mut self, answer: impl Fn(InboundRequest, InboundContext) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<InboundAnswer>> + Send + 'static,
    {
        self.on_inbound = Some(inbound::boxed(answer));
        self
    }

    /// Opens the store and starts the handlers. Needs a running tokio runtime.
    ///
    /// # Errors
    /// [`BuildError`] says what to change.
    pub async fn build(mut self) -> Result<Receiver, BuildError> {
        self.given.handlers.extend(of_closures(self.closures));
        let settings = self.settings.unwrap_or_else(|| Settings { handlers: Vec::new(), ..Settings::default() });
        let settings = self.given.apply(settings)?;
        let supervisor = Supervisor::default();
        let stop = StopOnDrop(supervisor.clone());
        let sqlite = Arc::new(SqliteStore::open(&SqliteUrl::parse(&settings.storage.url)?, &supervisor)?);
        let store: Arc<dyn Store> = sqlite.clone();
        let companies = CurrentCompanies::new(reload::companies(&settings, &store).await?);
        let tools = tools(&settings, &store, (&self.clock, &companies))?;
        let mut registry = Registry::configured(&settings.handlers, &tools)?;
        for registered in &self.given.handlers {
            registry.add(registered.clone()).map_err(BuildError::HandlerName)?;
        }
        let rules = CurrentRules::new(Rules::configured(&settings.inbound, &tools)?);
        let ops = Ops::new(&settings, &store, &companies, self.dropped_lines, self.clock.now_ms());
        let functions = calls::start((&settings, &mut self.given), sqlite, &tools, &ops, &supervisor)?;
        let workers = Workers::new(Dispatch {
            store: Arc::clone(&store),
            clock: self.clock.clone(),
            supervisor: supervisor.clone(),
            deliveries: ops.deliveries.clone(),
        });
        workers.announce(&registry).await?;
        registry.iter().cloned().for_each(|registered| workers.start(registered));
        let retention = reload::Retained::start(&settings, &workers, &ops.removed, &tools, &supervisor);
        let counters = Arc::clone(&ops.counters);
        let port = self.port.unwrap_or(settings.server.port);
        let inbound = Inbound::new(&store, &self.clock, rules.clone(), Arc::clone(&ops.inbound), &supervisor);
        let refused = rules_of_refusals(&settings, port, &companies);
        let refusals = Refusals::start(refused, Arc::clone(&store), Arc::clone(&counters), &supervisor);
        let web = Web {
            settings: &settings,
            store: &store,
            companies: &companies,
            clock: &self.clock,
            ops: &ops,
            refusals: &refusals,
            functions: &functions,
            supervisor: &supervisor,
            inbound: Arc::new(Lane(inbound.with_closure(self.on_inbound))),
        };
        let router = web.router(port);
        let docs = settings.docs.enabled.then(|| settings.server.public_url(port));
        let reload = Reload::new(reload::Parts {
            tools,
            companies,
            workers,
            functions,
            counted: ops.functions.clone(),
            rules,
            retention,
            given: self.given,
            settings: tokio::sync::Mutex::new(settings),
        });
        alarms::start(ops.watch(&reload, self.clock), &supervisor);
        Ok(Receiver { router, docs, registry, store, counters, refusals, reload, supervisor, ops, _stop: stop })
    }
}

fn of_closures(closures: Closures) -> Option<Registered> {
    if closures.is_empty() {
        return None;
    }
    let handler: Arc<dyn EventHandler> = Arc::new(closures);
    Some(Registered::new("closures", Filter::all(), handler))
}

fn tools(
    settings: &Settings,
    store: &Arc<dyn Store>,
    (clock, companies): (&Clock, &CurrentCompanies),
) -> Result<Tools, BuildError> {
    Ok(Tools {
        store: Arc::clone(store),
        clock: clock.clone(),
        program_path: ProgramPath::of_process(),
        egress: Egress::new(&settings.egress)?,
        signer: Arc::new(FirstKeys(companies.clone())),
    })
}

fn rules_of_refusals(settings: &Settings, port: u16, companies: &CurrentCompanies) -> refusals::Rules {
    refusals::Rules {
        window_ms: settings.security.window_ms,
        keep_bodies: settings.security.keep_rejected_bodies,
        webhook_url: format!("{}{WEBHOOK_PATH}", settings.server.public_url(port)),
        companies: companies.clone(),
    }
}

/// A running receiver: a store, handlers at work, and routes to mount.
pub struct Receiver {
    router: Router,
    /// The address to show in the documentation; `None`: it is not served.
    docs: Option<String>,
    registry: Registry,
    store: Arc<dyn Store>,
    counters: Arc<Counters>,
    refusals: Arc<Refusals>,
    reload: Reload,
    supervisor: Supervisor,
    pub(super) ops: Ops,
    _stop: StopOnDrop,
}

impl Receiver {
    /// Starts building one.
    #[must_use]
    pub fn builder() -> ReceiverBuilder {
        ReceiverBuilder::default()
    }

    /// The webhook and health routes, to be merged into a router of yours.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The same with `/metrics`, the documentation's pages and JSON answers for unknown paths, to be served by itself. (A
    /// router may have one fallback: one in [`Receiver::router`] would clash with yours.)
    pub fn standalone(&self) -> Router {
        let docs = self.docs.as_deref().map(docs::router).unwrap_or_default();
        let refusals = Arc::clone(&self.refusals);
        self.router().merge(self.ops.metrics_routes()).merge(docs).fallback(async move |request: Request| {
            refusals.note_unknown_path(&request);
            ApiError::NotFound("Not Found")
        })
    }

    /// Exchanges companies, keys and handlers while it runs.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// The handlers it was built with.
    #[must_use]
    pub fn handlers(&self) -> &Registry {
        &self.registry
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Counts since start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The parts at work.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Stops the handlers after what they are at, and closes the store.
    ///
    /// # Errors
    /// The store did not finish in time; what was acknowledged is on disk all the same.
    pub async fn shutdown(self) -> Result<(), StoreError> {
        self.supervisor.stop();
        if tokio::time::timeout(Duration::from_secs(10), self.supervisor.wait()).await.is_err() {
            tracing::warn!(
                "something under way did not stop within 10 s; what handlers were at is handled again after the next start"
            );
        }
        self.store.close().await
    }
}

/// Stops the parts when a receiver is dropped, or could not be built: else they would keep the store locked.
struct StopOnDrop(Supervisor);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
