//! `replay`: events delivered once more.

use clap::Args;

use super::bulk::{BulkArgs, BulkOperation};
use super::delivery_selector::{self, DeliverySelector};
use super::output::CliResult;
use crate::storage::{DeliveryChange, DeliveryState};

#[derive(Debug, Args)]
#[command(group = delivery_selector::selection_group())]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    selector: DeliverySelector,
    /// Deliveries in this state, may be repeated; succeeded and dead ones unless it is given. `none` are events without a
    /// delivery for the handler, which has to be named
    #[arg(long = "state", value_name = "STATE", value_parser = delivery_selector::state_or_none_parser(DeliveryChange::Replay.allowed_states()), group = "which")]
    states: Vec<Option<DeliveryState>>,
    #[command(flatten)]
    bulk: BulkArgs,
}

impl ReplayArgs {
    pub(super) async fn run(self) -> CliResult {
        let Self { selector: which, states, bulk: doing } = self;
        let names_handlers = which.names_handlers();
        let tells_others = states.is_empty();
        let states = match states.as_slice() {
            [] if which.has_reason() => DeliveryChange::Replay.allowed_states().iter().copied().map(Some).collect(),
            [] => {
                let mut usual = vec![Some(DeliveryState::Succeeded), Some(DeliveryState::Dead)];
                // Named one by one, event and handler: that is meant, whatever the handler's filter says.
                usual.extend((which.selects_by_id() && names_handlers).then_some(None));
                usual
            }
            _ => states,
        };
        if states.contains(&None) && !names_handlers {
            delivery_selector::exit_with_usage_error(
                "--state none needs --handler NAME: a delivery is made for every event that has none",
            );
        }
        let filter = which.to_filter();
        let filter =
            crate::storage::DeliveryFilter { include_undelivered: names_handlers && filter.reason.is_none(), ..filter };
        doing
            .run(BulkOperation {
                change: DeliveryChange::Replay,
                filter,
                states,
                counts_excluded: tells_others,
                skips_confirmation: false,
            })
            .await
    }
}
