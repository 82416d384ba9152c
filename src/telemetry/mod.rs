//! What the service tells about itself: log lines, counters, and the text that Prometheus reads.

pub mod activity;
pub mod counters;
pub mod deliveries;
pub mod disk;
pub mod exposition;
pub mod functions;
pub mod inbound;
pub mod logging;
pub mod process;
pub mod retention;
mod rolling;
