//! Which functions there are.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::super::BuiltIn;
use super::schema::Schema;
use super::target::Target;
use crate::config::{Fallback, FunctionSettings, is_function_name};
use crate::egress::Egress;
use crate::handlers::Tools;
use crate::telemetry::functions::{FunctionCounts, FunctionMetrics};

/// A `[[functions]]` table, or a function given in code, that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("function `{name}`: {key}: {why}")]
pub struct FunctionError {
    /// Its name.
    pub name: String,
    /// What is refused of it.
    pub key: &'static str,
    /// What is wrong with it, and what to do.
    pub why: String,
}

/// A function that can be called.
pub(super) struct Entry {
    pub(super) rules: FunctionSettings,
    pub(super) schema: Schema,
    pub(super) target: Target,
    /// One for each call at the same time.
    pub(super) slots: Arc<Semaphore>,
    pub(super) counts: Arc<FunctionCounts>,
}

impl Entry {
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.rules.timeout_ms)
    }

    /// Whether the function says by itself what is wrong with its arguments. A schema in the settings is checked.
    pub(super) fn checks_arguments(&self) -> bool {
        self.rules.parameters.is_none() && self.target.checks_arguments()
    }
}

/// All functions of a receiver, as of one reading of the settings.
#[derive(Default)]
pub struct FunctionRegistry(Vec<Arc<Entry>>);

impl FunctionRegistry {
    /// Makes those of the tables, and those given in code that no table gives other rules.
    ///
    /// # Errors
    /// What is refused, and why.
    pub fn new(
        tables: &[FunctionSettings],
        own: &[BuiltIn],
        tools: &Tools,
        metrics: &FunctionMetrics,
    ) -> Result<Self, FunctionError> {
        let mut entries = Vec::new();
        for table in tables {
            entries.push(Arc::new(configured(table, own, tools, metrics)?));
        }
        for (position, function) in own.iter().enumerate() {
            let by_table = |table: &FunctionSettings| table.builtin.as_ref() == Some(&function.name);
            if tables.iter().any(by_table) {
                continue;
            }
            let refused = |why: &str| error(&function.name, ("name", why.to_owned()));
            if !is_function_name(&function.name) {
                return Err(refused("expected 1 to 64 letters, digits, `-` or `_`, as Retell has it"));
            }
            let taken = |name: &String| *name == function.name;
            let twice = own[..position].iter().any(|other| taken(&other.name));
            if twice || tables.iter().any(|table| taken(&table.name)) {
                return Err(refused("another function has this name; a table with `builtin` gives one other rules"));
            }
            let rules =
                FunctionSettings { description: function.description.clone(), ..FunctionSettings::new(&function.name) };
            entries.push(Arc::new(of_own(rules, function, metrics)?));
        }
        Ok(Self(entries))
    }

    /// Refuses what [`FunctionRegistry::new`] would refuse of tables, without making anything.
    ///
    /// # Errors
    /// What is refused, and why.
    pub fn check(tables: &[FunctionSettings], egress: &Egress) -> Result<(), FunctionError> {
        tables.iter().try_for_each(|table| {
            let url = table.url.as_ref().map_or(Ok(()), |url| egress.target(url.expose()).map(drop));
            let checked = url.map_err(|why| ("url", why)).and_then(|()| schema(table).map(drop));
            checked.map_err(|refused| error(&table.name, refused))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn find(&self, name: &str, company: &str) -> Option<&Arc<Entry>> {
        self.0.iter().find(|entry| entry.rules.name == name && entry.rules.is_for(company))
    }
}

fn configured(
    table: &FunctionSettings,
    own: &[BuiltIn],
    tools: &Tools,
    metrics: &FunctionMetrics,
) -> Result<Entry, FunctionError> {
    let refused = |why| error(&table.name, why);
    if let Some(builtin) = &table.builtin {
        let function = own.iter().find(|function| function.name == *builtin).ok_or_else(|| {
            let names: Vec<_> = own.iter().map(|function| function.name.as_str()).collect();
            let known = if names.is_empty() { "none is switched on".to_owned() } else { names.join(", ") };
            refused(("builtin", format!("there is no such function in this receiver; there are: {known}")))
        })?;
        return of_own(table.clone(), function, metrics);
    }
    Ok(Entry {
        schema: schema(table).map_err(refused)?,
        target: Target::of(table, tools).map_err(refused)?,
        slots: Arc::new(Semaphore::new(table.concurrency.into())),
        counts: metrics.function(&table.name),
        rules: table.clone(),
    })
}

fn of_own(mut rules: FunctionSettings, function: &BuiltIn, metrics: &FunctionMetrics) -> Result<Entry, FunctionError> {
    let own = function.parameters.as_object().cloned().unwrap_or_default();
    let parameters = rules.parameters.as_ref().unwrap_or(&own);
    let schema = Schema::new(parameters).map_err(|why| error(&function.name, ("parameters", why)))?;
    let target = Target::Own(Arc::clone(&function.function));
    rules.fallback = rules.fallback.or_else(|| function.function.fallback().map(Fallback::Json));
    let slots = Arc::new(Semaphore::new(rules.concurrency.into()));
    Ok(Entry { schema, target, slots, counts: metrics.function(&rules.name), rules })
}

fn schema(table: &FunctionSettings) -> Result<Schema, (&'static str, String)> {
    match &table.parameters_file {
        Some(file) => read(file).and_then(|fields| Schema::new(&fields)).map_err(|why| ("parameters_file", why)),
        None => Schema::new(table.parameters.as_ref().unwrap_or(&Map::new())).map_err(|why| ("parameters", why)),
    }
}

/// The parameters of a table, wherever they are; checked.
///
/// # Errors
/// What is refused, and why.
pub fn parameters(table: &FunctionSettings) -> Result<Value, FunctionError> {
    schema(table).map(|schema| schema.text().clone()).map_err(|refused| error(&table.name, refused))
}

fn read(file: &Path) -> Result<Map<String, Value>, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{} is no JSON object: {error}", file.display()))
}

fn error(name: &str, (key, why): (&'static str, String)) -> FunctionError {
    FunctionError { name: name.to_owned(), key, why }
}
