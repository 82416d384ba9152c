//! Commands that send requests to a receiver, or sign and check them as Retell does: `send`, `sign`, `verify`,
//! `simulate`, `load`, `inbound` and `health`.

mod health;
mod inbound;
mod load;
mod send;
mod sign;
mod simulate;

pub(super) use self::health::HealthArgs;
pub(super) use self::inbound::InboundCommand;
pub(super) use self::load::LoadArgs;
pub(super) use self::send::SendArgs;
pub(super) use self::sign::{SignArgs, VerifyArgs};
pub(super) use self::simulate::SimulateArgs;
