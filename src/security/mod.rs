//! Authentication of requests and redaction of personal data. All functions are pure: bytes and times in, results
//! out.

pub(crate) mod allowlist;
pub(crate) mod diagnose;
pub(crate) mod diagnosis;
mod json_style;
pub(crate) mod keys;
mod malformed_header;
pub(crate) mod phone_number;
pub(crate) mod rate_limit;
pub(crate) mod redact;
pub(crate) mod signature;
#[cfg(test)]
mod tests;
pub(crate) mod token;
