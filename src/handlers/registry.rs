//! Which handlers there are.

use std::fmt;
use std::sync::Arc;

use super::{CallStore, EventHandler, Exec, Filter, JsonLines, Log, Signer, Slack, forward, slack};
use crate::base::clock::Clock;
use crate::config::{DeliverySettings, HandlerKind, HandlerSettings, ProgramPath};
use crate::egress::Egress;
use crate::storage::Store;

/// A `[[handlers]]` table that no handler can be made of.
#[derive(Debug, thiserror::Error)]
#[error("handler `{name}`: {key}: {why}")]
pub struct HandlerError {
    /// The table's name.
    pub name: String,
    /// Its key that is refused.
    pub key: &'static str,
    /// What is wrong with it, and what to do.
    pub why: String,
}

/// A handler with its name and what it wants.
#[derive(Clone)]
pub struct Registered {
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

impl Registered {
    /// A handler with the usual delivery settings.
    pub fn new(name: impl Into<String>, filter: Filter, handler: Arc<dyn EventHandler>) -> Self {
        Self { name: name.into(), filter, enabled: true, delivery: DeliverySettings::default(), handler }
    }
}

/// What the handlers in the box are made with.
#[derive(Clone)]
pub struct Tools {
    /// Where `call_store` keeps its rows.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Clock,
    /// Where `exec` looks for programs.
    pub program_path: ProgramPath,
    /// Makes the connections of those that post somewhere.
    pub egress: Egress,
    /// Signs as Retell does.
    pub signer: Arc<dyn Signer>,
}

/// All handlers of a receiver.
#[derive(Clone, Default)]
pub struct Registry(Vec<Registered>);

impl Registry {
    /// Makes the handlers that `[[handlers]]` names; those that are not enabled skip their events.
    ///
    /// # Errors
    /// The key that is refused, and why.
    pub fn configured(settings: &[HandlerSettings], tools: &Tools) -> Result<Self, HandlerError> {
        let mut registry = Self::default();
        for table in settings {
            let refused = |(key, why): (&'static str, String)| HandlerError { name: table.name.clone(), key, why };
            let delivery = table.delivery().map_err(refused)?;
            let filter = Filter::of(table).map_err(refused)?;
            for (name, handler) in made(table, tools).map_err(refused)? {
                let (filter, delivery) = (filter.clone(), delivery.clone());
                let registered = Registered { name, filter, enabled: table.enabled, delivery, handler };
                registry
                    .add(registered)
                    .map_err(|name| refused(("name", format!("two handlers are named `{name}`"))))?;
            }
        }
        Ok(registry)
    }

    /// Refuses what [`Registry::configured`] would refuse, without making anything.
    ///
    /// # Errors
    /// The key that is refused, and why.
    pub fn check(settings: &[HandlerSettings], egress: &Egress, path: &ProgramPath) -> Result<(), HandlerError> {
        settings.iter().try_for_each(|table| {
            let checked = Filter::of(table).and_then(|_| match table.kind {
                HandlerKind::Forward => forward::check(table, egress),
                HandlerKind::Slack => slack::check(table, egress),
                HandlerKind::Exec => Exec::configured(table, path.clone()).map(drop),
                _ => Ok(()),
            });
            checked.map_err(|(key, why)| HandlerError { name: table.name.clone(), key, why })
        })
    }

    /// The names of the handlers that a table makes.
    #[must_use]
    pub fn names(table: &HandlerSettings) -> Vec<String> {
        match table.kind {
            HandlerKind::Forward => forward::names(table),
            _ => vec![table.name.clone()],
        }
    }

    /// Adds one.
    ///
    /// # Errors
    /// The name, when another handler has it.
    pub fn add(&mut self, registered: Registered) -> Result<(), String> {
        if self.0.iter().any(|known| known.name == registered.name) {
            return Err(registered.name);
        }
        self.0.push(registered);
        Ok(())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Registered> {
        self.0.iter()
    }
}

/// A key, and why its value is refused.
pub type Refused = (&'static str, String);
pub(super) type Named = (String, Arc<dyn EventHandler>);

/// What a table makes: one handler, but one for each destination of several.
fn made(table: &HandlerSettings, tools: &Tools) -> Result<Vec<Named>, Refused> {
    let handler: Arc<dyn EventHandler> = match table.kind {
        HandlerKind::Log => Arc::new(Log),
        HandlerKind::CallStore => Arc::new(CallStore::new(Arc::clone(&tools.store))),
        HandlerKind::Forward => return forward::made(table, tools),
        HandlerKind::Slack => Arc::new(Slack::made(table, tools)?),
        HandlerKind::Exec => Arc::new(Exec::configured(table, tools.program_path.clone())?),
        HandlerKind::File => Arc::new(JsonLines::configured(table, tools.clock.clone())?),
    };
    Ok(vec![(table.name.clone(), handler)])
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|registered| &registered.name)).finish()
    }
}
