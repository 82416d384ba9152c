//! Tests of dispatch on the real store.

mod failing_renewals;
mod leases;
mod order;
mod prefetch_budget;
mod replicas;
mod retention;
