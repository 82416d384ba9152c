//! Delivers stored events to handlers: at least once, in the order received within a call, in parallel across calls.
//!
//! Each handler has one worker. It plans deliveries from the journal (`plan` decides, without I/O), claims those that
//! are due, runs the attempts and settles them. While it has nothing unfinished, it attempts the events of a plan at once
//! and stores the deliveries with their results, in one write instead of two. The store decides which deliveries of a call may be claimed
//! (`storage/sqlite/deliveries/call_sequence.rs`); a worker never reorders anything.

mod attempt;
mod backpressure;
mod breaker;
mod budget;
mod claim;
mod delivery_log;
mod event_read;
mod lease;
mod plan;
mod prefetch;
mod retention;
mod settle;
mod store_batch;
#[cfg(test)]
mod tests;
mod upkeep;
mod worker;
mod workers;

pub(crate) use retention::{RemovedCounts, RetentionRule, RetentionRules, RetentionTask};
pub(crate) use worker::DispatchDeps;
pub(crate) use workers::Workers;
