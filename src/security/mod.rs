//! Who may be believed, and what may be shown. Pure: bytes and times in, verdicts out.

pub mod allowlist;
pub mod bucket;
pub mod diagnose;
pub mod finding;
mod flaw;
pub mod keys;
pub mod number;
pub mod redact;
mod rewrite;
pub mod signature;
#[cfg(test)]
mod tests;
pub mod token;
