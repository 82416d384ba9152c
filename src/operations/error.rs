//! The error of operations.

use crate::config::FieldError;
use crate::egress::ClientBuildError;
use crate::storage::StoreError;

/// Why an operation was not carried out, or only in part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperationError {
    /// The input cannot be used; the text says why.
    #[error("{0}")]
    InvalidInput(String),
    /// What the input names does not exist, or not uniquely.
    #[error("{0}")]
    NotFound(String),
    /// It was carried out in part; the text says how far and why it stopped.
    #[error("{0}")]
    Stopped(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Settings(#[from] FieldError),
    #[error(transparent)]
    HttpClient(#[from] ClientBuildError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
