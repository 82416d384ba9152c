//! What the service tells about itself: log lines and counters.

pub mod counters;
pub mod logging;
