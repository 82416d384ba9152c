//! Tests of dispatch on the real store.

mod leases;
mod order;
mod replicas;
mod retention;
