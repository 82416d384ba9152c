//! Who carries out an operation.

use std::fmt;

/// Who requests an operation. Operations that change data record it in a log event, which is written where the process
/// has initialized its log.
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
