//! Why a request was refused, for the log and the counters. The sender learns the status only.

/// An extension of the response to a refused request: one answered with any status but 2xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub reason: RefusalReason,
    /// The function that the request names, redacted.
    pub function: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalReason {
    /// The signature did not verify. Such requests are diagnosed, see `rejections`.
    SignatureInvalid,
    SignatureReused,
    NotOnAllowlist,
    UnknownCompany,
    UnknownFunction,
    MethodNotAllowed,
    BodyInvalid,
    BodyTooLarge,
    BodyTimeout,
    BodyCutOff,
    NoRoom,
    Unavailable,
    InternalError,
}

impl RefusalReason {
    /// The name in the log; where there is a metric with the same fact, the same as its label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SignatureInvalid => "signature_invalid",
            Self::SignatureReused => "signature_reused",
            Self::NotOnAllowlist => "not_on_allowlist",
            Self::UnknownCompany => "unknown_company",
            Self::UnknownFunction => "unknown_function",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyInvalid => "body_invalid",
            Self::BodyTooLarge => "too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyCutOff => "cut_off",
            Self::NoRoom => "no_room",
            Self::Unavailable => "unavailable",
            Self::InternalError => "internal_error",
        }
    }
}
