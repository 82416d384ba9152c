//! What a reload exchanges: companies, keys, handlers and functions. All of it is made first, which may fail, and then put in place.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use super::{BuildError, dev_key};
use crate::base::secret::Secret;
use crate::base::supervise::Supervisor;
use crate::config::{AlarmSettings, CompanySettings, DEFAULT_COMPANY_SLUG, HandlerSettings, Settings};
use crate::dispatch::{RetentionRules, RetentionTask, Workers};
use crate::handlers::{HandlerDeps, HandlerRegistry, RegisteredHandler};
use crate::http::company::{Company, CompanyDirectory, CurrentCompanyDirectory};
use crate::live::BuiltInFunction;
use crate::live::functions::{FunctionConfigError, FunctionRegistry, FunctionService};
use crate::live::inbound::{self, CurrentInboundRules};
use crate::security::keys::ApiKey;
use crate::security::signature::Verifier;
use crate::storage::Store;
use crate::storage::sqlite::SqliteUrl;
use crate::telemetry::functions::FunctionMetrics;
use crate::telemetry::retention::RemovedCounts;

/// Exchanges companies, keys, handlers and functions while the receiver runs. A handle; clones act on the same receiver.
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
    /// What was given to the builder; a reload keeps it.
    pub(super) overrides: BuilderOverrides,
    /// As of the last reading. Held while a reload is under way: one at a time.
    pub(super) settings: Mutex<Settings>,
}

/// What was given to the builder in code, beside the settings.
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
        let taken = |given: &&RegisteredHandler| {
            settings.handlers.iter().any(|table| table.enabled && table.name == given.name)
        };
        match self.handlers.iter().find(taken) {
            Some(given) => Err(BuildError::DuplicateHandlerName(given.name.clone())),
            None => Ok(settings),
        }
    }
}

impl ReloadHandle {
    pub(super) fn new(parts: ReloadState) -> Self {
        Self(Arc::new(parts))
    }

    /// As of the last reading.
    pub(super) async fn alarm_settings(&self) -> AlarmSettings {
        self.0.settings.lock().await.alarms.clone()
    }

    /// The handlers at work.
    pub(super) fn workers(&self) -> &Workers {
        &self.0.workers
    }

    /// Puts the companies, keys, handlers and inbound rules of `settings` in place. Requests and deliveries under way finish as they
    /// began. Returns the keys of other settings that differ from the running ones: they need a restart.
    ///
    /// # Errors
    /// [`BuildError`] says what is wrong; nothing was changed then.
    pub async fn apply(&self, settings: Settings) -> Result<Vec<String>, BuildError> {
        let parts = &self.0;
        let mut running = parts.settings.lock().await;
        let settings = parts.overrides.apply_to(settings)?;
        let companies = load_companies(&settings, &parts.handler_deps.store).await?;
        let changed = |table: &&HandlerSettings| !running.handlers.contains(table);
        let changed: Vec<_> = settings.handlers.iter().filter(changed).cloned().collect();
        let changed = HandlerRegistry::from_settings(&changed, &parts.handler_deps)?;
        let functions = build_functions(&settings, &parts.overrides, &parts.handler_deps, &parts.function_metrics)?;
        let rules = (settings.inbound != running.inbound)
            .then(|| inbound::InboundRules::from_settings(&settings.inbound, &parts.handler_deps));
        let rules = rules.transpose()?;
        parts.workers.register_handlers(&changed).await?;
        // Nothing fails from here on.
        parts.companies.replace(companies);
        if let Some(rules) = rules {
            parts.inbound_rules.replace(rules);
        }
        parts.functions.replace_registry(functions);
        for gone in running.handlers.iter().filter(|table| !settings.handlers.contains(table)) {
            for name in HandlerRegistry::handler_names(gone) {
                parts.workers.stop(&name);
            }
        }
        changed.iter().cloned().for_each(|registered| parts.workers.start(registered));
        parts.retention.update(&settings, &parts.workers);
        let restart = running.keys_requiring_restart(&settings);
        *running = settings;
        Ok(restart)
    }
}

/// The functions of the settings, and those given in code.
pub(super) fn build_functions(
    settings: &Settings,
    given: &BuilderOverrides,
    tools: &HandlerDeps,
    counted: &FunctionMetrics,
) -> Result<FunctionRegistry, FunctionConfigError> {
    FunctionRegistry::new(&settings.functions, &given.functions, tools, counted)
}

/// How long things are kept: the part that removes them follows.
pub(super) struct RetentionHandle(watch::Sender<RetentionRules>);

impl RetentionHandle {
    pub(super) fn start(
        settings: &Settings,
        workers: &Workers,
        removed: &RemovedCounts,
        tools: &HandlerDeps,
        supervisor: &Supervisor,
    ) -> Self {
        let (sender, rules) = watch::channel(retention_rules(settings, workers));
        let (store, clock) = (Arc::clone(&tools.store), tools.clock.clone());
        RetentionTask { store, clock, supervisor: supervisor.clone(), removed_counts: removed.clone(), rules }.start();
        Self(sender)
    }

    fn update(&self, settings: &Settings, workers: &Workers) {
        let changed = retention_rules(settings, workers);
        self.0.send_if_modified(|rules| std::mem::replace(rules, changed.clone()) != changed);
    }
}

/// A handler that was taken out of the settings keeps nothing from being removed.
fn retention_rules(settings: &Settings, workers: &Workers) -> RetentionRules {
    RetentionRules {
        protecting_handlers: Some(workers.registered_handlers()),
        ..RetentionRules::from_settings(settings)
    }
}

/// The companies of the settings, with their numbers in the store.
pub(super) async fn load_companies(
    settings: &Settings,
    store: &Arc<dyn Store>,
) -> Result<CompanyDirectory, BuildError> {
    let slugs: Vec<_> = settings.companies.iter().map(|company| company.slug.clone()).collect();
    let mut slugs_with_default = vec![DEFAULT_COMPANY_SLUG.to_owned()];
    slugs_with_default.extend(slugs);
    let ids = store.get_or_create_company_ids(slugs_with_default).await?;
    let (keys, development) = default_keys(settings)?;
    let verifier = |keys: Vec<ApiKey>| {
        settings
            .security
            .verify
            .then(|| Verifier::new(keys).with_tolerance_ms(settings.security.signature_tolerance_ms))
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
        has_development_key_only: development,
        signing_key: keys.first().cloned(),
        verifier: verifier(keys),
    };
    let others = ids.iter().skip(1).zip(&settings.companies).map(|(id, table)| company(id, table));
    Ok(CompanyDirectory::new(default, others.collect()))
}

/// The plain route's keys, and whether they are the development key only.
fn default_keys(settings: &Settings) -> Result<(Vec<ApiKey>, bool), BuildError> {
    let keys = &settings.security.keys;
    if !keys.is_empty() || !settings.security.verify {
        return Ok((keys.iter().map(ApiKey::new).collect(), keys.is_empty()));
    }
    let url = SqliteUrl::parse(&settings.storage.url)?;
    let key = dev_key::read_or_create_dev_key(url.folder()).map_err(BuildError::DevKey)?;
    Ok((vec![ApiKey::new(&key)], true))
}
