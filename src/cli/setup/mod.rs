//! Commands about the settings and the program itself: `config`, `doctor`, `completions`, `man` and `docs`.

mod config;
mod docs;
mod doctor;
mod generate;

pub(super) use self::config::ConfigCommand;
pub(super) use self::docs::DocsCommand;
pub(super) use self::doctor::DoctorArgs;
pub(super) use self::generate::{CompletionsArgs, ManArgs};
