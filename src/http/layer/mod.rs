//! Layers, one file each. Their order: [`enter`], then [`SignatureLayer`].

mod access;
mod body;
mod client;
mod debug;
mod entry;
mod refused;
mod request_id;
mod signature;

pub use access::Taken;
pub use client::ClientAddr;
pub use entry::{Entry, enter};
pub use refused::{NotRead, Refused, Unread};
pub use signature::{SignatureLayer, SignatureService};
