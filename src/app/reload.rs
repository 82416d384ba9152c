//! Reloading: replaces companies, keys, handlers, functions, inbound rules and retention rules while the receiver runs.
//! Everything that can fail happens first; then the new values are put in place.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use super::{BuildError, dev_key};
use crate::base::current::Current;
use crate::base::secret::Secret;
use crate::base::supervise::Supervisor;
use crate::config::{AlarmSettings, CompanySettings, DEFAULT_COMPANY_SLUG, HandlerSettings, Settings};
use crate::dispatch::{RetentionRules, RetentionTask, Workers};
use crate::handlers::{HandlerDeps, HandlerRegistry, RegisteredHandler};
use crate::live::BuiltInFunction;
use crate::live::functions::{FunctionConfigError, FunctionRegistry, FunctionService};
use crate::live::inbound::{self, CurrentInboundRules};
use crate::security::keys::ApiKey;
use crate::security::signature::Verifier;
use crate::storage::Store;
use crate::storage::sqlite::SqliteUrl;
use crate::telemetry::functions::FunctionMetrics;
use crate::telemetry::retention::RemovedCounts;
use crate::tenants::{Company, CompanyDirectory, CurrentCompanyDirectory};

/// Applies new settings while the receiver runs: companies, keys, handlers, functions, inbound rules, retention and
/// alarms. Clones act on the same receiver.
#[derive(Clone)]
pub struct ReloadHandle(Arc<ReloadState>);

pub(super) struct ReloadState {
    pub(super) handler_deps: HandlerDeps,
    pub(super) companies: CurrentCompanyDirectory,
    pub(super) workers: Workers,
    pub(super) functions: FunctionService,
    pub(super) function_metrics: FunctionMetrics,
    pub(super) inbound_rules: CurrentInboundRules,
    pub(super) retention: RetentionHandle,
    pub(super) alarm_settings: Current<AlarmSettings>,
    /// Values set in code with the builder; they survive every reload.
    pub(super) overrides: BuilderOverrides,
    /// The settings in effect. The lock is held during a reload, so that only one runs at a time.
    pub(super) settings: Mutex<Settings>,
}

/// Values set in code with the builder, in addition to the settings.
#[derive(Default)]
pub(super) struct BuilderOverrides {
    pub(super) keys: Vec<Secret>,
    pub(super) storage_url: Option<String>,
    pub(super) handlers: Vec<RegisteredHandler>,
    pub(super) functions: Vec<BuiltInFunction>,
}

impl BuilderOverrides {
    pub(super) fn apply_to(&self, mut settings: Settings) -> Result<Settings, BuildError> {
        settings.security.keys.extend(self.keys.iter().cloned());
        if let Some(url) = &self.storage_url {
            settings.storage.url.clone_from(url);
        }
        settings.validate()?;
        let is_duplicate = |handler: &&RegisteredHandler| {
            settings.handlers.iter().any(|table| table.enabled && table.name == handler.name)
        };
        match self.handlers.iter().find(is_duplicate) {
            Some(handler) => Err(BuildError::DuplicateHandlerName(handler.name.clone())),
            None => Ok(settings),
        }
    }
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
        let state = &self.0;
        let mut running = state.settings.lock().await;
        let settings = state.overrides.apply_to(settings)?;
        let companies = load_companies(&settings, &state.handler_deps.store).await?;
        let is_new = |table: &&HandlerSettings| !running.handlers.contains(table);
        let new_tables: Vec<_> = settings.handlers.iter().filter(is_new).cloned().collect();
        let new_handlers = HandlerRegistry::from_settings(&new_tables, &state.handler_deps)?;
        let functions = build_functions(&settings, &state.overrides, &state.handler_deps, &state.function_metrics)?;
        // Rebuilt only if they changed: the targets of unchanged rules keep their open connections.
        let inbound_rules = if settings.inbound == running.inbound {
            None
        } else {
            Some(inbound::InboundRules::from_settings(&settings.inbound, &state.handler_deps)?)
        };
        // Writes the new handlers to the store: the last step that can fail.
        state.workers.register_handlers(&new_handlers).await?;
        state.companies.replace(companies);
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

/// Builds the registry from the functions of the settings and those added in code.
pub(super) fn build_functions(
    settings: &Settings,
    overrides: &BuilderOverrides,
    handler_deps: &HandlerDeps,
    metrics: &FunctionMetrics,
) -> Result<FunctionRegistry, FunctionConfigError> {
    FunctionRegistry::new(&settings.functions, &overrides.functions, handler_deps, metrics)
}

/// Sends changed retention rules to the running retention task.
pub(super) struct RetentionHandle(watch::Sender<RetentionRules>);

impl RetentionHandle {
    pub(super) fn start(
        settings: &Settings,
        workers: &Workers,
        removed: &RemovedCounts,
        handler_deps: &HandlerDeps,
        supervisor: &Supervisor,
    ) -> Self {
        let (sender, rules) = watch::channel(retention_rules(settings, workers));
        let task = RetentionTask {
            store: Arc::clone(&handler_deps.store),
            clock: handler_deps.clock.clone(),
            supervisor: supervisor.clone(),
            removed_counts: removed.clone(),
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

/// Loads the companies of the settings with their ids in the store. The first is the company of the default route.
pub(super) async fn load_companies(
    settings: &Settings,
    store: &Arc<dyn Store>,
) -> Result<CompanyDirectory, BuildError> {
    let mut slugs = vec![DEFAULT_COMPANY_SLUG.to_owned()];
    slugs.extend(settings.companies.iter().map(|company| company.slug.clone()));
    let ids = store.get_or_create_company_ids(slugs).await?;
    let (keys, has_development_key_only) = default_keys(settings)?;
    let verifier = |keys: Vec<ApiKey>| {
        let security = &settings.security;
        security.verify.then(|| Verifier::new(keys).with_tolerance_ms(security.signature_tolerance_ms))
    };
    let company = |id: &i64, table: &CompanySettings| {
        let keys: Vec<_> = table.keys.iter().map(ApiKey::new).collect();
        Company {
            id: *id,
            slug: table.slug.as_str().into(),
            agent_ids: table.agents.clone(),
            has_development_key_only: false,
            signing_key: keys.first().cloned(),
            verifier: verifier(keys),
        }
    };
    let default = Company {
        id: ids.first().copied().unwrap_or_default(),
        slug: DEFAULT_COMPANY_SLUG.into(),
        agent_ids: Vec::new(),
        has_development_key_only,
        signing_key: keys.first().cloned(),
        verifier: verifier(keys),
    };
    let others = ids.iter().skip(1).zip(&settings.companies).map(|(id, table)| company(id, table));
    Ok(CompanyDirectory::new(default, others.collect()))
}

/// Returns the keys of the default route, and whether the development key is the only one.
fn default_keys(settings: &Settings) -> Result<(Vec<ApiKey>, bool), BuildError> {
    let keys = &settings.security.keys;
    if !keys.is_empty() || !settings.security.verify {
        return Ok((keys.iter().map(ApiKey::new).collect(), keys.is_empty()));
    }
    let url = SqliteUrl::parse(&settings.storage.url)?;
    let key = dev_key::read_or_create_dev_key(url.folder()).map_err(BuildError::DevKey)?;
    Ok((vec![ApiKey::new(&key)], true))
}
