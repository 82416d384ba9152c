/// Why an operation of the store failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is temporarily unavailable: disk full, locked by another process, I/O error, or closed. Nothing was
    /// changed; try again later.
    #[error("storage is unavailable: {0}")]
    Unavailable(String),
    /// The data of this one operation cannot be stored. Trying again fails in the same way; other operations are not
    /// affected.
    #[error("storage cannot accept the data: {0}")]
    InvalidData(String),
    /// The store cannot be used at all by this version or this process. The text says what to do.
    #[error("{0}")]
    Unusable(String),
    /// An event, handler, company or other item that was requested by name does not exist.
    #[error("{0}")]
    NotFound(String),
}
