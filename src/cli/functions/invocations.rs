//! `functions calls`: the invocation ledger.

use clap::{Args, ValueEnum};

use crate::cli::context;
use crate::cli::list_args::{CommonListArgs, ListFilterArgs, empty_text};
use crate::cli::output::{self, CliResult};
use crate::operations::functions::{list_invocations, show_invocation};
use crate::storage::{InvocationFilter, InvocationState};
use crate::view::InvocationView;

/// Characters of an answer or error that the table shows.
const MAX_ANSWER_CHARS: usize = 60;

#[derive(Debug, Args)]
pub(in crate::cli) struct FunctionsCallsArgs {
    /// Only invocations of this function
    name: Option<String>,
    /// Show only this invocation, in full
    #[arg(long, value_name = "ID", conflicts_with = "name")]
    invocation: Option<String>,
    /// Only invocations in this call or chat
    #[arg(long, value_name = "ID")]
    call_id: Option<String>,
    /// Only invocations in this state
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<InvocationStateArg>,
    #[command(flatten)]
    filter: ListFilterArgs,
    #[command(flatten)]
    list: CommonListArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InvocationStateArg {
    Running,
    Done,
    #[value(name = "invalid_arguments")]
    InvalidArguments,
    Failed,
}

impl From<InvocationStateArg> for InvocationState {
    fn from(state: InvocationStateArg) -> Self {
        match state {
            InvocationStateArg::Running => Self::Running,
            InvocationStateArg::Done => Self::Done,
            InvocationStateArg::InvalidArguments => Self::InvalidArguments,
            InvocationStateArg::Failed => Self::Failed,
        }
    }
}

impl FunctionsCallsArgs {
    pub(super) async fn run(self) -> CliResult {
        let shows_one = self.invocation.is_some();
        let filter = InvocationFilter {
            idempotency_key: self.invocation,
            function: self.name,
            call_id: self.call_id,
            state: self.state.map(InvocationState::from),
            since_ms: self.filter.since_ms(),
            until_ms: self.filter.until_ms(),
            company: self.filter.company,
        };
        let is_filtered = filter != InvocationFilter::default();
        let store = context::open_store()?;
        if shows_one && !self.list.json {
            return print_invocation(show_invocation(&*store, context::PRINCIPAL, filter).await?);
        }
        let rows = list_invocations(&*store, context::PRINCIPAL, filter, self.list.limit).await?;
        if self.list.json {
            return output::print_json(&rows);
        }
        let header = ["RECEIVED", "COMPANY", "FUNCTION", "CALL", "INVOCATION", "STATE", "DURATION", "ANSWER"];
        let rows = rows.into_iter().map(invocation_cells).collect();
        let nothing = "no function was invoked; invocations are kept for one day after they end";
        output::print_table(&header, rows, &empty_text("invocations", is_filtered, nothing))
    }
}

fn format_duration(row: &InvocationView) -> Option<String> {
    row.ended_at_ms.map(|ended| format!("{} ms", ended - row.received_at_ms))
}

fn invocation_cells(row: InvocationView) -> Vec<String> {
    let duration = format_duration(&row).unwrap_or_default();
    let mark = if row.truncated { "(truncated) " } else { "" };
    let answer = row.reason.or(row.answer).unwrap_or_default();
    let answer: String = answer.chars().take(MAX_ANSWER_CHARS).collect();
    vec![
        output::format_time(row.received_at_ms),
        row.company,
        row.function,
        row.call_id.unwrap_or_default(),
        row.invocation,
        row.state.as_str().to_owned(),
        duration,
        format!("{mark}{answer}"),
    ]
}

fn print_invocation(row: InvocationView) -> CliResult {
    let duration = format_duration(&row);
    let truncated = row.truncated.then(|| "yes, to the 15000 characters that Retell passes on".to_owned());
    output::print_fields(&[
        ("invocation", Some(row.invocation)),
        ("received", Some(output::format_time(row.received_at_ms))),
        ("company", Some(row.company)),
        ("function", Some(row.function)),
        ("call", row.call_id),
        ("tool call", row.tool_call_id),
        ("state", Some(row.state.as_str().to_owned())),
        ("duration", duration),
        ("runs", Some(row.runs.to_string())),
        ("error", row.reason),
        ("arguments", row.arguments),
        ("truncated", truncated),
        ("answer", row.answer),
    ])
}
