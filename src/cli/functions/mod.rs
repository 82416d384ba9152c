//! `functions list|show|test|calls|schema|export|import`.

mod exchange;
mod test;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::exchange::{Import, export};
use self::test::Test;
use super::output::{self, Done, Failure};
use super::stores;
use crate::answers::functions::{function_path, parameters};
use crate::config::{DEFAULT_SLUG, FunctionSettings, Settings};
use crate::storage::Invocations;

/// Retell is told to wait so much longer than the receiver does, so that the fallback reaches it.
const AHEAD_MS: u64 = 5_000;

#[derive(Debug, Subcommand)]
pub(super) enum Functions {
    /// List the configured functions
    List(Json),
    /// Show one function
    Show(Show),
    /// Call a function of a running receiver, signed as Retell would (exit code 0 when it answered, 1 when it could not)
    Test(Test),
    /// List invocations, newest first: arguments, answer, what went wrong
    Calls(Calls),
    /// Print the tool objects for `general_tools` of a Retell LLM, with this receiver's addresses
    Schema(Schema),
    /// Print the configured functions as JSON, without secrets
    Export,
    /// Print [[functions]] tables for what `export` printed, or for a Retell agent's tools, to be put into config/local.toml
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
pub(super) struct Calls {
    /// Those of this function
    name: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Print one JSON array
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

fn list(settings: &Settings, json: bool) -> Done {
    let tables = &settings.functions;
    if json {
        return output::json(&tables.iter().map(described).collect::<Result<Vec<_>, _>>()?);
    }
    let row = |table: &FunctionSettings| {
        let companies = if table.companies.is_empty() { "all".to_owned() } else { table.companies.join(", ") };
        let timeout = format!("{} ms", table.timeout_ms);
        vec![table.name.clone(), target(table), table.methods.join(", "), companies, timeout]
    };
    let rows = tables.iter().map(row).collect();
    let empty = "no [[functions]] are configured; docs/functions.md shows how";
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

fn find<'a>(settings: &'a Settings, name: &str, company: Option<&str>) -> Result<&'a FunctionSettings, Failure> {
    let company = company.unwrap_or(DEFAULT_SLUG);
    let own = settings.functions.iter().find(|table| table.name == name && table.is_for(company));
    own.ok_or_else(|| {
        let name = output::plain(name);
        Failure::Because(format!("there is no function `{name}` of the company `{company}`; see `functions list`"))
    })
}

impl Show {
    fn run(&self, settings: &Settings) -> Done {
        let table = find(settings, &self.name, self.company.as_deref())?;
        let described = described(table)?;
        if self.json {
            return output::json(&described);
        }
        output::fields(&[
            ("name", Some(table.name.clone())),
            ("description", Some(table.description.clone())),
            ("calls", Some(target(table))),
            ("address", Some(address(settings, self.company.as_deref(), &table.name))),
            ("methods", Some(table.methods.join(", "))),
            ("companies", (!table.companies.is_empty()).then(|| table.companies.join(", "))),
            ("timeout", Some(format!("{} ms", table.timeout_ms))),
        ])?;
        output::json(&described["parameters"])
    }
}

impl Calls {
    async fn run(self) -> Done {
        let rows = stores::open()?.invocations(self.name, self.limit).await?;
        if self.json {
            return output::json(&rows);
        }
        let short =
            |text: Option<String>| output::plain(&text.unwrap_or_default().chars().take(60).collect::<String>());
        let rows = rows.into_iter().map(|row| {
            let took = row.ended_at_ms.map(|ended| format!("{} ms", ended - row.received_at_ms)).unwrap_or_default();
            let said = row.reason.or(row.answer);
            let (call, state) = (row.call_id.unwrap_or_default(), row.state.as_str().to_owned());
            vec![output::time(row.received_at_ms), row.company, row.function, call, state, took, short(said)]
        });
        let header = ["received", "company", "function", "call", "state", "took", "answer"];
        output::table(&header, rows.collect(), "no function has been called within a day")
    }
}

impl Schema {
    fn run(&self, settings: &Settings) -> Done {
        let company = self.company.as_deref();
        let known = |slug: &str| slug == DEFAULT_SLUG || settings.companies.iter().any(|company| company.slug == slug);
        if let Some(slug) = company.filter(|slug| !known(slug)) {
            return Err(Failure::Because(format!("there is no company `{}` in [[companies]]", output::plain(slug))));
        }
        let own = settings.functions.iter().filter(|table| table.is_for(company.unwrap_or(DEFAULT_SLUG)));
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
