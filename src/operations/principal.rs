//! Who carries out an operation.

use std::fmt;

/// Who requests an operation; named in the log line that every change writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// A user of this machine who can read the configuration and the store.
    LocalOperator,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalOperator => f.write_str("local operator"),
        }
    }
}
