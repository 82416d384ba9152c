//! `calls list|show|stats` and the same for `chats`.

mod list;
mod record;
mod show;
mod stats;

use clap::Subcommand;

use super::output::Done;
use super::stores;
use crate::storage::CallKind;

#[derive(Debug, Subcommand)]
pub(super) enum Calls {
    /// List calls, the one with the latest event first
    List(list::List),
    /// Show one call
    Show(show::Show),
    /// Count calls: by day, agent, company, why they ended, sentiment and success
    Stats(stats::Stats),
}

#[derive(Debug, Subcommand)]
pub(super) enum Chats {
    /// List chats, the one with the latest event first
    List(list::List),
    /// Show one chat
    Show(show::Show),
    /// Count chats: by day, agent, company, sentiment and success
    Stats(stats::Stats),
}

impl Calls {
    pub(super) async fn run(self) -> Done {
        let store = stores::open()?;
        match self {
            Self::List(list) => list.run(&store, CallKind::Call).await,
            Self::Show(show) => show.run(&store, CallKind::Call).await,
            Self::Stats(stats) => stats.run(&store, CallKind::Call).await,
        }
    }
}

impl Chats {
    pub(super) async fn run(self) -> Done {
        let store = stores::open()?;
        match self {
            Self::List(list) => list.run(&store, CallKind::Chat).await,
            Self::Show(show) => show.run(&store, CallKind::Chat).await,
            Self::Stats(stats) => stats.run(&store, CallKind::Chat).await,
        }
    }
}
