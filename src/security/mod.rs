//! Who may be believed, and what may be shown. Pure: bytes and times in, verdicts out.

pub mod keys;
pub mod redact;
pub mod signature;
pub mod token;
