//! Shared parts of all HTTP routes: error responses, verified requests, companies, limits and layers.

pub(crate) mod budget;
mod error;
pub(crate) mod layer;
pub(crate) mod operator;
mod verified;

pub use error::ApiError;
pub use verified::{RawEvent, Verified};
