//! Layers, one file each.

mod body;
mod debug;
mod signature;

pub use signature::{NotRead, Refused, SignatureLayer, SignatureService};
