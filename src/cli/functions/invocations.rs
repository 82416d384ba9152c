//! `functions calls`: what was called, and what came of it.

use clap::{Args, ValueEnum};

use crate::cli::context;
use crate::cli::list_args::CommonListArgs;
use crate::cli::output::{self, CliError, CliResult};
use crate::storage::{InvocationFilter, InvocationRow, InvocationState, InvocationStore};

/// So much of an answer fits a table.
const MAX_ANSWER_CHARS: usize = 60;

#[derive(Debug, Args)]
pub(in crate::cli) struct FunctionsCallsArgs {
    /// Those of this function
    name: Option<String>,
    /// Only this one, in full
    #[arg(long, value_name = "ID", conflicts_with = "name")]
    invocation: Option<String>,
    /// Those in this call or chat
    #[arg(long, value_name = "ID")]
    call_id: Option<String>,
    /// Those that stand so
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<InvocationStateArg>,
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
        let one = self.invocation.is_some();
        let filter = InvocationFilter {
            idempotency_key: self.invocation,
            function: self.name,
            call_id: self.call_id,
            state: self.state.map(InvocationState::from),
        };
        let rows = context::open_store()?.list_invocations(filter, self.list.limit).await?;
        if self.list.json {
            return output::print_json(&rows);
        }
        if one {
            let none = || CliError::Message("there is no such invocation; they are kept for a day".to_owned());
            return print_invocation(rows.into_iter().next().ok_or_else(none)?);
        }
        let header = ["received", "company", "function", "call", "invocation", "state", "took", "answer"];
        output::print_table(
            &header,
            rows.into_iter().map(invocation_cells).collect(),
            "no function has been called so within a day",
        )
    }
}

fn format_duration(row: &InvocationRow) -> Option<String> {
    row.ended_at_ms.map(|ended| format!("{} ms", ended - row.received_at_ms))
}

fn invocation_cells(row: InvocationRow) -> Vec<String> {
    let took = format_duration(&row).unwrap_or_default();
    let mark = if row.truncated { "(cut) " } else { "" };
    let said = row.reason.or(row.answer).unwrap_or_default();
    let said = format!("{mark}{}", output::sanitize(&said.chars().take(MAX_ANSWER_CHARS).collect::<String>()));
    let (call, state) = (row.call_id.unwrap_or_default(), row.state.as_str().to_owned());
    vec![
        output::format_time(row.received_at_ms),
        row.company,
        row.function,
        call,
        row.idempotency_key,
        state,
        took,
        said,
    ]
}

fn print_invocation(row: InvocationRow) -> CliResult {
    let took = format_duration(&row);
    let cut = row.truncated.then(|| "yes, to the 15000 characters that Retell passes on".to_owned());
    output::print_fields(&[
        ("invocation", Some(row.idempotency_key)),
        ("received", Some(output::format_time(row.received_at_ms))),
        ("company", Some(row.company)),
        ("function", Some(row.function)),
        ("call", row.call_id),
        ("tool call", row.tool_call_id),
        ("state", Some(row.state.as_str().to_owned())),
        ("took", took),
        ("times called", Some(row.runs.to_string())),
        ("failed with", row.reason),
        ("arguments", row.arguments),
        ("cut", cut),
        ("answer", row.answer),
    ])
}
