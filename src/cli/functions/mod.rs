//! `functions list|show|test|calls|schema|export|import`.

mod export_import;
mod invocations;
mod test;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::export_import::{FunctionsImportArgs, export_functions};
use self::invocations::FunctionsCallsArgs;
use self::test::FunctionsTestArgs;
use super::context;
use super::output::{self, CliError, CliResult};
use crate::config::{DEFAULT_COMPANY_SLUG, FunctionSettings, Settings};
use crate::live::appointments;
use crate::live::functions::{FunctionConfigError, function_path, load_parameters, merge_builtins};

/// Retell is told to wait so much longer than the receiver does, so that the fallback reaches it.
const RETELL_TIMEOUT_MARGIN_MS: u64 = 5_000;

#[derive(Debug, Subcommand)]
pub(super) enum FunctionsCommand {
    /// List the functions, those that come with the receiver as well
    List(FunctionsListArgs),
    /// Show one function
    Show(FunctionsShowArgs),
    /// Call a function of a running receiver, signed as Retell would (exit code 0 when it was done; 1 when its arguments were
    /// refused, or its fallback was answered because it failed or was late)
    Test(FunctionsTestArgs),
    /// List invocations, newest first: arguments, answer, what went wrong
    Calls(FunctionsCallsArgs),
    /// Print the tool objects for `general_tools` of a Retell LLM, with this receiver's addresses
    Schema(FunctionsSchemaArgs),
    /// Print the functions as JSON, without secrets
    Export,
    /// Print `[[functions]]` tables for what `export` printed, or for a Retell agent's tools, to be put into config/local.toml
    Import(FunctionsImportArgs),
}

#[derive(Debug, Args)]
pub(super) struct FunctionsListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct FunctionsShowArgs {
    /// Its name
    name: String,
    /// That of this company [default: the plain route's]
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct FunctionsSchemaArgs {
    /// For this company's agents [default: the plain route's]
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
}

impl FunctionsCommand {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        match self {
            Self::List(FunctionsListArgs { json }) => print_list(&settings, json),
            Self::Show(show) => show.run(&settings),
            Self::Test(test) => test.run(&settings).await,
            Self::Calls(calls) => calls.run().await,
            Self::Schema(schema) => schema.run(&settings),
            Self::Export => export_functions(&settings),
            Self::Import(import) => import.run(),
        }
    }
}

/// Every function of a receiver with these settings, as its rules are in the end.
pub(super) fn all_functions(settings: &Settings) -> Result<Vec<FunctionSettings>, FunctionConfigError> {
    merge_builtins(&settings.functions, &appointments::function_definitions(settings))
}

fn print_list(settings: &Settings, json: bool) -> CliResult {
    let tables = all_functions(settings)?;
    if json {
        return output::print_json(&tables.iter().map(function_json).collect::<Result<Vec<_>, _>>()?);
    }
    let row = |table: &FunctionSettings| {
        let companies = if table.companies.is_empty() { "all".to_owned() } else { table.companies.join(", ") };
        let timeout = format!("{} ms", table.timeout_ms);
        vec![table.name.clone(), format_target(table), table.methods.join(", "), companies, timeout]
    };
    let rows = tables.iter().map(row).collect();
    let empty = "there are none: configure [[functions]], as docs/functions.md shows, or enable [appointments]";
    output::print_table(&["name", "calls", "methods", "companies", "timeout"], rows, empty)
}

/// Without what may hold a token.
fn format_target(table: &FunctionSettings) -> String {
    let host = |url: &str| {
        let url = url::Url::parse(url).ok()?;
        Some(format!("{}://{}", url.scheme(), &url[url::Position::BeforeHost..url::Position::AfterPort]))
    };
    match (&table.url, &table.builtin) {
        (Some(url), _) => host(url.expose()).unwrap_or_default(),
        (None, Some(builtin)) => format!("built in: {builtin}"),
        (None, None) => table.command.first().cloned().unwrap_or_default(),
    }
}

/// The table with its schema read, and without secrets.
fn function_json(table: &FunctionSettings) -> Result<Value, CliError> {
    let mut fields = serde_json::to_value(table)?;
    fields["parameters"] = load_parameters(table)?;
    Ok(fields)
}

fn find_function(settings: &Settings, name: &str, company: Option<&str>) -> Result<FunctionSettings, CliError> {
    let company = company.unwrap_or(DEFAULT_COMPANY_SLUG);
    let own = all_functions(settings)?.into_iter().find(|table| table.name == name && table.is_available_to(company));
    own.ok_or_else(|| {
        let name = output::sanitize(name);
        CliError::Message(format!("there is no function `{name}` of the company `{company}`; see `functions list`"))
    })
}

impl FunctionsShowArgs {
    fn run(&self, settings: &Settings) -> CliResult {
        let table = find_function(settings, &self.name, self.company.as_deref())?;
        let described = function_json(&table)?;
        if self.json {
            return output::print_json(&described);
        }
        output::print_fields(&[
            ("name", Some(table.name.clone())),
            ("description", Some(table.description.clone())),
            ("calls", Some(format_target(&table))),
            ("address", Some(function_url(settings, self.company.as_deref(), &table.name))),
            ("methods", Some(table.methods.join(", "))),
            ("companies", (!table.companies.is_empty()).then(|| table.companies.join(", "))),
            ("timeout", Some(format!("{} ms", table.timeout_ms))),
        ])?;
        output::print_json(&described["parameters"])
    }
}

impl FunctionsSchemaArgs {
    fn run(&self, settings: &Settings) -> CliResult {
        let company = self.company.as_deref();
        let known =
            |slug: &str| slug == DEFAULT_COMPANY_SLUG || settings.companies.iter().any(|company| company.slug == slug);
        if let Some(slug) = company.filter(|slug| !known(slug)) {
            return Err(CliError::Message(format!(
                "there is no company `{}` in [[companies]]",
                output::sanitize(slug)
            )));
        }
        let tables = all_functions(settings)?;
        let own = tables.iter().filter(|table| table.is_available_to(company.unwrap_or(DEFAULT_COMPANY_SLUG)));
        let tools = own.map(|table| tool_json(settings, company, table)).collect::<Result<Vec<_>, _>>()?;
        output::print_json(&tools)
    }
}

fn function_url(settings: &Settings, company: Option<&str>, name: &str) -> String {
    format!("{}{}", settings.server.public_url(settings.server.port), function_path(company, name))
}

fn tool_json(settings: &Settings, company: Option<&str>, table: &FunctionSettings) -> Result<Value, CliError> {
    let mut schema = load_parameters(table)?;
    if let Value::Object(fields) = &mut schema {
        fields.entry("type").or_insert_with(|| "object".into());
        fields.entry("properties").or_insert_with(|| json!({}));
    }
    Ok(json!({
        "type": "custom",
        "name": table.name,
        "description": table.description,
        "url": function_url(settings, company, &table.name),
        "method": table.methods.first(),
        "parameters": schema,
        "timeout_ms": (table.timeout_ms + RETELL_TIMEOUT_MARGIN_MS).clamp(1_000, 600_000),
    }))
}
