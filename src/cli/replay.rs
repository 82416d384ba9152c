//! `replay`: events delivered once more.

use clap::Args;

use super::change::{Doing, Order};
use super::output::Done;
use super::which::{self, Which};
use crate::storage::{Change, DeliveryState};

#[derive(Debug, Args)]
#[command(group = which::narrowed())]
pub(super) struct Replay {
    #[command(flatten)]
    which: Which,
    /// Deliveries in this state, may be repeated; succeeded and dead ones unless it is given. `none` are events without a
    /// delivery for the handler, which has to be named
    #[arg(long = "state", value_name = "STATE", value_parser = which::one_of_or_none(Change::Replay.states()), group = "which")]
    states: Vec<Option<DeliveryState>>,
    #[command(flatten)]
    doing: Doing,
}

impl Replay {
    pub(super) async fn run(self) -> Done {
        let Self { which, states, doing } = self;
        let names_handlers = which.names_handlers();
        let tells_others = states.is_empty();
        let states = match states.as_slice() {
            [] if which.has_reason() => Change::Replay.states().iter().copied().map(Some).collect(),
            [] => {
                let mut usual = vec![Some(DeliveryState::Succeeded), Some(DeliveryState::Dead)];
                // Named one by one, event and handler: that is meant, whatever the handler's filter says.
                usual.extend((which.is_by_name() && names_handlers).then_some(None));
                usual
            }
            _ => states,
        };
        if states.contains(&None) && !names_handlers {
            which::misused("--state none needs --handler NAME: a delivery is made for every event that has none");
        }
        let filter = which.filter();
        let filter = crate::storage::DeliveryFilter { without: names_handlers && filter.reason.is_none(), ..filter };
        doing.run(Order { change: Change::Replay, filter, states, tells_others, at_once: false }).await
    }
}
