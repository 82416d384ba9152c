//! Starts the custom functions.

use std::sync::Arc;

use super::builder::BuildError;
use super::ops::OpsState;
use super::reload::{self, BuilderOverrides};
use crate::base::supervise::Supervisor;
use crate::config::Settings;
use crate::handlers::HandlerDeps;
use crate::live::appointments::built_in_functions;
use crate::live::functions::{FunctionDeps, FunctionService};
use crate::storage::{AppointmentStore, InvocationStore, Store};

pub(super) fn start_functions(
    settings: &Settings,
    overrides: &mut BuilderOverrides,
    store: &Arc<dyn Store>,
    handler_deps: &HandlerDeps,
    ops: &OpsState,
    supervisor: &Supervisor,
) -> Result<FunctionService, BuildError> {
    // Kept in the overrides, so that a reload keeps the built-in functions too.
    overrides.functions.extend(built_in_functions(
        settings,
        Arc::clone(store) as Arc<dyn AppointmentStore>,
        handler_deps.clock.clone(),
    )?);
    let functions = reload::build_functions(settings, overrides, handler_deps, &ops.function_metrics)?;
    let function_deps = FunctionDeps {
        ledger: Arc::clone(store) as Arc<dyn InvocationStore>,
        clock: handler_deps.clock.clone(),
        supervisor: supervisor.clone(),
        metrics: ops.function_metrics.clone(),
        counters: Arc::clone(&ops.counters),
    };
    Ok(FunctionService::start(functions, function_deps))
}
