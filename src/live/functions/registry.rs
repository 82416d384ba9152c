//! The functions of a receiver: `[[functions]]` tables merged with the functions given in code.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::super::{BuiltInFunction, FunctionPolicy};
use super::schema::ArgumentsSchema;
use super::target::FunctionTarget;
use crate::config::{FieldError, FunctionFallback, FunctionSettings, ProgramSearchPath, is_function_name};
use crate::egress::Egress;
use crate::outbound::OutboundContext;
use crate::telemetry::functions::{FunctionCounts, FunctionMetrics};

/// A function with everything that a call needs.
pub(crate) struct RegisteredFunction {
    pub(super) settings: FunctionSettings,
    pub(super) schema: ArgumentsSchema,
    pub(super) target: FunctionTarget,
    pub(super) policy: FunctionPolicy,
    /// Whether the arguments are checked against the schema: not for a function that checks them itself, unless the
    /// settings replaced its schema.
    pub(super) uses_schema: bool,
    /// One permit per concurrent call.
    pub(super) permits: Arc<Semaphore>,
    pub(super) counts: Arc<FunctionCounts>,
}

impl RegisteredFunction {
    pub(super) fn timeout(&self) -> Duration {
        self.settings.timeout
    }
}

/// All functions of a receiver. Replaced as a whole when the settings are reloaded.
#[derive(Default)]
pub(crate) struct FunctionRegistry(Vec<Arc<RegisteredFunction>>);

impl FunctionRegistry {
    /// Makes the functions of the tables and of the code.
    ///
    /// # Errors
    /// The first table or function that cannot be used.
    pub(crate) fn new(
        tables: &[FunctionSettings],
        builtins: &[BuiltInFunction],
        outbound: &OutboundContext,
        metrics: &FunctionMetrics,
    ) -> Result<Self, FieldError> {
        let defaults: Vec<_> = builtins.iter().map(builtin_settings).collect();
        let mut functions = Vec::new();
        for (position, table) in merge_builtins(tables, &defaults)?.iter().enumerate() {
            let registered = register(table, builtins, outbound, metrics);
            functions.push(Arc::new(registered.map_err(|error| in_function(error, tables, position, &table.name))?));
        }
        Ok(Self(functions))
    }

    /// Checks the tables and the functions given in code, by their `defaults`, without making anything.
    ///
    /// # Errors
    /// The same as [`FunctionRegistry::new`].
    pub(crate) fn check(
        tables: &[FunctionSettings],
        defaults: &[FunctionSettings],
        egress: &Egress,
        path: &ProgramSearchPath,
    ) -> Result<(), FieldError> {
        for (position, table) in merge_builtins(tables, defaults)?.iter().enumerate() {
            let target = if table.builtin.is_none() { FunctionTarget::check(table, egress, path) } else { Ok(()) };
            let checked = target.and_then(|()| load_schema(table));
            checked.map_err(|error| in_function(error, tables, position, &table.name))?;
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The function of this name for a company. Validation makes sure that at most one table matches.
    pub(super) fn find(&self, name: &str, company: &str) -> Option<&Arc<RegisteredFunction>> {
        self.0.iter().find(|entry| entry.settings.name == name && entry.settings.is_available_to(company))
    }
}

/// Merges the tables with the defaults of the functions given in code. A table with `builtin` replaces the function:
/// under another name, the function no longer has its own. Every function that no table names is added with its
/// defaults.
///
/// # Errors
/// A table names a function that does not exist, or two functions have the same name.
pub(crate) fn merge_builtins(
    tables: &[FunctionSettings],
    defaults: &[FunctionSettings],
) -> Result<Vec<FunctionSettings>, FieldError> {
    let fill = |(position, table): (usize, &FunctionSettings)| {
        fill_from_builtin(table, defaults).map_err(|error| in_function(error, tables, position, &table.name))
    };
    let mut merged = tables.iter().enumerate().map(fill).collect::<Result<Vec<_>, _>>()?;
    for (position, function) in defaults.iter().enumerate() {
        if tables.iter().any(|table| table.builtin.as_ref() == Some(&function.name)) {
            continue;
        }
        let name_error = |problem: &str| Err(FieldError::new("name", problem).in_table("function", &function.name));
        if !is_function_name(&function.name) {
            return name_error("expected 1 to 64 letters, digits, `-` or `_`, as Retell requires");
        }
        // Names in tables were compared by the validation of the settings, which does not know the functions in code.
        let has_same_name = |other: &FunctionSettings| other.name == function.name;
        if defaults[..position].iter().any(has_same_name) || tables.iter().any(has_same_name) {
            return name_error(
                "another function has this name; to change the settings of this one, name it in the table's `builtin`",
            );
        }
        merged.push(function.clone());
    }
    Ok(merged)
}

/// Fills in description and parameters that a table with `builtin` does not set.
fn fill_from_builtin(table: &FunctionSettings, defaults: &[FunctionSettings]) -> Result<FunctionSettings, FieldError> {
    let mut table = table.clone();
    let Some(builtin) = &table.builtin else { return Ok(table) };
    let Some(function) = defaults.iter().find(|function| function.name == *builtin) else {
        let names: Vec<_> = defaults.iter().map(|function| function.name.as_str()).collect();
        let known = if names.is_empty() {
            "none is enabled (appointments.enabled = true adds the appointment functions)".to_owned()
        } else {
            names.join(", ")
        };
        let problem = format!("the function `{builtin}` does not exist in this receiver; available: {known}");
        return Err(FieldError::new("builtin", problem));
    };
    if table.description.is_empty() {
        table.description.clone_from(&function.description);
    }
    if table.parameters.is_none() && table.parameters_file.is_none() {
        table.parameters.clone_from(&function.parameters);
    }
    Ok(table)
}

/// The table that stands for a function given in code when the settings do not mention it.
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
    builtins: &[BuiltInFunction],
    outbound: &OutboundContext,
    metrics: &FunctionMetrics,
) -> Result<RegisteredFunction, FieldError> {
    let mut settings = table.clone();
    let mut uses_schema = true;
    let builtin = builtins.iter().find(|builtin| table.builtin.as_ref() == Some(&builtin.name));
    let (target, policy) = match builtin {
        Some(builtin) => {
            let policy = builtin.policy.clone();
            // A schema from the settings demands more than the function knows about, so it is always checked.
            let has_builtin_schema =
                table.parameters_file.is_none() && table.parameters == builtin_settings(builtin).parameters;
            uses_schema = !(has_builtin_schema && policy.checks_arguments);
            settings.fallback = settings.fallback.or_else(|| policy.fallback.clone().map(FunctionFallback::Json));
            (FunctionTarget::InProcess(Arc::clone(&builtin.function)), policy)
        }
        None => {
            let target = FunctionTarget::from_settings(table, outbound)?;
            // A program is killed at the deadline, because nothing else would end it.
            let may_answer_late = !matches!(target, FunctionTarget::Program(_));
            (target, FunctionPolicy { may_answer_late, ..FunctionPolicy::default() })
        }
    };
    Ok(RegisteredFunction {
        schema: load_schema(table)?,
        policy,
        uses_schema,
        target,
        permits: Arc::new(Semaphore::new(table.concurrency.into())),
        // The same counters before and after a reload: they are counted by name, since the start of the process.
        counts: metrics.for_function(&table.name),
        settings,
    })
}

fn load_schema(table: &FunctionSettings) -> Result<ArgumentsSchema, FieldError> {
    match &table.parameters_file {
        Some(file) => {
            let schema = read_parameters_file(file).and_then(|fields| ArgumentsSchema::new(&fields));
            schema.map_err(|problem| FieldError::new("parameters_file", problem))
        }
        None => {
            let any_arguments = Map::new();
            let schema = ArgumentsSchema::new(table.parameters.as_ref().unwrap_or(&any_arguments));
            schema.map_err(|problem| FieldError::new("parameters", problem))
        }
    }
}

/// The JSON Schema of a table, from `parameters` or `parameters_file`.
///
/// # Errors
/// The file cannot be read, or the schema cannot be used.
pub(crate) fn load_parameters(table: &FunctionSettings) -> Result<Value, FieldError> {
    let schema = load_schema(table).map_err(|error| error.in_table("function", &table.name))?;
    Ok(schema.as_json().clone())
}

fn read_parameters_file(file: &Path) -> Result<Map<String, Value>, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{} is not a JSON object: {error}", file.display()))
}

/// Names the function in an error: the table at `position`, or one of the functions given in code behind them.
fn in_function(error: FieldError, tables: &[FunctionSettings], position: usize, name: &str) -> FieldError {
    if position < tables.len() { error.in_list("functions", position, name) } else { error.in_table("function", name) }
}
