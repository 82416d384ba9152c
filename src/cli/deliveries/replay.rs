//! `replay`: delivers events again.

use clap::Args;

use super::bulk::{BulkArgs, BulkOperation};
use super::selector::{self, DeliverySelector};
use crate::cli::output::CliResult;
use crate::operations::deliveries::bulk_change;
use crate::storage::{DeliveryChange, DeliveryState};

#[derive(Debug, Args)]
#[command(group = selector::selection_group())]
pub(in crate::cli) struct ReplayArgs {
    #[command(flatten)]
    selector: DeliverySelector,
    /// Deliveries in this state, or with `none` events that have no delivery for --handler; may be given several times
    /// [default: succeeded and dead]
    #[arg(long = "state", value_name = "STATE", value_parser = selector::state_or_none_parser(DeliveryChange::Replay.allowed_states()), group = "which")]
    states: Vec<Option<DeliveryState>>,
    #[command(flatten)]
    bulk: BulkArgs,
}

impl ReplayArgs {
    pub(in crate::cli) async fn run(self) -> CliResult {
        let Self { selector, states, bulk } = self;
        let filter = selector.to_filter();
        let counts_excluded = states.is_empty();
        let states =
            if counts_excluded { bulk_change::default_states(DeliveryChange::Replay, &filter) } else { states };
        let operation = BulkOperation {
            change: DeliveryChange::Replay,
            filter,
            states,
            counts_excluded,
            skips_confirmation: false,
        };
        bulk.run(operation).await
    }
}
