//! `rejected list|show`.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::listing::Listing;
use super::output::{self, Done, Failure};
use super::stores;
use crate::storage::{Rejected as Row, RejectedId, Store};

#[derive(Debug, Subcommand)]
pub(super) enum Rejected {
    /// List refused requests, newest first
    List(List),
    /// Show one refused request, and why it was refused
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Its id, as `rejected list` prints it
    id: RejectedId,
    /// Print the raw body and nothing else, if it was kept (`security.keep_rejected_bodies`)
    #[arg(long, conflicts_with = "json")]
    body: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Rejected {
    pub(super) async fn run(self) -> Done {
        let store = stores::open()?;
        match self {
            Self::List(list) => list.run(&store).await,
            Self::Show(show) => show.run(&store).await,
        }
    }
}

impl List {
    async fn run(self, store: &impl Store) -> Done {
        let rejected = store.rejected(self.listing.limit).await?;
        if self.listing.json {
            return output::json(&rejected.iter().map(describe).collect::<Vec<_>>());
        }
        let rows = rejected.iter().map(|Row { id, request, .. }| {
            vec![
                output::time(request.received_at_ms),
                id.to_string(),
                output::plain(request.source.as_deref().unwrap_or("-")),
                request.size_bytes.map_or("-".into(), output::size),
                request.reason.clone(),
                output::plain(&happened(&request.diagnosis)),
            ]
        });
        let header = ["RECEIVED (UTC)", "ID", "FROM", "SIZE", "REASON", "WHAT HAPPENED"];
        output::table(&header, rows.collect(), "no refused requests; those that come in floods are counted only")
    }
}

/// The start of the diagnosis; the whole is in `show`.
fn happened(diagnosis: &str) -> String {
    let end = diagnosis.floor_char_boundary(72);
    let cut = if end < diagnosis.len() { "…" } else { "" };
    format!("{}{cut}", &diagnosis[..end])
}

fn describe(Row { id, request, has_body }: &Row) -> Value {
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

impl Show {
    async fn run(self, store: &impl Store) -> Done {
        let missing = || {
            Failure::Because(format!(
                "there is no refused request {}: `retell-webhook rejected list` prints those that are kept, the latest 1000",
                self.id
            ))
        };
        let rejected = store.rejected_by_id(self.id).await?.ok_or_else(missing)?;
        if self.body {
            let kept = rejected.request.body.ok_or_else(|| {
                Failure::Because(
                    "its body was not kept; set security.keep_rejected_bodies = true to keep those to come (up to 64 KiB)"
                        .into(),
                )
            })?;
            return output::ignore_closed(io::stdout().lock().write_all(&kept));
        }
        if self.json {
            return output::json(&describe(&rejected));
        }
        show(&rejected)
    }
}

fn show(Row { id, request, has_body }: &Row) -> Done {
    output::fields(&[
        ("id", Some(id.to_string())),
        ("company", request.company.clone()),
        ("received (UTC)", Some(output::time(request.received_at_ms))),
        ("from", request.source.clone()),
        ("request", Some(format!("{} {}", request.method, request.path))),
        ("size", request.size_bytes.map(output::size)),
        ("reason", Some(request.reason.clone())),
        ("diagnosis", Some(request.diagnosis.clone())),
    ])?;
    output::line("\nheaders that are kept")?;
    for (name, value) in &request.headers {
        output::line(format!("  {}: {}", output::plain(name), output::plain(value)))?;
    }
    if *has_body { output::line("\nThe body: --body") } else { Ok(()) }
}
