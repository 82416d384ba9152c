//! Puts the parts together: settings in, running service out.

mod alarms;
mod builder;
mod calls;
mod case;
mod devkey;
mod docs;
mod gate;
mod guests;
mod health;
mod inbound;
mod metrics;
mod ops;
mod refusals;
mod reload;
mod serve;
mod signer;
mod web;

pub use builder::{BuildError, Receiver, ReceiverBuilder};
pub use devkey::{DEV_KEY_FILE, read as read_dev_key};
pub use reload::Reload;
pub use serve::serve;
