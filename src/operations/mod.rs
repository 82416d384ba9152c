//! What can be done with a receiver and asked about its data, independent of how it is requested: typed input, a typed
//! result that serializes ([`crate::view`]), and no output of any kind. Each takes the [`Principal`] that requests it:
//! changes record it, and every caller has to have one. The command line is one caller.

pub(crate) mod appointments;
pub(crate) mod backup;
pub(crate) mod companies;
pub(crate) mod config;
pub(crate) mod conversations;
pub(crate) mod deliveries;
pub(crate) mod doctor;
pub(crate) mod erase;
pub(crate) mod events;
pub(crate) mod functions;
pub(crate) mod import;
pub(crate) mod inbound;
mod interface;
mod latency_stats;
pub(crate) mod purge;
pub(crate) mod receiver;
pub(crate) mod rejected;
pub(crate) mod signatures;
pub(crate) mod status;
pub(crate) mod text;

#[cfg(test)]
mod tests;

use interface::run_blocking_with_progress;
pub(crate) use interface::{ItemKind, OperationError, Principal, Progress, ProgressCallback};
