//! Retell's REST API, of which only reading requests are made. Documents stay raw JSON, so that fields which this program
//! does not know survive; typed parts of them are read where they are needed.

mod breaker;
mod client;
mod documents;
mod endpoints;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod limits;
mod pages;
#[cfg(test)]
mod tests;

pub(crate) use client::{ClientError, RetellClient};
pub(crate) use documents::{AgentChannel, AgentVersion, Document, ResponseEngine};
pub(crate) use endpoints::CallRange;
pub(crate) use error::{RetellError, RetellErrorCause, RetellErrorKind};
