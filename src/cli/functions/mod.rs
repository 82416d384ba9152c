//! `functions list|show|test|calls|schema|export|import`.

mod calls;
mod exchange;
mod test;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::calls::Calls;
use self::exchange::{Import, export};
use self::test::Test;
use super::output::{self, Done, Failure};
use super::stores;
use crate::answers::appointments;
use crate::answers::functions::{FunctionError, all_tables, function_path, parameters};
use crate::config::{DEFAULT_SLUG, FunctionSettings, Settings};

/// Retell is told to wait so much longer than the receiver does, so that the fallback reaches it.
const AHEAD_MS: u64 = 5_000;

#[derive(Debug, Subcommand)]
pub(super) enum Functions {
    /// List the functions, those that come with the receiver as well
    List(Json),
    /// Show one function
    Show(Show),
    /// Call a function of a running receiver, signed as Retell would (exit code 0 when it was done; 1 when its arguments were
    /// refused, or its fallback was answered because it failed or was late)
    Test(Test),
    /// List invocations, newest first: arguments, answer, what went wrong
    Calls(Calls),
    /// Print the tool objects for `general_tools` of a Retell LLM, with this receiver's addresses
    Schema(Schema),
    /// Print the functions as JSON, without secrets
    Export,
    /// Print `[[functions]]` tables for what `export` printed, or for a Retell agent's tools, to be put into config/local.toml
    Import(Import),
}

#[derive(Debug, Args)]
pub(super) struct Json {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Show {
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
pub(super) struct Schema {
    /// For this company's agents [default: the plain route's]
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
}

impl Functions {
    pub(super) async fn run(self) -> Done {
        let settings = stores::settings()?;
        match self {
            Self::List(Json { json }) => list(&settings, json),
            Self::Show(show) => show.run(&settings),
            Self::Test(test) => test.run(&settings).await,
            Self::Calls(calls) => calls.run().await,
            Self::Schema(schema) => schema.run(&settings),
            Self::Export => export(&settings),
            Self::Import(import) => import.run(),
        }
    }
}

/// Every function of a receiver with these settings, as its rules are in the end.
pub(super) fn tables(settings: &Settings) -> Result<Vec<FunctionSettings>, FunctionError> {
    all_tables(&settings.functions, &appointments::tools(settings))
}

fn list(settings: &Settings, json: bool) -> Done {
    let tables = tables(settings)?;
    if json {
        return output::json(&tables.iter().map(described).collect::<Result<Vec<_>, _>>()?);
    }
    let row = |table: &FunctionSettings| {
        let companies = if table.companies.is_empty() { "all".to_owned() } else { table.companies.join(", ") };
        let timeout = format!("{} ms", table.timeout_ms);
        vec![table.name.clone(), target(table), table.methods.join(", "), companies, timeout]
    };
    let rows = tables.iter().map(row).collect();
    let empty = "there are none: configure [[functions]], as docs/functions.md shows, or enable [appointments]";
    output::table(&["name", "calls", "methods", "companies", "timeout"], rows, empty)
}

/// Without what may hold a token.
fn target(table: &FunctionSettings) -> String {
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
fn described(table: &FunctionSettings) -> Result<Value, Failure> {
    let mut fields = serde_json::to_value(table)?;
    fields["parameters"] = parameters(table)?;
    Ok(fields)
}

fn find(settings: &Settings, name: &str, company: Option<&str>) -> Result<FunctionSettings, Failure> {
    let company = company.unwrap_or(DEFAULT_SLUG);
    let own = tables(settings)?.into_iter().find(|table| table.name == name && table.is_for(company));
    own.ok_or_else(|| {
        let name = output::plain(name);
        Failure::Because(format!("there is no function `{name}` of the company `{company}`; see `functions list`"))
    })
}

impl Show {
    fn run(&self, settings: &Settings) -> Done {
        let table = find(settings, &self.name, self.company.as_deref())?;
        let described = described(&table)?;
        if self.json {
            return output::json(&described);
        }
        output::fields(&[
            ("name", Some(table.name.clone())),
            ("description", Some(table.description.clone())),
            ("calls", Some(target(&table))),
            ("address", Some(address(settings, self.company.as_deref(), &table.name))),
            ("methods", Some(table.methods.join(", "))),
            ("companies", (!table.companies.is_empty()).then(|| table.companies.join(", "))),
            ("timeout", Some(format!("{} ms", table.timeout_ms))),
        ])?;
        output::json(&described["parameters"])
    }
}

impl Schema {
    fn run(&self, settings: &Settings) -> Done {
        let company = self.company.as_deref();
        let known = |slug: &str| slug == DEFAULT_SLUG || settings.companies.iter().any(|company| company.slug == slug);
        if let Some(slug) = company.filter(|slug| !known(slug)) {
            return Err(Failure::Because(format!("there is no company `{}` in [[companies]]", output::plain(slug))));
        }
        let tables = tables(settings)?;
        let own = tables.iter().filter(|table| table.is_for(company.unwrap_or(DEFAULT_SLUG)));
        let tools = own.map(|table| tool(settings, company, table)).collect::<Result<Vec<_>, _>>()?;
        output::json(&tools)
    }
}

fn address(settings: &Settings, company: Option<&str>, name: &str) -> String {
    format!("{}{}", settings.server.public_url(settings.server.port), function_path(company, name))
}

fn tool(settings: &Settings, company: Option<&str>, table: &FunctionSettings) -> Result<Value, Failure> {
    let mut schema = parameters(table)?;
    if let Value::Object(fields) = &mut schema {
        fields.entry("type").or_insert_with(|| "object".into());
        fields.entry("properties").or_insert_with(|| json!({}));
    }
    Ok(json!({
        "type": "custom",
        "name": table.name,
        "description": table.description,
        "url": address(settings, company, &table.name),
        "method": table.methods.first(),
        "parameters": schema,
        "timeout_ms": (table.timeout_ms + AHEAD_MS).clamp(1_000, 600_000),
    }))
}
