//! `calls list|show|stats` and the same for `chats`.

mod display;
mod list;
mod rebuild_stats;
mod show;
mod stats;

use clap::Subcommand;

pub(super) use self::rebuild_stats::{RebuildStatsArgs, RebuiltItems};
use super::output::CliResult;
use crate::calls::CallKind;

#[derive(Debug, Subcommand)]
pub(super) enum CallsCommand {
    /// List calls, one row per call, latest event first
    List(list::CallsListArgs),
    /// Show the data of one call
    Show(show::CallsShowArgs),
    /// Count calls by day, agent, version, company, disconnection reason, sentiment and success
    Stats(stats::CallsStatsArgs),
    /// Count all calls and chats again and correct the totals behind `stats`; also while the receiver runs
    RebuildStats(RebuildStatsArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum ChatsCommand {
    /// List chats, one row per chat, latest event first
    List(list::CallsListArgs),
    /// Show the data of one chat
    Show(show::CallsShowArgs),
    /// Count chats by day, agent, version, company, sentiment and success
    Stats(stats::CallsStatsArgs),
}

impl CallsCommand {
    pub(super) async fn run(self) -> CliResult {
        match self {
            Self::List(list) => list.run(CallKind::Call).await,
            Self::Show(show) => show.run(CallKind::Call).await,
            Self::Stats(stats) => stats.run(CallKind::Call).await,
            Self::RebuildStats(rebuild) => rebuild.run(RebuiltItems::CallsAndChats).await,
        }
    }
}

impl ChatsCommand {
    pub(super) async fn run(self) -> CliResult {
        match self {
            Self::List(list) => list.run(CallKind::Chat).await,
            Self::Show(show) => show.run(CallKind::Chat).await,
            Self::Stats(stats) => stats.run(CallKind::Chat).await,
        }
    }
}
