//! Requests to a running receiver, on this machine or another one.

mod address;
mod health;
mod load;
mod other_receiver;
mod probe;
mod send_event;
mod simulate;

/// Explanation of the status 401 in a result.
pub(crate) use crate::simulation::REJECTED_MESSAGE;
use address::webhook_url;
pub(crate) use address::{connectable_url, local_base_url};
pub(crate) use health::{check_health, check_local_health};
pub(crate) use load::{LoadBodySize, LoadRequest, LoadUpdate, run_load};
pub(crate) use other_receiver::find_other_receiver;
pub(crate) use probe::{ReceiverProbe, probe_receiver};
pub(crate) use send_event::{EventContent, EventToSend, send_event};
pub(crate) use simulate::{Scenario, SimulationRequest, SimulationUpdate, list_scenarios, simulate};
