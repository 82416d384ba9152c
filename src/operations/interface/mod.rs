//! What all operations have in common: who requests them, how they report progress, and how they fail.

mod error;
mod principal;
mod progress;

pub(crate) use error::{ItemKind, OperationError};
pub(crate) use principal::Principal;
pub(crate) use progress::{Progress, ProgressCallback, run_blocking_with_progress};
