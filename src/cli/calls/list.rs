//! `calls list`, `chats list`.

use clap::Args;

use super::super::output::{self, CliResult};
use super::display::{CallDisplayArgs, format_duration, kind_plural, yes_or_no};
use crate::calls::{CallFilter, CallKind, CallRecord};
use crate::storage::Store;

const CALL_COLUMNS: [&str; 12] = [
    "LAST EVENT (UTC)",
    "CALL",
    "DIRECTION",
    "FROM",
    "TO",
    "STATUS",
    "DURATION",
    "ENDED BY",
    "SENTIMENT",
    "SUCCESS",
    "TRANSFER",
    "",
];
const CHAT_COLUMNS: [&str; 8] = ["LAST EVENT (UTC)", "CHAT", "TYPE", "STATUS", "DURATION", "SENTIMENT", "SUCCESS", ""];

#[derive(Debug, Args)]
pub(in crate::cli) struct CallsListArgs {
    /// Only calls or chats of the company with this slug
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Only calls or chats of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Exclude tests: ids that begin with `call_test_` or `chat_test_`
    #[arg(long)]
    no_tests: bool,
    /// Print at most N rows
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    display: CallDisplayArgs,
}

impl CallsListArgs {
    pub(super) async fn run(self, store: &dyn Store, kind: CallKind) -> CliResult {
        let CallsListArgs { company, agent, no_tests, limit, display } = self;
        let calls =
            store.list_calls(CallFilter { kind, company, agent_id: agent, include_tests: !no_tests, limit }).await?;
        if display.json {
            return output::print_json(&calls.iter().map(|call| display.call_json(call)).collect::<Vec<_>>());
        }
        let noun = kind_plural(kind);
        let empty = format!("no {noun}; send one with: retell-webhook send {}_ended", kind.as_str());
        match kind {
            CallKind::Call => {
                let rows = calls.iter().map(|call| call_row(call, &display));
                output::print_table(&CALL_COLUMNS, rows.collect(), &empty)
            }
            CallKind::Chat => output::print_table(&CHAT_COLUMNS, calls.iter().map(chat_row).collect(), &empty),
        }
    }
}

fn text_or_dash(text: Option<impl AsRef<str>>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| output::sanitize(text.as_ref()))
}

fn test_mark(call: &CallRecord) -> String {
    if call.is_test() { "test" } else { "" }.to_owned()
}

fn call_row(call: &CallRecord, display: &CallDisplayArgs) -> Vec<String> {
    vec![
        output::format_time(call.last_event_at_ms),
        output::sanitize(&call.call_id),
        text_or_dash(call.direction.as_ref().or(call.call_type.as_ref())),
        text_or_dash(display.format_number(call.from_number.as_ref())),
        text_or_dash(display.format_number(call.to_number.as_ref())),
        text_or_dash(call.call_status.as_ref()),
        text_or_dash(call.duration_ms.map(format_duration)),
        text_or_dash(call.disconnection_reason.as_ref()),
        text_or_dash(call.user_sentiment.as_ref()),
        text_or_dash(call.call_successful.map(yes_or_no)),
        text_or_dash(call.transfer_state()),
        test_mark(call),
    ]
}

fn chat_row(chat: &CallRecord) -> Vec<String> {
    vec![
        output::format_time(chat.last_event_at_ms),
        output::sanitize(&chat.call_id),
        text_or_dash(chat.call_type.as_ref()),
        text_or_dash(chat.call_status.as_ref()),
        text_or_dash(chat.duration_ms.map(format_duration)),
        text_or_dash(chat.user_sentiment.as_ref()),
        text_or_dash(chat.call_successful.map(yes_or_no)),
        test_mark(chat),
    ]
}
