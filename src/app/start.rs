//! Start-up order of a receiver: settings, store, companies, handlers, functions, routes, alarms.

use std::sync::Arc;

use super::builder::{BuildError, ReceiverBuilder};
use super::functions;
use super::ops::OpsState;
use super::receiver::{Receiver, StopOnDrop};
use super::reload::{self, ReloadHandle};
use super::routes::RouterDeps;
use super::signer::CompanySigner;
use crate::alarms;
use crate::base::clock::Clock;
use crate::base::current::Current;
use crate::base::supervise::Supervisor;
use crate::config::{ProgramSearchPath, Settings};
use crate::dispatch::{DispatchDeps, Workers};
use crate::egress::Egress;
use crate::handlers::{ClosureHandler, EventHandler, Filter, HandlerDeps, HandlerRegistry, RegisteredHandler};
use crate::live::WEBHOOK_PATH;
use crate::live::inbound::{CurrentInboundRules, InboundResponder, InboundRules};
use crate::rejections::{self, RejectionRecorder};
use crate::storage::{self, Role, Store};
use crate::tenants::CurrentCompanyDirectory;

/// Opens the store and starts every component. A component that fails to start stops those before it.
pub(super) async fn start(mut builder: ReceiverBuilder) -> Result<Receiver, BuildError> {
    builder.overrides.handlers.extend(closures_handler(builder.closures));
    let settings = builder.settings.unwrap_or_else(|| Settings { handlers: Vec::new(), ..Settings::default() });
    let settings = builder.overrides.apply_to(settings)?;
    let port = builder.listening_port.unwrap_or(settings.server.port);
    let clock = builder.clock;
    let supervisor = Supervisor::default();
    let stop = StopOnDrop(supervisor.clone());

    let store = storage::open(&settings.storage.url, Role::Receiver, &supervisor)?;
    let companies = CurrentCompanyDirectory::new(reload::load_companies(&settings, &store).await?);
    let deps = handler_deps(&settings, &store, &clock, &companies)?;
    // Everything that can be refused is built before the first worker starts.
    let registry = build_registry(&settings, &builder.overrides.handlers, &deps)?;
    let inbound_rules = CurrentInboundRules::new(InboundRules::from_settings(&settings.inbound, &deps)?);
    let ops = OpsState::new(&settings, &store, &companies, builder.dropped_lines, clock.now_ms());
    let functions = functions::start_functions(&settings, &mut builder.overrides, &store, &deps, &ops, &supervisor)?;

    let workers = start_workers(&registry, &store, &clock, &supervisor, &ops).await?;
    let retention = reload::RetentionHandle::start(&settings, &workers, &ops.removed_rows, &deps, &supervisor);
    let metrics = Arc::clone(&ops.inbound_metrics);
    let inbound = InboundResponder::new(&store, &clock, inbound_rules.clone(), metrics, &supervisor);
    let rejection_settings = rejection_settings(&settings, port, &companies);
    let rejections = RejectionRecorder::start(rejection_settings, store.clone(), ops.counters.clone(), &supervisor);
    let router_deps = RouterDeps {
        settings: &settings,
        store: &store,
        companies: &companies,
        clock: &clock,
        ops: &ops,
        rejections: &rejections,
        functions: &functions,
        supervisor: &supervisor,
        inbound: Arc::new(inbound.with_closure(builder.on_inbound)),
    };
    let routers = router_deps.into_routers(port);
    let alarm_settings = Current::new(settings.alarms.clone());
    alarms::start(ops.alarm_monitor_deps(alarm_settings.clone(), workers.clone(), clock), &supervisor);
    let reload_handle = ReloadHandle::new(reload::ReloadState {
        handler_deps: deps,
        companies,
        workers,
        functions,
        function_metrics: ops.function_metrics.clone(),
        inbound_rules,
        retention,
        alarm_settings,
        overrides: builder.overrides,
        settings: tokio::sync::Mutex::new(settings),
    });
    Ok(Receiver { routers, registry, store, rejections, reload_handle, supervisor, ops, _stop: stop })
}

fn closures_handler(closures: ClosureHandler) -> Option<RegisteredHandler> {
    if closures.is_empty() {
        return None;
    }
    let handler: Arc<dyn EventHandler> = Arc::new(closures);
    Some(RegisteredHandler::new("closures", Filter::all(), handler))
}

/// The handlers of the settings, then those that were added in code.
fn build_registry(
    settings: &Settings,
    added: &[RegisteredHandler],
    deps: &HandlerDeps,
) -> Result<HandlerRegistry, BuildError> {
    let mut registry = HandlerRegistry::from_settings(&settings.handlers, deps)?;
    for handler in added {
        registry.register(handler.clone()).map_err(BuildError::DuplicateHandlerName)?;
    }
    Ok(registry)
}

async fn start_workers(
    registry: &HandlerRegistry,
    store: &Arc<dyn Store>,
    clock: &Clock,
    supervisor: &Supervisor,
    ops: &OpsState,
) -> Result<Workers, BuildError> {
    let workers = Workers::new(DispatchDeps {
        store: Arc::clone(store),
        clock: clock.clone(),
        supervisor: supervisor.clone(),
        delivery_metrics: ops.delivery_metrics.clone(),
    });
    // All are registered before any starts: planning for one handler must know where every other one is.
    workers.register_handlers(registry).await?;
    for handler in registry.iter() {
        workers.start(handler.clone());
    }
    Ok(workers)
}

fn handler_deps(
    settings: &Settings,
    store: &Arc<dyn Store>,
    clock: &Clock,
    companies: &CurrentCompanyDirectory,
) -> Result<HandlerDeps, BuildError> {
    Ok(HandlerDeps {
        store: Arc::clone(store),
        clock: clock.clone(),
        program_search_path: ProgramSearchPath::from_process(),
        egress: Egress::new(&settings.egress)?,
        retell_signer: Arc::new(CompanySigner(companies.clone())),
    })
}

fn rejection_settings(
    settings: &Settings,
    port: u16,
    companies: &CurrentCompanyDirectory,
) -> rejections::RejectionSettings {
    rejections::RejectionSettings {
        signature_tolerance_ms: settings.security.signature_tolerance_ms,
        keep_bodies: settings.security.keep_rejected_bodies,
        webhook_url: format!("{}{WEBHOOK_PATH}", settings.server.public_url(port)),
        companies: companies.clone(),
    }
}
