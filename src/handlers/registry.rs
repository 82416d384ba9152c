//! Which handlers there are.

use std::fmt;
use std::sync::Arc;

use super::{CallStore, EventHandler, Filter, Log};
use crate::config::{HandlerKind, HandlerSettings};
use crate::storage::Store;

/// A handler with its name and what it wants.
#[derive(Clone)]
pub struct Registered {
    /// Unique; the store remembers by it how far the handler has come.
    pub name: String,
    /// What it wants.
    pub filter: Filter,
    /// What it does.
    pub handler: Arc<dyn EventHandler>,
}

/// All handlers of a receiver.
#[derive(Clone, Default)]
pub struct Registry(Vec<Registered>);

impl Registry {
    /// Makes the handlers that `[[handlers]]` names and enables.
    #[must_use]
    pub fn configured(settings: &[HandlerSettings], store: &Arc<dyn Store>) -> Self {
        let mut registry = Self::default();
        for table in settings.iter().filter(|table| table.enabled) {
            let handler: Arc<dyn EventHandler> = match table.kind {
                HandlerKind::Log => Arc::new(Log),
                HandlerKind::CallStore => Arc::new(CallStore::new(Arc::clone(store))),
            };
            registry.0.push(Registered { name: table.name.clone(), filter: Filter::of(table), handler });
        }
        registry
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

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|registered| &registered.name)).finish()
    }
}
