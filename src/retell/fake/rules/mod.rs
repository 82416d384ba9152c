//! The rules of Retell's API that clients must know, one function per rule, each with its source.
//!
//! "Retell's SDK 6.2.13" is the Python package `retell-sdk`. "Live rejections of September 2026" and "live probe of August
//! 2026" are published notes by users who wrote down what the real API answered.

pub(super) mod access;
pub(super) mod fields;
pub(super) mod lists;
pub(super) mod numbers;
pub(super) mod patches;
pub(super) mod versions;
