use clap::{Args, Subcommand};

use super::context;
use super::list_args::{CommonListArgs, ListFilterArgs, empty_text};
use super::output::{self, CliResult};
use crate::operations;
use crate::storage::{RejectedFilter, RejectedId};
use crate::view::RejectedRequestView;

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
    filter: ListFilterArgs,
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
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
        }
    }
}

impl RejectedListArgs {
    async fn run(self) -> CliResult {
        let store = context::open_store()?;
        let is_filtered = self.filter.is_set();
        let (since_ms, until_ms) = (self.filter.since_ms(), self.filter.until_ms());
        let filter = RejectedFilter { company: self.filter.company, since_ms, until_ms };
        let rejected =
            operations::rejected::list_rejected_requests(&*store, context::PRINCIPAL, filter, self.list.limit).await?;
        if self.list.json {
            return output::print_json(&rejected);
        }
        let rows = rejected.iter().map(|request| {
            vec![
                output::format_time(request.received_at_ms),
                request.id.clone(),
                request.source.clone().unwrap_or_else(|| "-".to_owned()),
                request.size_bytes.map_or("-".into(), output::format_bytes),
                request.reason.as_str().to_owned(),
                truncate_diagnosis(&request.diagnosis),
            ]
        });
        let header = ["RECEIVED", "ID", "FROM", "SIZE", "REASON", "DIAGNOSIS"];
        let nothing = "no rejected requests are stored; of many in a short time most are only counted";
        output::print_table(&header, rows.collect(), &empty_text("rejected requests", is_filtered, nothing))
    }
}

/// The start of the diagnosis; `rejected show` prints all of it.
fn truncate_diagnosis(diagnosis: &str) -> String {
    let end = diagnosis.floor_char_boundary(72);
    let cut = if end < diagnosis.len() { "…" } else { "" };
    format!("{}{cut}", &diagnosis[..end])
}

impl RejectedShowArgs {
    async fn run(self) -> CliResult {
        let store = context::open_store()?;
        if self.body {
            let body = operations::rejected::rejected_request_body(&*store, context::PRINCIPAL, self.id).await?;
            return output::print_body(&body);
        }
        let rejected = operations::rejected::show_rejected_request(&*store, context::PRINCIPAL, self.id).await?;
        if self.json { output::print_json(&rejected) } else { print_rejected(&rejected) }
    }
}

fn print_rejected(request: &RejectedRequestView) -> CliResult {
    output::print_fields(&[
        ("id", Some(request.id.clone())),
        ("company", request.company.clone()),
        ("received", Some(output::format_time(request.received_at_ms))),
        ("from", request.source.clone()),
        ("request", Some(format!("{} {}", request.method, request.path))),
        ("size", request.size_bytes.map(output::format_bytes)),
        ("reason", Some(request.reason.as_str().to_owned())),
        ("diagnosis", Some(request.diagnosis.clone())),
    ])?;
    output::print_line("\nstored headers")?;
    for (name, value) in &request.headers {
        output::print_line(format!("  {}: {}", output::escape_text(name), output::escape_text(value)))?;
    }
    if request.has_body { output::print_line("\nTo print the body: --body") } else { Ok(()) }
}
