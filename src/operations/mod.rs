//! What can be done with a receiver and asked about its data, independent of how it is requested: typed input, a typed
//! result that serializes ([`crate::view`]), and no output of its own. The command line is one caller.

pub(crate) mod appointments;
mod calendar_file;
pub(crate) mod conversations;
mod error;

pub(crate) use error::OperationError;
