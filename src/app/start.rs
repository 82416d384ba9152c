//! Start-up order of a receiver.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::builder::{BuildError, ReceiverBuilder};
use super::components;
use super::context::AppContext;
use super::receiver::{Receiver, StopOnDrop};
use super::reload::{ReloadHandle, ReloadState, RetentionHandle};
use super::routes::{OperatorRoutes, Routers, webhook_router};
use crate::base::supervise::Supervisor;
use crate::config::Settings;
use crate::handlers::{ClosureHandler, EventHandler, Filter, RegisteredHandler};
use crate::live::inbound::{CurrentInboundRules, InboundRules};
use crate::privacy::redact;

/// Opens the store and starts every component. A component that fails to start stops those before it.
pub(super) async fn start(mut builder: ReceiverBuilder) -> Result<Receiver, BuildError> {
    let settings = builder.settings.take();
    let settings = settings.unwrap_or_else(|| Settings { handlers: Vec::new(), ..Settings::default() });
    let given = settings.clone();
    start_components(builder, settings).await.map_err(|error| error.complete(&given))
}

async fn start_components(builder: ReceiverBuilder, settings: Settings) -> Result<Receiver, BuildError> {
    let ReceiverBuilder { mut overrides, closures, on_inbound, .. } = builder;
    overrides.handlers.extend(closures_handler(closures));
    let settings = overrides.apply_to(settings)?;
    // For logs and responses, so without a password.
    let public_url = redact::url(&settings.server.public_url(builder.listening_port.unwrap_or(settings.server.port)));
    let supervisor = Supervisor::default();
    let stop = StopOnDrop(supervisor.clone());

    let context = AppContext::open(&settings, builder.clock, builder.dropped_lines, supervisor).await?;
    // Everything that can be refused is built before the first worker starts.
    let registry = components::build_handlers(&context, &settings, &overrides.handlers)?;
    let inbound_rules = CurrentInboundRules::new(InboundRules::from_settings(&settings.inbound, &context.outbound)?);
    let functions = components::start_functions(&context, &settings, &mut overrides)?;

    let workers = components::start_workers(&context, &registry).await?;
    let retention = RetentionHandle::start(&context, &settings, &workers);
    let alarm_settings = components::start_alarms(&context, &settings, &workers);
    let rejections = components::start_rejections(&context, &settings, &public_url);
    let inbound = components::inbound_responder(&context, &inbound_rules, on_inbound);
    let webhook_state = components::webhook_state(&context, &settings, inbound, &functions, &public_url);
    let webhook = webhook_router(&context, &settings, webhook_state, &rejections);
    let operator_routes = OperatorRoutes::new(&context, &settings);
    let routers = Routers::new(webhook, &operator_routes, &settings, &public_url);

    let reload_handle = ReloadHandle::new(ReloadState {
        context: context.clone(),
        workers,
        functions,
        inbound_rules,
        retention,
        alarm_settings,
        overrides,
        settings: Mutex::new(settings),
    });
    Ok(Receiver { context, routers, operator_routes, registry, rejections, reload_handle, _stop: stop })
}

fn closures_handler(closures: ClosureHandler) -> Option<RegisteredHandler> {
    if closures.is_empty() {
        return None;
    }
    let handler: Arc<dyn EventHandler> = Arc::new(closures);
    Some(RegisteredHandler::new("closures", Filter::all(), handler))
}
