//! Hands stored events to handlers: at least once, in the order received within a call, in parallel across calls.
//!
//! For each handler a worker plans deliveries from the journal (`plan`, pure, says what becomes of an event), claims those
//! that are due, runs the attempts and writes down what they led to. Which deliveries of a call may be taken is decided in
//! the store, by lanes.

mod attempt;
mod backpressure;
mod breaker;
mod delivery_log;
mod plan;
mod prefetch;
mod retention;
mod settle;
mod store_batch;
#[cfg(test)]
mod tests;
mod worker;
mod workers;

pub(crate) use retention::{RetentionRule, RetentionRules, RetentionTask};
pub(crate) use worker::DispatchDeps;
pub(crate) use workers::Workers;
