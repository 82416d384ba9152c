//! `dead list|retry|discard`: deliveries that were given up.

use clap::{Args, Subcommand};

use super::change::{Doing, Order};
use super::deliveries::{List, Narrow};
use super::output::Done;
use super::which::{self, Which};
use crate::storage::{Change, DeliveryState};

#[derive(Debug, Subcommand)]
pub(super) enum Dead {
    /// List dead letters, those of the newest events first
    List(Narrow),
    /// Attempt them again, now
    Retry(Selected),
    /// Give them up for good: they are skipped from then on
    Discard(Selected),
}

#[derive(Debug, Args)]
#[command(group = which::narrowed())]
pub(super) struct Selected {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    doing: Doing,
}

impl Dead {
    pub(super) async fn run(self) -> Done {
        match self {
            Self::List(narrow) => List::of(Some(DeliveryState::Dead), narrow).run().await,
            Self::Retry(selected) => selected.run(Change::Retry).await,
            Self::Discard(selected) => selected.run(Change::Discard).await,
        }
    }
}

impl Selected {
    async fn run(self, change: Change) -> Done {
        let order = Order {
            change,
            filter: self.which.filter(),
            states: vec![Some(DeliveryState::Dead)],
            tells_others: false,
            at_once: self.which.is_by_name(),
        };
        self.doing.run(order).await
    }
}
