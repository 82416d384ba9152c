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
    /// List refused requests, newest first
    List(RejectedListArgs),
    /// Show one refused request, and why it was refused
    Show(RejectedShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct RejectedListArgs {
    #[command(flatten)]
    list: CommonListArgs,
}

#[derive(Debug, Args)]
pub(super) struct RejectedShowArgs {
    /// Its id, as `rejected list` prints it
    id: RejectedId,
    /// Print the raw body and nothing else, if it was kept (`security.keep_rejected_bodies`)
    #[arg(long, conflicts_with = "json")]
    body: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RejectedCommand {
    pub(super) async fn run(self) -> CliResult {
        let store = context::open_store()?;
        match self {
            Self::List(list) => list.run(&store).await,
            Self::Show(show) => show.run(&store).await,
        }
    }
}

impl RejectedListArgs {
    async fn run(self, store: &impl Store) -> CliResult {
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
        let header = ["RECEIVED (UTC)", "ID", "FROM", "SIZE", "REASON", "WHAT HAPPENED"];
        output::print_table(&header, rows.collect(), "no refused requests; those that come in floods are counted only")
    }
}

/// The start of the diagnosis; the whole is in `show`.
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
        "body_kept": has_body,
    })
}

impl RejectedShowArgs {
    async fn run(self, store: &impl Store) -> CliResult {
        let missing = || {
            CliError::Message(format!(
                "there is no refused request {}: `retell-webhook rejected list` prints those that are kept, the latest 1000",
                self.id
            ))
        };
        let rejected = store.get_rejected(self.id).await?.ok_or_else(missing)?;
        if self.body {
            let kept = rejected.request.body.ok_or_else(|| {
                CliError::Message(
                    "its body was not kept; set security.keep_rejected_bodies = true to keep those to come (up to 64 KiB)"
                        .into(),
                )
            })?;
            return output::ignore_broken_pipe(io::stdout().lock().write_all(&kept));
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
    output::print_line("\nheaders that are kept")?;
    for (name, value) in &request.headers {
        output::print_line(format!("  {}: {}", output::sanitize(name), output::sanitize(value)))?;
    }
    if *has_body { output::print_line("\nThe body: --body") } else { Ok(()) }
}
