//! Why a request to Retell's API failed, whose cause it is, and what to do.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::base::escape::escape_text;
use crate::egress::FullResponse;

/// Characters of Retell's own message that an error shows.
const MAX_MESSAGE_CHARS: usize = 200;

/// A request that failed, with the name of its endpoint. The text contains neither the key nor a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint}: {kind}")]
pub(crate) struct RetellError {
    pub(crate) endpoint: &'static str,
    pub(crate) kind: RetellErrorKind,
}

/// Whose fault it is, so that the reader knows where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetellErrorCause {
    Key,
    Network,
    Retell,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RetellErrorKind {
    /// The status is 401 or 403.
    KeyRefused {
        status: u16,
        message: String,
    },
    /// 404 or 422 with Retell's error document: the id does not exist, or belongs to another key.
    NotFound {
        status: u16,
        message: String,
    },
    /// 404 without an error document: the API does not have this endpoint.
    UnknownEndpoint,
    RateLimited,
    /// 408, or 500 and above.
    Unavailable {
        status: u16,
        message: String,
    },
    /// Any other status that is not 2xx.
    Refused {
        status: u16,
        message: String,
    },
    NoResponse(String),
    /// Not sent, because several requests in a row have failed.
    Paused(Duration),
    /// The response is not what Retell documents.
    InvalidResponse(String),
}

/// Retell's error document, of which this part is read: `{"status":"error","message":"…"}`.
#[derive(Deserialize)]
struct ErrorDocument {
    message: String,
}

impl RetellErrorKind {
    /// The error of a response whose status is not 2xx.
    pub(super) fn of_response(response: &FullResponse) -> Self {
        let status = response.status;
        let document = serde_json::from_slice::<ErrorDocument>(&response.body).ok();
        let has_document = document.is_some();
        let message = document.map_or_else(String::new, |document| shorten(&document.message));
        match status {
            401 | 403 => Self::KeyRefused { status, message },
            404 if !has_document => Self::UnknownEndpoint,
            404 | 422 => Self::NotFound { status, message },
            429 => Self::RateLimited,
            408 | 500.. => Self::Unavailable { status, message },
            _ => Self::Refused { status, message },
        }
    }

    /// Whether the same request may succeed soon.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable { .. } | Self::NoResponse(_))
    }
}

impl RetellError {
    pub(super) fn invalid_response(endpoint: &'static str, why: impl Into<String>) -> Self {
        Self { endpoint, kind: RetellErrorKind::InvalidResponse(why.into()) }
    }

    pub(crate) fn cause(&self) -> RetellErrorCause {
        match self.kind {
            RetellErrorKind::KeyRefused { .. } | RetellErrorKind::NotFound { .. } => RetellErrorCause::Key,
            RetellErrorKind::NoResponse(_) => RetellErrorCause::Network,
            _ => RetellErrorCause::Retell,
        }
    }
}

impl fmt::Display for RetellErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyRefused { status, message } => write!(
                f,
                "Retell refused the API key ({}); check the key and its permissions in Retell's dashboard, Settings → \
                 API Keys",
                answer(*status, message)
            ),
            Self::NotFound { status, message } => write!(
                f,
                "Retell has no such object for this API key ({}); it may belong to another workspace",
                answer(*status, message)
            ),
            Self::UnknownEndpoint => f.write_str(
                "Retell's API does not have this endpoint (404); check retell.base_url, or install a newer version of \
                 this program",
            ),
            Self::RateLimited => f.write_str("Retell answered 429, too many requests; try again in a minute"),
            Self::Unavailable { status, message } => {
                write!(f, "Retell is not available ({}); try again later", answer(*status, message))
            }
            Self::Refused { status, message } => write!(f, "Retell refused the request ({})", answer(*status, message)),
            Self::NoResponse(why) => write!(f, "{why}; check the internet connection and retell.base_url"),
            Self::Paused(left) => write!(
                f,
                "not sent, because several requests have failed one after the other; the next one is sent in {} s",
                left.as_secs() + 1
            ),
            Self::InvalidResponse(why) => write!(
                f,
                "{why}, unlike Retell's documentation; check retell.base_url, or install a newer version of this program"
            ),
        }
    }
}

fn answer(status: u16, message: &str) -> String {
    if message.is_empty() { status.to_string() } else { format!("{status}: {message}") }
}

fn shorten(message: &str) -> String {
    escape_text(message.trim()).trim_end_matches('.').chars().take(MAX_MESSAGE_CHARS).collect()
}
