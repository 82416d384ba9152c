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

/// Added to the receiver's timeout for Retell's timeout, so that the fallback still reaches Retell in time.
const RETELL_TIMEOUT_MARGIN_MS: u64 = 5_000;

#[derive(Debug, Subcommand)]
pub(super) enum FunctionsCommand {
    /// List the functions, including the built-in ones
    List(FunctionsListArgs),
    /// Show one function and its parameters
    Show(FunctionsShowArgs),
    /// Call a function of a running receiver, signed as Retell signs
    ///
    /// The exit code is 0 when the function succeeded. It is 1 when its arguments were invalid, and when the fallback
    /// was answered because the function failed or timed out.
    Test(FunctionsTestArgs),
    /// List invocations, newest first, with their arguments, answers and errors
    Calls(FunctionsCallsArgs),
    /// Print the tool objects for `general_tools` of a Retell LLM, with the URLs of this receiver
    Schema(FunctionsSchemaArgs),
    /// Print the functions as JSON without secrets
    Export,
    /// Convert the output of `functions export`, or the tools of a Retell agent, to `[[functions]]` tables
    Import(FunctionsImportArgs),
}

#[derive(Debug, Args)]
pub(super) struct FunctionsListArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct FunctionsShowArgs {
    /// Name of the function to show
    name: String,
    /// Slug of the company whose function is shown [default: the default company]
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct FunctionsSchemaArgs {
    /// Slug of the company whose agents use the tools [default: the default company]
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

/// Every function of a receiver with these settings: the configured ones merged with the built-in ones.
pub(super) fn all_functions(settings: &Settings) -> Result<Vec<FunctionSettings>, FunctionConfigError> {
    merge_builtins(&settings.functions, &appointments::function_definitions(settings))
}

fn print_list(settings: &Settings, json: bool) -> CliResult {
    let functions = all_functions(settings)?;
    if json {
        return output::print_json(&functions.iter().map(function_json).collect::<Result<Vec<_>, _>>()?);
    }
    let row = |function: &FunctionSettings| {
        let companies = if function.companies.is_empty() { "all".to_owned() } else { function.companies.join(", ") };
        let timeout = format!("{} ms", function.timeout_ms);
        vec![function.name.clone(), format_target(function), function.methods.join(", "), companies, timeout]
    };
    let rows = functions.iter().map(row).collect();
    let empty = "no functions: configure [[functions]] as docs/functions.md shows, or enable [appointments]";
    output::print_table(&["NAME", "TARGET", "METHODS", "COMPANIES", "TIMEOUT"], rows, empty)
}

/// Of a URL only scheme, host and port: user, path and query may contain a token.
fn format_target(function: &FunctionSettings) -> String {
    let origin = |url: &str| {
        let url = url::Url::parse(url).ok()?;
        Some(format!("{}://{}", url.scheme(), &url[url::Position::BeforeHost..url::Position::AfterPort]))
    };
    match (&function.url, &function.builtin) {
        (Some(url), _) => origin(url.expose()).unwrap_or_default(),
        (None, Some(builtin)) => format!("built in: {builtin}"),
        (None, None) => function.command.first().cloned().unwrap_or_default(),
    }
}

/// The settings of the function without secrets, and with the schema itself even if the settings name a schema file.
fn function_json(function: &FunctionSettings) -> Result<Value, CliError> {
    let mut fields = serde_json::to_value(function)?;
    fields["parameters"] = load_parameters(function)?;
    Ok(fields)
}

fn find_function(settings: &Settings, name: &str, company: Option<&str>) -> Result<FunctionSettings, CliError> {
    let company = company.unwrap_or(DEFAULT_COMPANY_SLUG);
    let mut functions = all_functions(settings)?.into_iter();
    functions.find(|function| function.name == name && function.is_available_to(company)).ok_or_else(|| {
        CliError::Message(format!(
            "company `{}` has no function `{}`; `retell-webhook functions list` prints the functions",
            output::sanitize(company),
            output::sanitize(name)
        ))
    })
}

impl FunctionsShowArgs {
    fn run(&self, settings: &Settings) -> CliResult {
        let function = find_function(settings, &self.name, self.company.as_deref())?;
        let fields = function_json(&function)?;
        if self.json {
            return output::print_json(&fields);
        }
        output::print_fields(&[
            ("name", Some(function.name.clone())),
            ("description", Some(function.description.clone())),
            ("target", Some(format_target(&function))),
            ("url", Some(function_url(settings, self.company.as_deref(), &function.name))),
            ("methods", Some(function.methods.join(", "))),
            ("companies", (!function.companies.is_empty()).then(|| function.companies.join(", "))),
            ("timeout", Some(format!("{} ms", function.timeout_ms))),
        ])?;
        output::print_json(&fields["parameters"])
    }
}

impl FunctionsSchemaArgs {
    fn run(&self, settings: &Settings) -> CliResult {
        let company = self.company.as_deref();
        let slug = company.unwrap_or(DEFAULT_COMPANY_SLUG);
        if slug != DEFAULT_COMPANY_SLUG && !settings.companies.iter().any(|company| company.slug == slug) {
            return Err(CliError::Message(format!(
                "no company `{}` in [[companies]]; check the slug in the configuration",
                output::sanitize(slug)
            )));
        }
        let functions = all_functions(settings)?;
        let available = functions.iter().filter(|function| function.is_available_to(slug));
        let tools: Vec<Value> =
            available.map(|function| tool_json(settings, company, function)).collect::<Result<_, _>>()?;
        output::print_json(&tools)
    }
}

fn function_url(settings: &Settings, company: Option<&str>, name: &str) -> String {
    format!("{}{}", settings.server.public_url(settings.server.port), function_path(company, name))
}

fn tool_json(settings: &Settings, company: Option<&str>, function: &FunctionSettings) -> Result<Value, CliError> {
    let mut schema = load_parameters(function)?;
    // Retell requires `type` and `properties`, also of a function without parameters.
    if let Value::Object(fields) = &mut schema {
        fields.entry("type").or_insert_with(|| "object".into());
        fields.entry("properties").or_insert_with(|| json!({}));
    }
    Ok(json!({
        "type": "custom",
        "name": function.name,
        "description": function.description,
        "url": function_url(settings, company, &function.name),
        "method": function.methods.first(),
        "parameters": schema,
        // Retell accepts 1 to 600 seconds.
        "timeout_ms": (function.timeout_ms + RETELL_TIMEOUT_MARGIN_MS).clamp(1_000, 600_000),
    }))
}
