//! Layers, one file each.

mod body;
mod refused;
mod signature;

pub use refused::{NotRead, Refused, Unread};
pub use signature::{SignatureLayer, SignatureService};
