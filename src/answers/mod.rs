//! Answers that somebody on the line waits for: inbound webhooks and custom functions. A lane of its own, with deadlines;
//! the deliveries of events neither delay it nor wait for it.

pub mod appointments;
mod flight;
mod function;
pub mod functions;
pub mod inbound;

pub use function::{BuiltIn, Called, Function, FunctionContext};
