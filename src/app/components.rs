//! Makes each component out of the shared context and its settings.

use std::sync::Arc;

use super::BuildError;
use super::builder::BuilderOverrides;
use super::context::AppContext;
use crate::alarms::{self, AlarmMonitorDeps};
use crate::base::current::Current;
use crate::config::{AlarmSettings, FieldError, Settings};
use crate::dispatch::{DispatchDeps, Workers};
use crate::handlers::{HandlerRegistry, RegisteredHandler};
use crate::intake::Intake;
use crate::live::appointments::built_in_functions;
use crate::live::functions::{FunctionRegistry, FunctionService};
use crate::live::inbound::{CurrentInboundRules, InboundClosure, InboundResponder};
use crate::live::{WEBHOOK_PATH, WebhookState};
use crate::rejections::{RejectionRecorder, RejectionSettings};
use crate::storage::{Duty, DutyLeader};

/// The handlers of the settings, then those that were added in code.
pub(super) fn build_handlers(
    context: &AppContext,
    settings: &Settings,
    added: &[RegisteredHandler],
) -> Result<HandlerRegistry, BuildError> {
    let tables = settings.handlers.iter().enumerate();
    let mut registry = HandlerRegistry::from_settings(tables, &context.outbound)?;
    for handler in added {
        registry.register(handler.clone()).map_err(BuildError::DuplicateHandlerName)?;
    }
    Ok(registry)
}

/// The functions of the settings and those that were added in code.
pub(super) fn build_functions(
    context: &AppContext,
    settings: &Settings,
    overrides: &BuilderOverrides,
) -> Result<FunctionRegistry, FieldError> {
    let metrics = &context.metrics.functions;
    FunctionRegistry::new(&settings.functions, &overrides.functions, &context.outbound, metrics)
}

pub(super) fn start_functions(
    context: &AppContext,
    settings: &Settings,
    overrides: &mut BuilderOverrides,
) -> Result<FunctionService, BuildError> {
    let appointments = built_in_functions(settings, context.store.clone(), context.clock.clone())?;
    // Kept in the overrides, so that a reload keeps the built-in functions too.
    overrides.functions.extend(appointments);
    Ok(FunctionService::start(
        build_functions(context, settings, overrides)?,
        context.store.clone(),
        &context.instance_id,
        &context.clock,
        context.metrics.functions.clone(),
        Arc::clone(&context.metrics.counters),
        &context.supervisor,
    ))
}

pub(super) async fn start_workers(context: &AppContext, registry: &HandlerRegistry) -> Result<Workers, BuildError> {
    let workers = Workers::new(DispatchDeps {
        queue: context.store.clone(),
        journal: context.store.clone(),
        clock: context.clock.clone(),
        supervisor: context.supervisor.clone(),
        delivery_metrics: context.metrics.deliveries.clone(),
        // The lock on the store admits one receiver.
        is_only_receiver: true,
    });
    // All are registered before any starts: planning for one handler must know where every other one is.
    workers.register_handlers(registry).await?;
    for handler in registry.iter() {
        workers.start(handler.clone());
    }
    Ok(workers)
}

pub(super) fn inbound_responder(
    context: &AppContext,
    rules: &CurrentInboundRules,
    closure: Option<InboundClosure>,
) -> InboundResponder {
    let metrics = Arc::clone(&context.metrics.inbound);
    InboundResponder::new(
        context.store.clone(),
        context.store.clone(),
        &context.clock,
        rules.clone(),
        metrics,
        &context.supervisor,
    )
    .with_closure(closure)
}

/// The state of the webhook routes: where events are stored, and what answers those that wait.
pub(super) fn webhook_state(
    context: &AppContext,
    settings: &Settings,
    inbound: InboundResponder,
    functions: &FunctionService,
    public_url: &str,
) -> WebhookState {
    let counters = Arc::clone(&context.metrics.counters);
    WebhookState {
        intake: Intake::new(context.store.clone(), counters, context.supervisor.clone()),
        inbound,
        functions: functions.clone(),
        companies: context.companies.clone(),
        verify_signatures: settings.security.verify,
        public_url: public_url.into(),
        is_local_url: settings.server.is_local(),
        instance_id: context.instance_id.clone(),
        log_limit: Arc::clone(&context.refusal_log_limit),
    }
}

pub(super) fn start_rejections(context: &AppContext, settings: &Settings, public_url: &str) -> Arc<RejectionRecorder> {
    let rejection_settings = RejectionSettings {
        signature_tolerance_ms: settings.security.signature_tolerance_ms,
        keep_bodies: settings.security.keep_rejected_bodies,
        webhook_url: format!("{public_url}{WEBHOOK_PATH}"),
        companies: context.companies.clone(),
    };
    let counters = Arc::clone(&context.metrics.counters);
    let log_limit = Arc::clone(&context.refusal_log_limit);
    RejectionRecorder::start(rejection_settings, context.store.clone(), counters, log_limit, &context.supervisor)
}

/// Starts the alarm checks. Returns their settings, which a reload replaces.
pub(super) fn start_alarms(context: &AppContext, settings: &Settings, workers: &Workers) -> Current<AlarmSettings> {
    let alarm_settings = Current::new(settings.alarms.clone());
    let deps = AlarmMonitorDeps {
        settings: alarm_settings.clone(),
        workers: workers.clone(),
        leader: DutyLeader::new(context.store.clone(), Duty::Alarms, context.instance_id.clone()),
        alarms: context.store.clone(),
        store: context.store.clone(),
        deliveries: context.store.clone(),
        journal: context.store.clone(),
        counters: Arc::clone(&context.metrics.counters),
        companies: context.companies.clone(),
        clock: context.clock.clone(),
        store_folder: context.store_folder.clone(),
        status: context.metrics.alarm_status.clone(),
    };
    alarms::start(deps, &context.supervisor);
    alarm_settings
}
