//! Why the body of a stored event cannot be read.

use std::fmt;

/// Why the body of an event cannot be read, and whether that may pass by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyError {
    pub kind: BodyErrorKind,
    /// What happened and what to do; without content of the event.
    pub reason: String,
}

/// The kinds of [`BodyError`], by what they mean for a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyErrorKind {
    /// The file cannot be opened or read at the moment: I/O error, no file descriptor left, a folder that is not
    /// mounted.
    Unreadable,
    /// The file can be read, and the body is not in it.
    Gone,
    /// The bytes are not those that were received, or the row has a value that this version does not know.
    Damaged,
}

impl BodyError {
    pub(in crate::storage) fn unreadable(reason: impl Into<String>) -> Self {
        Self { kind: BodyErrorKind::Unreadable, reason: reason.into() }
    }

    pub(in crate::storage) fn gone(reason: impl Into<String>) -> Self {
        Self { kind: BodyErrorKind::Gone, reason: reason.into() }
    }

    pub(in crate::storage) fn damaged(reason: impl Into<String>) -> Self {
        Self { kind: BodyErrorKind::Damaged, reason: reason.into() }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
