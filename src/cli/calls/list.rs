//! `calls list`, `chats list`.

use clap::Args;

use super::super::output::{self, Done};
use super::record::{Form, duration, noun, yes_or_no};
use crate::storage::{CallFilter, CallKind, CallRecord, Store};

const CALLS: [&str; 12] = [
    "LAST EVENT (UTC)",
    "CALL",
    "DIRECTION",
    "FROM",
    "TO",
    "STATUS",
    "DURATION",
    "ENDED BY",
    "MOOD",
    "SUCCESS",
    "TRANSFER",
    "",
];
const CHATS: [&str; 8] = ["LAST EVENT (UTC)", "CHAT", "TYPE", "STATUS", "DURATION", "MOOD", "SUCCESS", ""];

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only those of this company
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Only those of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Leave out those of tests (ids that begin with `call_test_` or `chat_test_`)
    #[arg(long)]
    no_tests: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    form: Form,
}

impl List {
    pub(super) async fn run(self, store: &impl Store, kind: CallKind) -> Done {
        let List { company, agent, no_tests, limit, form } = self;
        let found = store.calls(CallFilter { kind, company, agent, tests: !no_tests, limit }).await?;
        if form.json {
            return output::json(&found.iter().map(|call| form.describe(call)).collect::<Vec<_>>());
        }
        let noun = noun(kind);
        let empty = format!("no {noun}; send one with: retell-webhook send {}_ended", kind.as_str());
        match kind {
            CallKind::Call => {
                let rows = found.iter().map(|call| call_row(call, &form));
                output::table(&CALLS, rows.collect(), &empty)
            }
            CallKind::Chat => output::table(&CHATS, found.iter().map(chat_row).collect(), &empty),
        }
    }
}

fn shown(text: Option<impl AsRef<str>>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| output::plain(text.as_ref()))
}

fn mark(call: &CallRecord) -> String {
    if call.is_test() { "test" } else { "" }.to_owned()
}

fn call_row(call: &CallRecord, form: &Form) -> Vec<String> {
    vec![
        output::time(call.last_event_at_ms),
        output::plain(&call.call_id),
        shown(call.direction.as_ref().or(call.call_type.as_ref())),
        shown(form.number(call.from_number.as_ref())),
        shown(form.number(call.to_number.as_ref())),
        shown(call.call_status.as_ref()),
        shown(call.duration_ms.map(duration)),
        shown(call.disconnection_reason.as_ref()),
        shown(call.user_sentiment.as_ref()),
        shown(call.call_successful.map(yes_or_no)),
        shown(call.transfer_state()),
        mark(call),
    ]
}

fn chat_row(chat: &CallRecord) -> Vec<String> {
    vec![
        output::time(chat.last_event_at_ms),
        output::plain(&chat.call_id),
        shown(chat.call_type.as_ref()),
        shown(chat.call_status.as_ref()),
        shown(chat.duration_ms.map(duration)),
        shown(chat.user_sentiment.as_ref()),
        shown(chat.call_successful.map(yes_or_no)),
        mark(chat),
    ]
}
