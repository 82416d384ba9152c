//! How a call or chat is shown. Phone numbers are shortened and the conversation is hidden unless `--reveal` is given.

use clap::Args;

use crate::view::{ConversationBaseView, ConversationView};

#[derive(Debug, Args)]
pub(super) struct CallDisplayArgs {
    /// Print JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
    /// Print full phone numbers, and in `show` the summary and the custom analysis data
    #[arg(long)]
    pub(super) reveal: bool,
}

/// The fields that calls and chats share.
pub(super) fn base_view(conversation: &ConversationView) -> &ConversationBaseView {
    match conversation {
        ConversationView::Call(call) => &call.base,
        ConversationView::Chat(chat) => &chat.base,
    }
}

/// A duration in minutes and seconds: `1:05`.
pub(super) fn format_duration(ms: i64) -> String {
    format!("{}:{:02}", ms / 60_000, (ms / 1000) % 60)
}

pub(super) fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}
