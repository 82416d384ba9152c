//! Puts the parts together: settings in, running service out.

mod builder;
mod companies;
mod components;
mod context;
mod docs;
mod health;
mod receiver;
mod reload;
mod routes;
mod runtime;
mod serve;
mod shutdown_signal;
mod signer;
mod start;

pub use builder::{BuildError, ReceiverBuilder};
pub use receiver::{Receiver, ServeError};
pub use reload::ReloadHandle;
pub use runtime::build_runtime;
pub(crate) use serve::bind;
pub use serve::{ConnectionPolicy, serve};
pub(crate) use shutdown_signal::shutdown_signal;
