//! Answers that somebody on the line waits for: inbound webhooks and custom functions. A lane of its own, with deadlines;
//! the deliveries of events neither delay it nor wait for it.

pub(crate) mod appointments;
mod function;
pub(crate) mod functions;
pub(crate) mod inbound;
mod single_flight;

pub(crate) use function::{BuiltInFunction, Function};
pub use function::{FunctionContext, FunctionOutcome};
