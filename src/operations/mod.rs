//! What can be done with a receiver and asked about its data, independent of how it is requested: typed input, a typed
//! result that serializes ([`crate::view`]), and no output of any kind. The command line is one caller.

pub(crate) mod appointments;
pub(crate) mod bulk_change;
mod calendar_file;
pub(crate) mod conversations;
pub(crate) mod deliveries;
pub(crate) mod erase;
mod error;
pub(crate) mod events;
pub(crate) mod functions;
mod principal;
mod progress;
pub(crate) mod purge;
pub(crate) mod rejected;

pub(crate) use error::OperationError;
pub(crate) use principal::Principal;
pub(crate) use progress::{Progress, ProgressCallback};
