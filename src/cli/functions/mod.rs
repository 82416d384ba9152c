//! `functions list|show|test|calls|stats|rebuild-stats|schema|export|import`.

mod export_import;
mod invocations;
mod stats;
mod test;

use clap::{Args, Subcommand};

use self::export_import::{FunctionsImportArgs, export_functions};
use self::invocations::FunctionsCallsArgs;
use self::stats::FunctionsStatsArgs;
use self::test::FunctionsTestArgs;
use super::calls::{RebuildStatsArgs, RebuiltItems};
use super::context;
use super::output::{self, CliResult};
use crate::config::{CompanySlug, FunctionSettings, Settings};
use crate::operations::functions::{all_functions, find_function, function_url, list_functions, list_tools};
use crate::view::FunctionView;

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
    /// Count the invocations of the last day, with their durations
    Stats(FunctionsStatsArgs),
    /// Count all invocations again and correct the totals behind `stats`; also while the receiver runs
    RebuildStats(RebuildStatsArgs),
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
            Self::Stats(stats) => stats.run().await,
            Self::RebuildStats(rebuild) => rebuild.run(RebuiltItems::Invocations).await,
            Self::Schema(schema) => schema.run(&settings),
            Self::Export => export_functions(&settings),
            Self::Import(import) => import.run(),
        }
    }
}

fn print_list(settings: &Settings, json: bool) -> CliResult {
    if json {
        return output::print_json(&list_functions(settings)?);
    }
    let row = |function: &FunctionSettings| {
        let companies = if function.companies.is_empty() { "all".to_owned() } else { join_slugs(&function.companies) };
        let timeout = format!("{} ms", function.timeout.as_millis());
        vec![function.name.clone(), format_target(function), function.methods.join(", "), companies, timeout]
    };
    let rows = all_functions(settings)?.iter().map(row).collect();
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

impl FunctionsShowArgs {
    fn run(&self, settings: &Settings) -> CliResult {
        let company = self.company.as_deref();
        let shown = find_function(settings, &self.name, company)?;
        if self.json {
            return output::print_json(&shown);
        }
        let FunctionView { settings: function, parameters } = shown;
        output::print_fields(&[
            ("name", Some(function.name.clone())),
            ("description", Some(function.description.clone())),
            ("target", Some(format_target(&function))),
            ("url", Some(function_url(settings, company, &function.name))),
            ("methods", Some(function.methods.join(", "))),
            ("companies", (!function.companies.is_empty()).then(|| join_slugs(&function.companies))),
            ("timeout", Some(format!("{} ms", function.timeout.as_millis()))),
        ])?;
        output::print_json(&parameters)
    }
}

impl FunctionsSchemaArgs {
    fn run(&self, settings: &Settings) -> CliResult {
        output::print_json(&list_tools(settings, self.company.as_deref())?)
    }
}

fn join_slugs(slugs: &[CompanySlug]) -> String {
    slugs.iter().map(CompanySlug::as_str).collect::<Vec<_>>().join(", ")
}
