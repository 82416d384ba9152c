//! `dead list|retry|discard`: deliveries in the state `dead`.

use clap::{Args, Subcommand};

use super::bulk::{BulkArgs, BulkOperation};
use super::selector::{self, DeliverySelector};
use super::{DeliveriesListArgs, DeliveryFilterArgs};
use crate::cli::output::CliResult;
use crate::storage::{DeliveryChange, DeliveryState};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DeadCommand {
    /// List dead letters, newest events first
    List(DeliveryFilterArgs),
    /// Attempt dead letters again, now
    Retry(DeadBulkArgs),
    /// Skip dead letters: they are not attempted again
    Discard(DeadBulkArgs),
}

#[derive(Debug, Args)]
#[command(group = selector::selection_group())]
pub(in crate::cli) struct DeadBulkArgs {
    #[command(flatten)]
    selector: DeliverySelector,
    #[command(flatten)]
    bulk: BulkArgs,
}

impl DeadCommand {
    pub(in crate::cli) async fn run(self) -> CliResult {
        match self {
            Self::List(filter) => DeliveriesListArgs::new(Some(DeliveryState::Dead), filter).run().await,
            Self::Retry(args) => args.run(DeliveryChange::Retry).await,
            Self::Discard(args) => args.run(DeliveryChange::Discard).await,
        }
    }
}

impl DeadBulkArgs {
    async fn run(self, change: DeliveryChange) -> CliResult {
        let operation = BulkOperation {
            change,
            filter: self.selector.to_filter(),
            states: vec![Some(DeliveryState::Dead)],
            counts_excluded: false,
            skips_confirmation: self.selector.selects_by_id(),
        };
        self.bulk.run(operation).await
    }
}
