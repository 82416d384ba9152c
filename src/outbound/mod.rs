//! What every request or program that the receiver starts has in common: signatures, child processes, templates.
//! Handlers, custom functions and inbound rules use it; the HTTP client itself is `egress`.

mod context;
pub(crate) mod program;
mod signing;
pub(crate) mod template;

pub(crate) use context::OutboundContext;
pub(crate) use program::FunctionProgram;
pub(crate) use signing::{RequestSigner, RetellSigner, SigningInput};
