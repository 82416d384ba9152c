//! Authentication of requests. All functions are pure: bytes and times in, results out.

pub(crate) mod diagnose;
pub(crate) mod diagnosis;
mod json_style;
pub(crate) mod keys;
mod line_breaks;
mod malformed_header;
pub(crate) mod rejection_reason;
pub(crate) mod signature;
#[cfg(test)]
mod tests;
pub(crate) mod token;
