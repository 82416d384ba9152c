//! Tests of dispatch on the real store.

mod breaker_simulation;
mod failing_renewals;
mod leases;
mod order;
mod prefetch_budget;
mod replicas;
mod retention;
