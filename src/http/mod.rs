//! Shared parts of all HTTP routes: error responses, verified requests, companies, limits and layers.

pub(crate) mod budget;
mod error;
pub(crate) mod layer;
pub(crate) mod operator;
mod refusal;
mod verified;

pub use error::ApiError;
pub(crate) use error::unknown_path_response;
pub(crate) use refusal::{Refusal, RefusalReason};
pub use verified::{RawEvent, Verified};
