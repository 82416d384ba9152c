use clap::Args;

use super::super::context;
use super::super::list_args::{ListFilterArgs, empty_text};
use super::super::output::{self, CliResult};
use super::display::{CallDisplayArgs, base_view, format_duration, yes_or_no};
use crate::calls::{CallFilter, CallKind};
use crate::operations::conversations::list_conversations;
use crate::view::{CallView, ChatView, ConversationView};

const CALL_COLUMNS: [&str; 12] = [
    "LAST EVENT",
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
const CHAT_COLUMNS: [&str; 8] = ["LAST EVENT", "CHAT", "TYPE", "STATUS", "DURATION", "SENTIMENT", "SUCCESS", ""];

#[derive(Debug, Args)]
pub(in crate::cli) struct CallsListArgs {
    #[command(flatten)]
    filter: ListFilterArgs,
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
    pub(super) async fn run(self, kind: CallKind) -> CliResult {
        let store = context::open_store()?;
        let CallsListArgs { filter, agent, no_tests, limit, display } = self;
        let is_filtered = filter.is_set() || agent.is_some() || no_tests;
        let filter = CallFilter {
            kind,
            since_ms: filter.since_ms(),
            until_ms: filter.until_ms(),
            company: filter.company,
            agent_id: agent,
            include_tests: !no_tests,
            limit,
        };
        let conversations = list_conversations(&*store, context::PRINCIPAL, filter, display.reveal).await?;
        if display.json {
            return output::print_json(&conversations);
        }
        let header = match kind {
            CallKind::Call => &CALL_COLUMNS[..],
            CallKind::Chat => &CHAT_COLUMNS[..],
        };
        let nothing =
            format!("no {} are stored; send one with: retell-webhook send {}_ended", kind.plural(), kind.as_str());
        let empty = empty_text(kind.plural(), is_filtered, &nothing);
        output::print_table(header, conversations.iter().map(conversation_row).collect(), &empty)
    }
}

fn text_or_dash(text: Option<impl AsRef<str>>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.as_ref().to_owned())
}

fn conversation_row(conversation: &ConversationView) -> Vec<String> {
    let base = base_view(conversation);
    let mut row = vec![output::format_time(base.last_event_at_ms)];
    match conversation {
        ConversationView::Call(call) => row.extend(call_cells(call)),
        ConversationView::Chat(chat) => row.extend(chat_cells(chat)),
    }
    row.push(if base.test { "test" } else { "" }.to_owned());
    row
}

fn call_cells(call: &CallView) -> [String; 10] {
    [
        call.call_id.clone(),
        text_or_dash(call.direction.as_ref().or(call.call_type.as_ref())),
        text_or_dash(call.from_number.as_ref()),
        text_or_dash(call.to_number.as_ref()),
        text_or_dash(call.call_status.as_ref()),
        text_or_dash(call.base.duration_ms.map(format_duration)),
        text_or_dash(call.disconnection_reason.as_ref()),
        text_or_dash(call.base.user_sentiment.as_ref()),
        text_or_dash(call.call_successful.map(yes_or_no)),
        text_or_dash(call.transfer_state),
    ]
}

fn chat_cells(chat: &ChatView) -> [String; 6] {
    [
        chat.chat_id.clone(),
        text_or_dash(chat.chat_type.as_ref()),
        text_or_dash(chat.chat_status.as_ref()),
        text_or_dash(chat.base.duration_ms.map(format_duration)),
        text_or_dash(chat.base.user_sentiment.as_ref()),
        text_or_dash(chat.chat_successful.map(yes_or_no)),
    ]
}
