//! Tests of dispatch on the real store.

mod breaker_simulation;
mod faulty_queue;
mod leases;
mod order;
mod prefetch_budget;
mod replicas;
mod retention;
mod unstored_attempts;
