//! Puts the parts together: settings in, running service out.

mod builder;
mod devkey;
mod guests;
mod health;
mod metrics;
mod ops;
mod serve;

pub use builder::{BuildError, Receiver, ReceiverBuilder};
pub use devkey::{DEV_KEY_FILE, read as read_dev_key};
pub use serve::serve;
