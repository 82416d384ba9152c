//! Puts the parts together: settings in, running service out.

mod builder;
mod devkey;
mod docs;
mod guests;
mod health;
mod reload;
mod serve;
mod web;

pub use builder::{BuildError, Receiver, ReceiverBuilder};
pub use devkey::{DEV_KEY_FILE, read as read_dev_key};
pub use reload::Reload;
pub use serve::serve;
