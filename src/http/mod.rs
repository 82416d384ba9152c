//! Tools shared by everything that answers HTTP: errors, the proof of a signature, limits.

pub(crate) mod budget;
pub(crate) mod company;
mod error;
pub(crate) mod layer;
pub(crate) mod operator;
mod verified;

pub use error::ApiError;
pub use verified::{RawEvent, Verified};
