//! Why a request body could not be read.

use enum_map::Enum;

/// The reason as a label: an enum, so that every reason has a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum UnreadableReason {
    /// Larger than `server.body_limit_bytes`.
    TooLarge,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The connection was closed in the middle.
    CutOff,
    /// The in-flight budget has no room for it.
    NoRoom,
}

impl UnreadableReason {
    /// The name in metrics and log.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::BodyTimeout => "body_timeout",
            Self::CutOff => "cut_off",
            Self::NoRoom => "no_room",
        }
    }
}
