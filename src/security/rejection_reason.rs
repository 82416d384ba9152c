//! Why a request was rejected, for metrics and log. The sender is never told.

use enum_map::Enum;
use serde::Serialize;

use super::signature::SignatureError;

/// The reason as a label: an enum, so that every reason has a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionReason {
    /// The client address is not in `security.allowlist`: answered 403, all others 401.
    NotOnAllowlist,
    /// The request has no signature header.
    Missing,
    /// The signature header cannot be read.
    Malformed,
    /// Signed too long ago.
    StalePast,
    /// Signed in the future: a clock is wrong.
    StaleFuture,
    /// Signed with another key, or the body was changed.
    NoKeyMatched,
    /// The signature was used for another function or for an event before.
    SignatureReused,
}

impl RejectionReason {
    const ALL: [Self; 7] = [
        Self::NotOnAllowlist,
        Self::Missing,
        Self::Malformed,
        Self::StalePast,
        Self::StaleFuture,
        Self::NoKeyMatched,
        Self::SignatureReused,
    ];

    /// The name in metrics, log and the store.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotOnAllowlist => "not_on_allowlist",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::StalePast => "stale_past",
            Self::StaleFuture => "stale_future",
            Self::NoKeyMatched => "no_key_matched",
            Self::SignatureReused => "signature_reused",
        }
    }

    /// The reason with this name.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

impl From<SignatureError> for RejectionReason {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::MissingHeader => Self::Missing,
            SignatureError::MalformedHeader => Self::Malformed,
            SignatureError::Stale(age) if age >= 0 => Self::StalePast,
            SignatureError::Stale(_) => Self::StaleFuture,
            SignatureError::NoKeyMatched => Self::NoKeyMatched,
        }
    }
}
