//! `rejected list|show`.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context;
use super::list_args::CommonListArgs;
use super::output::{self, CliError, CliResult};
use crate::storage::{RejectedId, Store, StoredRejectedRequest as Row};

#[derive(Debug, Subcommand)]
pub(super) enum RejectedCommand {
    /// List rejected requests, newest first
    List(RejectedListArgs),
    /// Show one rejected request and the diagnosis of its signature
    Show(RejectedShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct RejectedListArgs {
    #[command(flatten)]
    list: CommonListArgs,
}

#[derive(Debug, Args)]
pub(super) struct RejectedShowArgs {
    /// Id of the rejected request, as `rejected list` prints it
    id: RejectedId,
    /// Print only the raw body; it is stored when `security.keep_rejected_bodies` is on
    #[arg(long, conflicts_with = "json")]
    body: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl RejectedCommand {
    pub(super) async fn run(self) -> CliResult {
        let store = context::open_store()?;
        match self {
            Self::List(list) => list.run(&*store).await,
            Self::Show(show) => show.run(&*store).await,
        }
    }
}

impl RejectedListArgs {
    async fn run(self, store: &dyn Store) -> CliResult {
        let rejected = store.list_rejected(self.list.limit).await?;
        if self.list.json {
            return output::print_json(&rejected.iter().map(rejected_json).collect::<Vec<_>>());
        }
        let rows = rejected.iter().map(|Row { id, request, .. }| {
            vec![
                output::format_time(request.received_at_ms),
                id.to_string(),
                output::sanitize(request.source.as_deref().unwrap_or("-")),
                request.size_bytes.map_or("-".into(), output::format_bytes),
                request.reason.clone(),
                output::sanitize(&truncate_diagnosis(&request.diagnosis)),
            ]
        });
        let header = ["RECEIVED (UTC)", "ID", "FROM", "SIZE", "REASON", "DIAGNOSIS"];
        output::print_table(
            &header,
            rows.collect(),
            "no rejected requests are stored; of many in a short time most are only counted",
        )
    }
}

/// The start of the diagnosis; `rejected show` prints all of it.
fn truncate_diagnosis(diagnosis: &str) -> String {
    let end = diagnosis.floor_char_boundary(72);
    let cut = if end < diagnosis.len() { "…" } else { "" };
    format!("{}{cut}", &diagnosis[..end])
}

fn rejected_json(Row { id, request, has_body }: &Row) -> Value {
    json!({
        "id": id.to_string(),
        "company": request.company,
        "received_at_ms": request.received_at_ms,
        "source": request.source,
        "method": request.method,
        "path": request.path,
        "headers": request.headers,
        "size_bytes": request.size_bytes,
        "reason": request.reason,
        "diagnosis": request.diagnosis,
        "has_body": has_body,
    })
}

impl RejectedShowArgs {
    async fn run(self, store: &dyn Store) -> CliResult {
        let Some(rejected) = store.get_rejected(self.id).await? else {
            return Err(CliError::Message(format!(
                "no rejected request has the id {}; `retell-webhook rejected list` prints the ids \
                 (the latest 1000 are kept)",
                self.id
            )));
        };
        if self.body {
            let Some(body) = rejected.request.body else {
                return Err(CliError::Message(format!(
                    "the body of {} was not stored; set security.keep_rejected_bodies = true to store the bodies of \
                     future rejected requests (up to 64 KiB each)",
                    self.id
                )));
            };
            return output::ignore_broken_pipe(io::stdout().lock().write_all(&body));
        }
        if self.json {
            return output::print_json(&rejected_json(&rejected));
        }
        print_rejected(&rejected)
    }
}

fn print_rejected(Row { id, request, has_body }: &Row) -> CliResult {
    output::print_fields(&[
        ("id", Some(id.to_string())),
        ("company", request.company.clone()),
        ("received (UTC)", Some(output::format_time(request.received_at_ms))),
        ("from", request.source.clone()),
        ("request", Some(format!("{} {}", request.method, request.path))),
        ("size", request.size_bytes.map(output::format_bytes)),
        ("reason", Some(request.reason.clone())),
        ("diagnosis", Some(request.diagnosis.clone())),
    ])?;
    output::print_line("\nstored headers")?;
    for (name, value) in &request.headers {
        output::print_line(format!("  {}: {}", output::sanitize(name), output::sanitize(value)))?;
    }
    if *has_body { output::print_line("\nTo print the body: --body") } else { Ok(()) }
}
