//! Which handlers there are.

use std::fmt;
use std::sync::Arc;

use super::{
    CallStoreHandler, EventHandler, ExecHandler, FileHandler, Filter, LogHandler, RetellSigner, SlackHandler, forward,
    slack,
};
use crate::base::clock::Clock;
use crate::config::{DeliverySettings, HandlerKind, HandlerSettings, ProgramSearchPath};
use crate::egress::Egress;
use crate::storage::Store;

/// A `[[handlers]]` table that no handler can be made of.
#[derive(Debug, thiserror::Error)]
#[error("handler `{name}`: {key}: {reason}")]
pub struct HandlerConfigError {
    /// The table's name.
    pub name: String,
    /// Its key that is refused.
    pub key: &'static str,
    /// What is wrong with it, and what to do.
    pub reason: String,
}

/// A handler with its name and what it wants.
#[derive(Clone)]
pub struct RegisteredHandler {
    /// Unique; the store remembers by it how far the handler has come.
    pub name: String,
    /// What it wants.
    pub filter: Filter,
    /// `false`: its events are skipped.
    pub enabled: bool,
    /// How its events are delivered.
    pub delivery: DeliverySettings,
    /// What it does.
    pub handler: Arc<dyn EventHandler>,
}

impl RegisteredHandler {
    /// A handler with the usual delivery settings.
    pub fn new(name: impl Into<String>, filter: Filter, handler: Arc<dyn EventHandler>) -> Self {
        Self { name: name.into(), filter, enabled: true, delivery: DeliverySettings::default(), handler }
    }
}

/// What the handlers in the box are made with.
#[derive(Clone)]
pub struct HandlerDeps {
    /// Where `call_store` keeps its rows.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Clock,
    /// Where `exec` looks for programs.
    pub program_search_path: ProgramSearchPath,
    /// Makes the connections of those that post somewhere.
    pub egress: Egress,
    /// Signs as Retell does.
    pub retell_signer: Arc<dyn RetellSigner>,
}

/// All handlers of a receiver.
#[derive(Clone, Default)]
pub struct HandlerRegistry(Vec<RegisteredHandler>);

impl HandlerRegistry {
    /// Makes the handlers that `[[handlers]]` names; those that are not enabled skip their events.
    ///
    /// # Errors
    /// The key that is refused, and why.
    pub fn from_settings(settings: &[HandlerSettings], tools: &HandlerDeps) -> Result<Self, HandlerConfigError> {
        let mut registry = Self::default();
        for table in settings {
            let refused =
                |(key, why): (&'static str, String)| HandlerConfigError { name: table.name.clone(), key, reason: why };
            let delivery = table.delivery_settings().map_err(refused)?;
            let filter = Filter::from_settings(table).map_err(refused)?;
            for (name, handler) in build_handlers(table, tools).map_err(refused)? {
                let (filter, delivery) = (filter.clone(), delivery.clone());
                let registered = RegisteredHandler { name, filter, enabled: table.enabled, delivery, handler };
                registry
                    .register(registered)
                    .map_err(|name| refused(("name", format!("two handlers are named `{name}`"))))?;
            }
        }
        Ok(registry)
    }

    /// Refuses what [`HandlerRegistry::configured`] would refuse, without making anything.
    ///
    /// # Errors
    /// The key that is refused, and why.
    pub fn validate(
        settings: &[HandlerSettings],
        egress: &Egress,
        path: &ProgramSearchPath,
    ) -> Result<(), HandlerConfigError> {
        settings.iter().try_for_each(|table| {
            let checked = Filter::from_settings(table).and_then(|_| match table.kind {
                HandlerKind::Forward => forward::validate(table, egress),
                HandlerKind::Slack => slack::validate(table, egress),
                HandlerKind::Exec => ExecHandler::from_settings(table, path.clone()).map(drop),
                _ => Ok(()),
            });
            checked.map_err(|(key, why)| HandlerConfigError { name: table.name.clone(), key, reason: why })
        })
    }

    /// The names of the handlers that a table makes.
    #[must_use]
    pub fn handler_names(table: &HandlerSettings) -> Vec<String> {
        match table.kind {
            HandlerKind::Forward => forward::handler_names(table),
            _ => vec![table.name.clone()],
        }
    }

    /// Adds one.
    ///
    /// # Errors
    /// The name, when another handler has it.
    pub fn register(&mut self, registered: RegisteredHandler) -> Result<(), String> {
        if self.0.iter().any(|known| known.name == registered.name) {
            return Err(registered.name);
        }
        self.0.push(registered);
        Ok(())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &RegisteredHandler> {
        self.0.iter()
    }
}

/// A key, and why its value is refused.
pub(crate) type InvalidSetting = (&'static str, String);
pub(super) type NamedHandler = (String, Arc<dyn EventHandler>);

/// What a table makes: one handler, but one for each destination of several.
fn build_handlers(table: &HandlerSettings, tools: &HandlerDeps) -> Result<Vec<NamedHandler>, InvalidSetting> {
    let handler: Arc<dyn EventHandler> = match table.kind {
        HandlerKind::Log => Arc::new(LogHandler),
        HandlerKind::CallStore => Arc::new(CallStoreHandler::new(Arc::clone(&tools.store))),
        HandlerKind::Forward => return forward::build_handlers(table, tools),
        HandlerKind::Slack => Arc::new(SlackHandler::from_settings(table, tools)?),
        HandlerKind::Exec => Arc::new(ExecHandler::from_settings(table, tools.program_search_path.clone())?),
        HandlerKind::File => Arc::new(FileHandler::from_settings(table, tools.clock.clone())?),
    };
    Ok(vec![(table.name.clone(), handler)])
}

impl fmt::Debug for HandlerRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|registered| &registered.name)).finish()
    }
}
