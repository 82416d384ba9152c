//! Tools shared by everything that answers HTTP: errors, the proof of a signature, limits.

pub mod budget;
pub mod company;
mod error;
pub mod layer;
pub mod operator;
mod verified;

pub use error::ApiError;
pub use verified::{RawEvent, Verified};
