//! Hands stored events to handlers: at least once, in the order received within a call, in parallel across calls.
//!
//! The first cut: each handler has a place in the journal and a list of deliveries to try again. What was not handled
//! when the process ended is handled after the next start. A delivery that waits for another attempt does not hold back
//! later events of its call yet.

mod pace;
mod plan;
mod worker;
mod workers;

pub use worker::Dispatch;
pub use workers::Workers;
