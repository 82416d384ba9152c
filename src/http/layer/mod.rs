//! Layers, one file each.

mod body;
mod signature;

pub use signature::{NotRead, Refused, SignatureLayer, SignatureService};
