//! `functions calls`: what was called, and what came of it.

use clap::{Args, ValueEnum};

use crate::cli::listing::Listing;
use crate::cli::output::{self, Done, Failure};
use crate::cli::stores;
use crate::storage::{InvocationFilter, InvocationRow, InvocationState, Invocations};

/// So much of an answer fits a table.
const SHORT: usize = 60;

#[derive(Debug, Args)]
pub(in crate::cli) struct Calls {
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
    state: Option<State>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Running,
    Done,
    Invalid,
    Failed,
}

impl From<State> for InvocationState {
    fn from(state: State) -> Self {
        match state {
            State::Running => Self::Running,
            State::Done => Self::Done,
            State::Invalid => Self::Invalid,
            State::Failed => Self::Failed,
        }
    }
}

impl Calls {
    pub(super) async fn run(self) -> Done {
        let one = self.invocation.is_some();
        let filter = InvocationFilter {
            invocation: self.invocation,
            function: self.name,
            call_id: self.call_id,
            state: self.state.map(InvocationState::from),
        };
        let rows = stores::open()?.invocations(filter, self.listing.limit).await?;
        if self.listing.json {
            return output::json(&rows);
        }
        if one {
            let none = || Failure::Because("there is no such invocation; they are kept for a day".to_owned());
            return show(rows.into_iter().next().ok_or_else(none)?);
        }
        let header = ["received", "company", "function", "call", "invocation", "state", "took", "answer"];
        output::table(&header, rows.into_iter().map(row).collect(), "no function has been called so within a day")
    }
}

fn took(row: &InvocationRow) -> Option<String> {
    row.ended_at_ms.map(|ended| format!("{} ms", ended - row.received_at_ms))
}

fn row(row: InvocationRow) -> Vec<String> {
    let took = took(&row).unwrap_or_default();
    let mark = if row.cut { "(cut) " } else { "" };
    let said = row.reason.or(row.answer).unwrap_or_default();
    let said = format!("{mark}{}", output::plain(&said.chars().take(SHORT).collect::<String>()));
    let (call, state) = (row.call_id.unwrap_or_default(), row.state.as_str().to_owned());
    vec![output::time(row.received_at_ms), row.company, row.function, call, row.invocation, state, took, said]
}

fn show(row: InvocationRow) -> Done {
    let took = took(&row);
    let cut = row.cut.then(|| "yes, to the 15000 characters that Retell passes on".to_owned());
    output::fields(&[
        ("invocation", Some(row.invocation)),
        ("received", Some(output::time(row.received_at_ms))),
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
