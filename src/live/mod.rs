//! Requests that are answered while a caller waits: inbound webhooks and custom functions. Each has a deadline. They
//! share no queue with the deliveries of events, so neither waits for the other.

pub(crate) mod appointments;
mod function;
pub(crate) mod functions;
pub(crate) mod inbound;
mod page;
mod routes;
mod single_flight;

pub(crate) use function::{BuiltInFunction, FunctionPolicy};
pub use function::{Function, FunctionContext, FunctionOutcome};
pub(crate) use page::ReceiverPage;
pub(crate) use routes::{INSTANCE_HEADER, LEGACY_PATH, TEST_PATH, WEBHOOK_PATH, WebhookState, router, webhook_path};
