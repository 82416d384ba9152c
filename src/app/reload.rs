//! Reloading: replaces companies, keys, handlers, functions, inbound rules and retention rules while the receiver runs.
//! Everything that can fail happens first; then the new values are put in place.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use super::builder::BuilderOverrides;
use super::companies::load_companies;
use super::context::AppContext;
use super::{BuildError, components};
use crate::base::current::Current;
use crate::config::{AlarmSettings, Settings};
use crate::dispatch::{RetentionRules, RetentionTask, Workers};
use crate::handlers::HandlerRegistry;
use crate::live::functions::FunctionService;
use crate::live::inbound::{self, CurrentInboundRules};
use crate::storage::{Duty, DutyLeader};

/// Applies new settings while the receiver runs: companies, keys, handlers, functions, inbound rules, retention and
/// alarms. Clones act on the same receiver.
#[derive(Clone)]
pub struct ReloadHandle(Arc<ReloadState>);

pub(super) struct ReloadState {
    pub(super) context: AppContext,
    pub(super) workers: Workers,
    pub(super) functions: FunctionService,
    pub(super) inbound_rules: CurrentInboundRules,
    pub(super) retention: RetentionHandle,
    pub(super) alarm_settings: Current<AlarmSettings>,
    /// Values set in code with the builder; they survive every reload.
    pub(super) overrides: BuilderOverrides,
    /// The settings in effect. The lock is held during a reload, so that only one runs at a time.
    pub(super) settings: Mutex<Settings>,
}

impl ReloadHandle {
    pub(super) fn new(state: ReloadState) -> Self {
        Self(Arc::new(state))
    }

    /// Puts the companies, keys, handlers, functions, inbound rules, retention and alarms of `settings` into effect.
    /// Requests and deliveries in progress finish with the old values. Returns the names of all other settings that
    /// differ from the running ones: they take effect after a restart.
    ///
    /// # Errors
    /// [`BuildError`] when `settings` are invalid or the store fails. Nothing has changed then.
    pub async fn apply(&self, settings: Settings) -> Result<Vec<String>, BuildError> {
        let given = settings.clone();
        self.apply_settings(settings).await.map_err(|error| error.complete(&given))
    }

    async fn apply_settings(&self, settings: Settings) -> Result<Vec<String>, BuildError> {
        let state = &self.0;
        let context = &state.context;
        let mut running = state.settings.lock().await;
        let settings = state.overrides.apply_to(settings)?;
        let companies = load_companies(&settings, &*context.store).await?;
        let new_tables = settings.handlers.iter().enumerate().filter(|(_, table)| !running.handlers.contains(table));
        let new_handlers = HandlerRegistry::from_settings(new_tables, &context.outbound)?;
        let functions = components::build_functions(context, &settings, &state.overrides)?;
        // Rebuilt only if they changed: the targets of unchanged rules keep their open connections.
        let inbound_rules = if settings.inbound == running.inbound {
            None
        } else {
            Some(inbound::InboundRules::from_settings(&settings.inbound, &context.outbound)?)
        };
        // Writes the new handlers to the store: the last step that can fail.
        state.workers.register_handlers(&new_handlers).await?;
        context.companies.replace(companies);
        if let Some(inbound_rules) = inbound_rules {
            state.inbound_rules.replace(inbound_rules);
        }
        state.functions.replace_registry(functions);
        // A changed table is in both lists: its old handler stops before the new one starts under the same name.
        for old_table in running.handlers.iter().filter(|table| !settings.handlers.contains(table)) {
            for name in HandlerRegistry::handler_names(old_table) {
                state.workers.stop(&name);
            }
        }
        for handler in new_handlers.iter().cloned() {
            state.workers.start(handler);
        }
        state.retention.update(&settings, &state.workers);
        state.alarm_settings.replace(settings.alarms.clone());
        let restart_required = running.keys_requiring_restart(&settings);
        *running = settings;
        Ok(restart_required)
    }
}

/// Sends changed retention rules to the running retention task.
pub(super) struct RetentionHandle(watch::Sender<RetentionRules>);

impl RetentionHandle {
    pub(super) fn start(context: &AppContext, settings: &Settings, workers: &Workers) -> Self {
        let (sender, rules) = watch::channel(retention_rules(settings, workers));
        let task = RetentionTask {
            leader: DutyLeader::new(context.store.clone(), Duty::Retention, context.instance_id.clone()),
            store: context.store.clone(),
            journal: context.store.clone(),
            clock: context.clock.clone(),
            supervisor: context.supervisor.clone(),
            removed_counts: context.metrics.removed_rows.clone(),
            rules,
        };
        task.start();
        Self(sender)
    }

    fn update(&self, settings: &Settings, workers: &Workers) {
        let new_rules = retention_rules(settings, workers);
        self.0.send_if_modified(|rules| std::mem::replace(rules, new_rules.clone()) != new_rules);
    }
}

/// The retention rules. Undelivered events are protected only for handlers that this process has registered: a handler
/// that was removed from the settings before the start would protect them indefinitely.
fn retention_rules(settings: &Settings, workers: &Workers) -> RetentionRules {
    RetentionRules {
        protecting_handlers: Some(workers.registered_handlers()),
        ..RetentionRules::from_settings(settings)
    }
}
