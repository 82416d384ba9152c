//! Layers, one file each.

mod body;
mod signature;

pub use signature::{Refused, SignatureLayer, SignatureService};
