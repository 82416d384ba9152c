//! `dead list|retry|discard`: deliveries that were given up.

use clap::{Args, Subcommand};

use super::bulk::{BulkArgs, BulkOperation};
use super::deliveries::{DeliveriesListArgs, DeliveryFilterArgs};
use super::delivery_selector::{self, DeliverySelector};
use super::output::CliResult;
use crate::storage::{DeliveryChange, DeliveryState};

#[derive(Debug, Subcommand)]
pub(super) enum DeadCommand {
    /// List dead letters, those of the newest events first
    List(DeliveryFilterArgs),
    /// Attempt them again, now
    Retry(DeadBulkArgs),
    /// Give them up for good: they are skipped from then on
    Discard(DeadBulkArgs),
}

#[derive(Debug, Args)]
#[command(group = delivery_selector::selection_group())]
pub(super) struct DeadBulkArgs {
    #[command(flatten)]
    selector: DeliverySelector,
    #[command(flatten)]
    bulk: BulkArgs,
}

impl DeadCommand {
    pub(super) async fn run(self) -> CliResult {
        match self {
            Self::List(narrow) => DeliveriesListArgs::new(Some(DeliveryState::Dead), narrow).run().await,
            Self::Retry(selected) => selected.run(DeliveryChange::Retry).await,
            Self::Discard(selected) => selected.run(DeliveryChange::Discard).await,
        }
    }
}

impl DeadBulkArgs {
    async fn run(self, change: DeliveryChange) -> CliResult {
        let order = BulkOperation {
            change,
            filter: self.selector.to_filter(),
            states: vec![Some(DeliveryState::Dead)],
            counts_excluded: false,
            skips_confirmation: self.selector.selects_by_id(),
        };
        self.bulk.run(order).await
    }
}
