//! Which functions there are.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::super::BuiltInFunction;
use super::schema::ArgumentsSchema;
use super::target::FunctionTarget;
use crate::config::{FunctionFallback, FunctionSettings, ProgramSearchPath, is_function_name};
use crate::egress::Egress;
use crate::handlers::HandlerDeps;
use crate::telemetry::functions::{FunctionCounts, FunctionMetrics};

/// A `[[functions]]` table, or a function given in code, that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("function `{name}`: {key}: {reason}")]
pub struct FunctionConfigError {
    /// Its name.
    pub name: String,
    /// What is refused of it.
    pub key: &'static str,
    /// What is wrong with it, and what to do.
    pub reason: String,
}

/// A function that can be called.
pub(super) struct RegisteredFunction {
    pub(super) settings: FunctionSettings,
    pub(super) schema: ArgumentsSchema,
    pub(super) target: FunctionTarget,
    /// The function says by itself what is wrong with its arguments. A schema in the settings is checked.
    pub(super) checks_arguments: bool,
    /// One for each call at the same time.
    pub(super) permits: Arc<Semaphore>,
    pub(super) counts: Arc<FunctionCounts>,
}

impl RegisteredFunction {
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.settings.timeout_ms)
    }
}

/// All functions of a receiver, as of one reading of the settings.
#[derive(Default)]
pub(crate) struct FunctionRegistry(Vec<Arc<RegisteredFunction>>);

impl FunctionRegistry {
    /// Makes those of the tables, and of those given in code the ones that no table gives other rules.
    ///
    /// # Errors
    /// What is refused, and why.
    pub(crate) fn new(
        tables: &[FunctionSettings],
        own: &[BuiltInFunction],
        tools: &HandlerDeps,
        metrics: &FunctionMetrics,
    ) -> Result<Self, FunctionConfigError> {
        let told: Vec<_> = own.iter().map(builtin_settings).collect();
        let tables = merge_builtins(tables, &told)?;
        let made = tables.iter().map(|table| register(table, own, tools, metrics).map(Arc::new));
        made.collect::<Result<_, _>>().map(Self)
    }

    /// Refuses what [`FunctionRegistry::new`] would refuse of the tables that [`all_tables`] gave, without making anything.
    ///
    /// # Errors
    /// What is refused, and why.
    pub(crate) fn check(
        tables: &[FunctionSettings],
        egress: &Egress,
        path: &ProgramSearchPath,
    ) -> Result<(), FunctionConfigError> {
        tables.iter().try_for_each(|table| {
            let target = if table.builtin.is_some() { Ok(()) } else { FunctionTarget::check(table, egress, path) };
            let checked = target.and_then(|()| load_schema(table).map(drop));
            checked.map_err(|refused| config_error(&table.name, refused))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn find(&self, name: &str, company: &str) -> Option<&Arc<RegisteredFunction>> {
        self.0.iter().find(|entry| entry.settings.name == name && entry.settings.is_available_to(company))
    }
}

/// The tables with what those with `builtin` leave to the function they name, and one for each of `own` that no table
/// names. A table with `builtin` stands in place of the function: under another name, the old one is gone.
///
/// # Errors
/// A table names a function that is not there, or two functions have one name.
pub(crate) fn merge_builtins(
    tables: &[FunctionSettings],
    own: &[FunctionSettings],
) -> Result<Vec<FunctionSettings>, FunctionConfigError> {
    let mut all = tables.iter().map(|table| fill_from_builtin(table, own)).collect::<Result<Vec<_>, _>>()?;
    for (position, function) in own.iter().enumerate() {
        if tables.iter().any(|table| table.builtin.as_ref() == Some(&function.name)) {
            continue;
        }
        let refused = |why: &str| Err(config_error(&function.name, ("name", why.to_owned())));
        if !is_function_name(&function.name) {
            return refused("expected 1 to 64 letters, digits, `-` or `_`, as Retell has it");
        }
        let taken = |other: &FunctionSettings| other.name == function.name;
        if own[..position].iter().any(taken) || tables.iter().any(taken) {
            return refused("another function has this name; a table with `builtin` gives one other rules");
        }
        all.push(function.clone());
    }
    Ok(all)
}

fn fill_from_builtin(
    table: &FunctionSettings,
    own: &[FunctionSettings],
) -> Result<FunctionSettings, FunctionConfigError> {
    let mut table = table.clone();
    let Some(builtin) = &table.builtin else { return Ok(table) };
    let Some(function) = own.iter().find(|function| function.name == *builtin) else {
        let names: Vec<_> = own.iter().map(|function| function.name.as_str()).collect();
        let known = if names.is_empty() { "none is switched on".to_owned() } else { names.join(", ") };
        let why = format!("there is no function `{builtin}` in this receiver; there are: {known}");
        return Err(config_error(&table.name, ("builtin", why)));
    };
    if table.description.is_empty() {
        table.description.clone_from(&function.description);
    }
    if table.parameters.is_none() && table.parameters_file.is_none() {
        table.parameters.clone_from(&function.parameters);
    }
    Ok(table)
}

/// The table that a function given in code is without any of the settings.
fn builtin_settings(function: &BuiltInFunction) -> FunctionSettings {
    FunctionSettings {
        description: function.description.clone(),
        parameters: function.parameters.as_object().cloned(),
        builtin: Some(function.name.clone()),
        ..FunctionSettings::new(&function.name)
    }
}

fn register(
    table: &FunctionSettings,
    own: &[BuiltInFunction],
    tools: &HandlerDeps,
    metrics: &FunctionMetrics,
) -> Result<RegisteredFunction, FunctionConfigError> {
    let refused = |why| config_error(&table.name, why);
    let is_it = |function: &&BuiltInFunction| table.builtin.as_ref() == Some(&function.name);
    let (mut rules, mut own_schema) = (table.clone(), false);
    let target = match own.iter().find(is_it) {
        Some(function) => {
            own_schema = table.parameters_file.is_none() && table.parameters == builtin_settings(function).parameters;
            rules.fallback = rules.fallback.or_else(|| function.function.fallback().map(FunctionFallback::Json));
            FunctionTarget::InProcess(Arc::clone(&function.function))
        }
        None => FunctionTarget::from_settings(table, tools).map_err(refused)?,
    };
    Ok(RegisteredFunction {
        schema: load_schema(table).map_err(refused)?,
        checks_arguments: own_schema && target.checks_arguments(),
        target,
        permits: Arc::new(Semaphore::new(table.concurrency.into())),
        counts: metrics.for_function(&table.name),
        settings: rules,
    })
}

fn load_schema(table: &FunctionSettings) -> Result<ArgumentsSchema, (&'static str, String)> {
    match &table.parameters_file {
        Some(file) => read_parameters_file(file)
            .and_then(|fields| ArgumentsSchema::new(&fields))
            .map_err(|why| ("parameters_file", why)),
        None => {
            ArgumentsSchema::new(table.parameters.as_ref().unwrap_or(&Map::new())).map_err(|why| ("parameters", why))
        }
    }
}

/// The parameters of a table, wherever they are; checked.
///
/// # Errors
/// What is refused, and why.
pub(crate) fn load_parameters(table: &FunctionSettings) -> Result<Value, FunctionConfigError> {
    load_schema(table).map(|schema| schema.as_json().clone()).map_err(|refused| config_error(&table.name, refused))
}

fn read_parameters_file(file: &Path) -> Result<Map<String, Value>, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{} is no JSON object: {error}", file.display()))
}

fn config_error(name: &str, (key, why): (&'static str, String)) -> FunctionConfigError {
    FunctionConfigError { name: name.to_owned(), key, reason: why }
}
