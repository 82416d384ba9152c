//! The handlers of a receiver, by name.

use std::fmt;
use std::sync::Arc;

use super::{
    CallStoreHandler, EventHandler, ExecHandler, FileHandler, Filter, LogHandler, SlackHandler, forward, slack,
};
use crate::config::{DeliverySettings, FieldError, HandlerKind, HandlerSettings, ProgramSearchPath};
use crate::egress::Egress;
use crate::outbound::OutboundContext;

/// A handler with its name, filter and delivery settings.
#[derive(Clone)]
pub struct RegisteredHandler {
    /// Unique name, under which the store keeps the handler's position in the journal.
    pub name: String,
    /// The events that are delivered to it.
    pub filter: Filter,
    /// `false` skips its events; `replay` can deliver them later.
    pub enabled: bool,
    /// How its events are delivered.
    pub delivery: DeliverySettings,
    /// The implementation that runs the attempts.
    pub handler: Arc<dyn EventHandler>,
}

impl RegisteredHandler {
    /// An enabled handler with the default delivery settings.
    pub fn new(name: impl Into<String>, filter: Filter, handler: Arc<dyn EventHandler>) -> Self {
        Self { name: name.into(), filter, enabled: true, delivery: DeliverySettings::default(), handler }
    }
}

/// All handlers of a receiver; their names are unique.
#[derive(Clone, Default)]
pub struct HandlerRegistry(Vec<RegisteredHandler>);

impl HandlerRegistry {
    /// Creates the handlers of the `[[handlers]]` tables at these positions, disabled ones included.
    ///
    /// # Errors
    /// The first key with an invalid value, and the reason.
    pub(crate) fn from_settings<'a>(
        tables: impl IntoIterator<Item = (usize, &'a HandlerSettings)>,
        outbound: &OutboundContext,
    ) -> Result<Self, FieldError> {
        let mut registry = Self::default();
        for (position, table) in tables {
            let to_error = |error: FieldError| error.in_list("handlers", position, &table.name);
            let delivery = table.delivery_settings().map_err(to_error)?;
            let filter = Filter::from_settings(table).map_err(to_error)?;
            for (name, handler) in build_handlers(table, outbound).map_err(to_error)? {
                let registered = RegisteredHandler {
                    name,
                    filter: filter.clone(),
                    enabled: table.enabled,
                    delivery: delivery.clone(),
                    handler,
                };
                registry
                    .register(registered)
                    .map_err(|name| to_error(FieldError::new("name", format!("two handlers are named `{name}`"))))?;
            }
        }
        Ok(registry)
    }

    /// Checks what [`HandlerRegistry::from_settings`] checks, without creating handlers: no file and no connection
    /// pool.
    ///
    /// # Errors
    /// The first key with an invalid value, and the reason.
    pub fn validate(settings: &[HandlerSettings], egress: &Egress, path: &ProgramSearchPath) -> Result<(), FieldError> {
        for (position, table) in settings.iter().enumerate() {
            let checked = Filter::from_settings(table).and_then(|_| match table.kind {
                HandlerKind::Forward => forward::validate(table, egress),
                HandlerKind::Slack => slack::validate(table, egress),
                HandlerKind::Exec => ExecHandler::from_settings(table, path.clone()).map(drop),
                _ => Ok(()),
            });
            checked.map_err(|error| error.in_list("handlers", position, &table.name))?;
        }
        Ok(())
    }

    /// The names of the handlers that a table creates: several for `forward` with `urls`.
    #[must_use]
    pub fn handler_names(table: &HandlerSettings) -> Vec<String> {
        match table.kind {
            HandlerKind::Forward => forward::handler_names(table),
            _ => vec![table.name.clone()],
        }
    }

    /// Adds a handler.
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

    /// All handlers in the order of their registration.
    pub fn iter(&self) -> impl Iterator<Item = &RegisteredHandler> {
        self.0.iter()
    }
}

pub(super) type NamedHandler = (String, Arc<dyn EventHandler>);

/// The handlers of a table: one, or for `forward` with `urls` one per destination.
fn build_handlers(table: &HandlerSettings, outbound: &OutboundContext) -> Result<Vec<NamedHandler>, FieldError> {
    let handler: Arc<dyn EventHandler> = match table.kind {
        HandlerKind::Log => Arc::new(LogHandler),
        HandlerKind::CallStore => Arc::new(CallStoreHandler),
        HandlerKind::Forward => return forward::build_handlers(table, outbound),
        HandlerKind::Slack => Arc::new(SlackHandler::from_settings(table, outbound)?),
        HandlerKind::Exec => Arc::new(ExecHandler::from_settings(table, outbound.program_search_path.clone())?),
        HandlerKind::File => Arc::new(FileHandler::from_settings(table, outbound.clock.clone())?),
    };
    Ok(vec![(table.name.clone(), handler)])
}

impl fmt::Debug for HandlerRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|registered| &registered.name)).finish()
    }
}
