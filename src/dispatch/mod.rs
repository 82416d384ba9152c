//! Hands stored events to handlers: at least once, in the order received within a call, in parallel across calls.
//!
//! For each handler a worker plans deliveries from the journal (`plan`, pure, says what becomes of an event), claims those
//! that are due, runs the attempts and writes down what they led to. Which deliveries of a call may be taken is decided in
//! the store, by lanes.

mod attempt;
mod breaker;
mod conclude;
mod pace;
mod plan;
mod ready;
mod report;
mod retention;
mod round;
#[cfg(test)]
mod tests;
mod worker;
mod workers;

pub use retention::{Retention, Rule, Rules};
pub use worker::Dispatch;
pub use workers::Workers;
