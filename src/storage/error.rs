use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Why an operation of the store failed: its kind decides what the caller does, its text tells an operator what
/// happened and what to do. The error of the database engine, if there is one, is the [`source`](Error::source).
#[derive(Clone, Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    missing_item: Option<MissingItem>,
    /// Shared, because every caller of a transaction that failed gets the same error.
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The kinds of [`StoreError`], by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The store cannot be read or written at the moment: I/O error, timeout, or closed.
    Unavailable,
    /// The disk that holds the store is full.
    Full,
    /// Another process holds a lock on the store.
    Busy,
    /// The file is damaged.
    Corrupt,
    /// A row has a value that this version does not know. Other rows are not affected.
    CorruptRow,
    /// The data of this one operation breaks a rule of the schema. Trying again fails in the same way; other
    /// operations are not affected.
    Constraint,
    /// The statement itself is wrong: a programming error. Trying again with this version fails in the same way.
    Bug,
    /// The store cannot be used at all by this version or this process.
    Unusable,
    /// An event, handler, company or other item that was requested by name does not exist.
    NotFound,
}

/// What an operation of the store did not find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingItem {
    Company,
    Event,
    Handler,
}

impl StoreError {
    fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), missing_item: None, source: None }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Unavailable, message)
    }

    /// The text has to say what is damaged, and what to do.
    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Corrupt, message)
    }

    pub(crate) fn full(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Full, message)
    }

    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Busy, message)
    }

    pub(crate) fn constraint(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Constraint, message)
    }

    /// The text stands alone and has to say what to do.
    pub(crate) fn unusable(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Unusable, message)
    }

    /// The text stands alone and has to name what does not exist.
    pub(crate) fn not_found(item: MissingItem, message: impl Into<String>) -> Self {
        Self { missing_item: Some(item), ..Self::new(StoreErrorKind::NotFound, message) }
    }

    /// An error of the database engine. Its text belongs into `message`, because most callers print only that.
    pub(crate) fn with_source(
        kind: StoreErrorKind,
        message: impl Into<String>,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self { kind, message: message.into(), missing_item: None, source: Some(Arc::new(source)) }
    }

    /// What can be done about the error.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether the cause lies outside the operation and may go away, so that it is worth trying again. Nothing was
    /// changed. A damaged file counts, because an operator may restore it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        use StoreErrorKind::{Busy, Corrupt, Full, Unavailable};
        matches!(self.kind, Unavailable | Full | Busy | Corrupt)
    }

    /// What does not exist, for the kind [`StoreErrorKind::NotFound`].
    pub(crate) fn missing_item(&self) -> Option<MissingItem> {
        self.missing_item
    }

    /// The text without the words that [`Display`](fmt::Display) puts before it.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

/// A column with a fixed set of values holds another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown {column} `{value}` in the row of table {table} with {row}; restore the store from a backup, or run the \
     version that wrote the row"
)]
pub(crate) struct UnknownValueError {
    pub(crate) table: &'static str,
    /// The key of the row, such as `handler crm and event seq 7`.
    pub(crate) row: String,
    pub(crate) column: &'static str,
    pub(crate) value: String,
}

impl From<UnknownValueError> for StoreError {
    fn from(unknown: UnknownValueError) -> Self {
        Self::with_source(StoreErrorKind::CorruptRow, unknown.to_string(), unknown)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.kind {
            StoreErrorKind::Unavailable | StoreErrorKind::Full | StoreErrorKind::Busy => "storage is unavailable: ",
            StoreErrorKind::Corrupt | StoreErrorKind::CorruptRow => "cannot read the store: ",
            StoreErrorKind::Constraint => "storage cannot accept the data: ",
            StoreErrorKind::Bug => "internal error of the storage, please report it: ",
            StoreErrorKind::Unusable | StoreErrorKind::NotFound => "",
        };
        write!(f, "{prefix}{}", self.message)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
