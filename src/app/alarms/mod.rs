//! Watching the receiver: `watch` gathers figures, `judge` says what is wrong (pure), `state` what is worth a word (pure),
//! `tell` says it.

mod evaluate;
mod format;
mod kind;
mod monitor;
mod notify;
mod raised;
mod rate;
mod silence;
mod status;

pub(super) use kind::AlarmKind;
pub(super) use monitor::{AlarmMonitorDeps, start};
pub(super) use status::AlarmStatus;
