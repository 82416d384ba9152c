/// Why the store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Away for now: disk full, locked by another process, an I/O error, or closed. Nothing was changed; try again later.
    #[error("storage is not available: {0}")]
    Unavailable(String),
    /// This one request was refused for what it contains; others are not affected.
    #[error("storage refused the data: {0}")]
    InvalidData(String),
    /// The store cannot be used by this version, or by this process, at all.
    #[error("{0}")]
    Unusable(String),
    /// What was asked for by name is not there.
    #[error("{0}")]
    NotFound(String),
}
