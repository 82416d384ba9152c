//! Retell's REST API: what the console reads from an account and changes in it.

#[cfg(test)]
pub(crate) mod fake;
