//! Alarms: `monitor` collects the inputs, `evaluate` runs the checks (pure), `raised` decides which notifications are
//! due (pure), and `notify` writes them to the log and as events.

mod evaluate;
mod format;
mod monitor;
#[cfg(test)]
mod monitor_tests;
mod notify;
mod raised;
mod rate;
mod silence;
mod status;

pub(crate) use monitor::{AlarmMonitorDeps, start};
pub(crate) use status::AlarmStatus;
