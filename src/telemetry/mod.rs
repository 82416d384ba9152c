//! Telemetry: the log, the counters, and the metrics in the text format of Prometheus.

pub(crate) mod activity;
pub(crate) mod connections;
pub(crate) mod deliveries;
pub(crate) mod disk;
mod escaped_lines;
pub(crate) mod exposition;
pub(crate) mod functions;
pub(crate) mod inbound;
mod log_queue;
pub(crate) mod logging;
pub(crate) mod process;
pub(crate) mod requests;
mod rolling_file;
