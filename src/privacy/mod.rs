//! Personal data: redaction of texts for logs and errors, and phone numbers in any spelling. All functions are pure.

pub(crate) mod number_spelling;
pub(crate) mod phone_number;
pub(crate) mod redact;
