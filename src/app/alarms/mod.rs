//! Watching the receiver: `watch` gathers figures, `judge` says what is wrong (pure), `state` what is worth a word (pure),
//! `tell` says it.

mod judge;
mod kind;
mod rate;
mod shown;
mod silence;
mod state;
mod tell;
mod watch;
mod words;

pub(super) use kind::Alarm;
pub(super) use shown::Shown;
pub(super) use watch::{Parts, start};
