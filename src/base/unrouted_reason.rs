//! Why a request reached no route.

use enum_map::Enum;

/// The reason as a label: an enum, so that every reason has a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum UnroutedReason {
    UnknownPath,
    /// The path names a company that is not configured.
    UnknownCompany,
    MethodNotAllowed,
}

impl UnroutedReason {
    /// The name in metrics and log.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::UnknownPath => "unknown_path",
            Self::UnknownCompany => "unknown_company",
            Self::MethodNotAllowed => "method_not_allowed",
        }
    }
}
