//! What a reload exchanges: companies, keys, handlers and functions. All of it is made first, which may fail, and then put in place.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use super::{BuildError, devkey};
use crate::answers::BuiltIn;
use crate::answers::functions::{FunctionError, FunctionRegistry, Functions};
use crate::answers::inbound::{self, CurrentRules};
use crate::base::secret::Secret;
use crate::base::supervise::Supervisor;
use crate::config::{AlarmSettings, CompanySettings, DEFAULT_SLUG, HandlerSettings, Settings};
use crate::dispatch::{Retention, Rules, Workers};
use crate::handlers::{Registered, Registry, Tools};
use crate::http::company::{Companies, Company, CurrentCompanies};
use crate::security::keys::ApiKey;
use crate::security::signature::Verifier;
use crate::storage::Store;
use crate::storage::sqlite::SqliteUrl;
use crate::telemetry::functions::FunctionMetrics;
use crate::telemetry::retention::RemovedCounts;

/// Exchanges companies, keys, handlers and functions while the receiver runs. A handle; clones act on the same receiver.
#[derive(Clone)]
pub struct Reload(Arc<Parts>);

pub(super) struct Parts {
    pub(super) tools: Tools,
    pub(super) companies: CurrentCompanies,
    pub(super) workers: Workers,
    pub(super) functions: Functions,
    pub(super) counted: FunctionMetrics,
    pub(super) rules: CurrentRules,
    pub(super) retention: Retained,
    /// What was given to the builder; a reload keeps it.
    pub(super) given: Given,
    /// As of the last reading. Held while a reload is under way: one at a time.
    pub(super) settings: Mutex<Settings>,
}

/// What was given to the builder in code, beside the settings.
#[derive(Default)]
pub(super) struct Given {
    pub(super) keys: Vec<Secret>,
    pub(super) storage_url: Option<String>,
    pub(super) handlers: Vec<Registered>,
    pub(super) functions: Vec<BuiltIn>,
}

impl Given {
    pub(super) fn apply(&self, mut settings: Settings) -> Result<Settings, BuildError> {
        settings.security.keys.extend(self.keys.iter().cloned());
        if let Some(url) = &self.storage_url {
            settings.storage.url.clone_from(url);
        }
        settings.validate()?;
        let taken =
            |given: &&Registered| settings.handlers.iter().any(|table| table.enabled && table.name == given.name);
        match self.handlers.iter().find(taken) {
            Some(given) => Err(BuildError::HandlerName(given.name.clone())),
            None => Ok(settings),
        }
    }
}

impl Reload {
    pub(super) fn new(parts: Parts) -> Self {
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
        let settings = parts.given.apply(settings)?;
        let companies = companies(&settings, &parts.tools.store).await?;
        let changed = |table: &&HandlerSettings| !running.handlers.contains(table);
        let changed: Vec<_> = settings.handlers.iter().filter(changed).cloned().collect();
        let changed = Registry::configured(&changed, &parts.tools)?;
        let functions = functions(&settings, &parts.given, &parts.tools, &parts.counted)?;
        let rules =
            (settings.inbound != running.inbound).then(|| inbound::Rules::configured(&settings.inbound, &parts.tools));
        let rules = rules.transpose()?;
        parts.workers.announce(&changed).await?;
        // Nothing fails from here on.
        parts.companies.replace(companies);
        if let Some(rules) = rules {
            parts.rules.replace(rules);
        }
        parts.functions.replace(functions);
        for gone in running.handlers.iter().filter(|table| !settings.handlers.contains(table)) {
            for name in Registry::names(gone) {
                parts.workers.stop(&name);
            }
        }
        changed.iter().cloned().for_each(|registered| parts.workers.start(registered));
        parts.retention.change(&settings, &parts.workers);
        let restart = running.differences(&settings);
        *running = settings;
        Ok(restart)
    }
}

/// The functions of the settings, and those given in code.
pub(super) fn functions(
    settings: &Settings,
    given: &Given,
    tools: &Tools,
    counted: &FunctionMetrics,
) -> Result<FunctionRegistry, FunctionError> {
    FunctionRegistry::new(&settings.functions, &given.functions, tools, counted)
}

/// How long things are kept: the part that removes them follows.
pub(super) struct Retained(watch::Sender<Rules>);

impl Retained {
    pub(super) fn start(
        settings: &Settings,
        workers: &Workers,
        removed: &RemovedCounts,
        tools: &Tools,
        supervisor: &Supervisor,
    ) -> Self {
        let (sender, rules) = watch::channel(rules(settings, workers));
        let (store, clock) = (Arc::clone(&tools.store), tools.clock.clone());
        Retention { store, clock, supervisor: supervisor.clone(), removed: removed.clone(), rules }.start();
        Self(sender)
    }

    fn change(&self, settings: &Settings, workers: &Workers) {
        let changed = rules(settings, workers);
        self.0.send_if_modified(|rules| std::mem::replace(rules, changed.clone()) != changed);
    }
}

/// A handler that was taken out of the settings keeps nothing from being removed.
fn rules(settings: &Settings, workers: &Workers) -> Rules {
    Rules { handlers: Some(workers.names()), ..Rules::of(settings) }
}

/// The companies of the settings, with their numbers in the store.
pub(super) async fn companies(settings: &Settings, store: &Arc<dyn Store>) -> Result<Companies, BuildError> {
    let slugs: Vec<_> = settings.companies.iter().map(|company| company.slug.clone()).collect();
    let mut slugs_with_default = vec![DEFAULT_SLUG.to_owned()];
    slugs_with_default.extend(slugs);
    let ids = store.company_ids(slugs_with_default).await?;
    let (keys, development) = default_keys(settings)?;
    let verifier = |keys: Vec<ApiKey>| {
        settings.security.verify.then(|| Verifier::new(keys).with_window_ms(settings.security.window_ms))
    };
    let company = |id: &i64, table: &CompanySettings| {
        let keys: Vec<_> = table.keys.iter().map(ApiKey::new).collect();
        Company {
            id: *id,
            slug: table.slug.as_str().into(),
            agents: table.agents.clone(),
            development: false,
            signing_key: keys.first().cloned(),
            verifier: verifier(keys),
        }
    };
    let default = Company {
        id: ids.first().copied().unwrap_or_default(),
        slug: DEFAULT_SLUG.into(),
        agents: Vec::new(),
        development,
        signing_key: keys.first().cloned(),
        verifier: verifier(keys),
    };
    let others = ids.iter().skip(1).zip(&settings.companies).map(|(id, table)| company(id, table));
    Ok(Companies::new(default, others.collect()))
}

/// The plain route's keys, and whether they are the development key only.
fn default_keys(settings: &Settings) -> Result<(Vec<ApiKey>, bool), BuildError> {
    let keys = &settings.security.keys;
    if !keys.is_empty() || !settings.security.verify {
        return Ok((keys.iter().map(ApiKey::new).collect(), keys.is_empty()));
    }
    let url = SqliteUrl::parse(&settings.storage.url)?;
    let key = devkey::read_or_create(url.folder()).map_err(BuildError::DevKey)?;
    Ok((vec![ApiKey::new(&key)], true))
}
