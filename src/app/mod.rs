//! Puts the parts together: settings in, running service out.

mod builder;
mod devkey;
mod docs;
mod guests;
mod health;
mod serve;

pub use builder::{BuildError, Receiver, ReceiverBuilder};
pub use devkey::{DEV_KEY_FILE, read as read_dev_key};
pub use serve::serve;
