use crate::base::escape::escape_text;
use crate::config::FieldError;
use crate::egress::ClientBuildError;
use crate::storage::{MissingItem, StoreError};

/// Why an operation was not carried out, or only in part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperationError {
    /// The input cannot be used; the text says why.
    #[error("{0}")]
    InvalidInput(String),
    /// What the input names does not exist. A caller can add where to look for it, by its kind.
    #[error("{message}")]
    NotFound { kind: ItemKind, message: String },
    /// What the input names exists more than once.
    #[error("{message}")]
    Ambiguous { kind: ItemKind, message: String },
    /// Events without a delivery are selected, but no handler is named for which deliveries would be made.
    #[error("events without a delivery can only be replayed for a named handler: each event gets a delivery for it")]
    HandlerNotNamed,
    /// It was carried out in part; the text says how far and why it stopped.
    #[error("{0}")]
    Stopped(String),
    /// The operation may do harm and was not confirmed; the text says what it would do.
    #[error("{0}")]
    NotConfirmed(String),
    /// A store is in the place that another one would take; the text names it.
    #[error("{0}")]
    PlaceTaken(String),
    /// The receiver that a request was sent to did not answer it; the text says why.
    #[error("{0}")]
    NoResponse(String),
    #[error(transparent)]
    Store(StoreError),
    #[error(transparent)]
    Settings(#[from] FieldError),
    #[error(transparent)]
    HttpClient(#[from] ClientBuildError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What an operation looks for by id or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Appointment,
    Company,
    Event,
    /// The body of an event or of a rejected request, which is no longer or never was stored.
    Body,
    Call,
    Chat,
    Function,
    Handler,
    Invocation,
    Key,
    RejectedRequest,
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        let kind = match error.missing_item() {
            None => return Self::Store(error),
            Some(MissingItem::Company) => ItemKind::Company,
            Some(MissingItem::Event) => ItemKind::Event,
            Some(MissingItem::Handler) => ItemKind::Handler,
        };
        Self::not_found(kind, error.message())
    }
}

impl OperationError {
    pub(in crate::operations) fn not_found(kind: ItemKind, message: impl Into<String>) -> Self {
        Self::NotFound { kind, message: message.into() }
    }

    /// No company of the settings has this slug.
    pub(in crate::operations) fn unknown_company(slug: &str) -> Self {
        let slug = escape_text(slug);
        Self::not_found(
            ItemKind::Company,
            format!("no company `{slug}` in [[companies]]; check the slug in the configuration"),
        )
    }
}
