//! The limit on open files of this process, and how many connections it leaves room for. A connection takes one file, as do
//! the store's databases, each body file that is read, each program and each outbound request.

#[cfg(unix)]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections to the main listener at the same time, if the limit on open files allows them.
const MAX_CONNECTIONS: usize = 4_096;
/// Open files that connections leave to everything else.
const RESERVED_FILES: usize = 256;
/// Even a very low limit leaves room for these.
const MIN_CONNECTIONS: usize = 16;
/// The limit that allows [`MAX_CONNECTIONS`].
pub(crate) const NEEDED_FILES: usize = MAX_CONNECTIONS + RESERVED_FILES;
/// The usual soft limit. A lower one leaves room for few connections.
pub(crate) const LOW_LIMIT: usize = 1_024;

/// The number of connections that this limit allows; `None` without a limit.
#[must_use]
pub(crate) fn max_connections(limit: Option<usize>) -> usize {
    let available = limit.unwrap_or(usize::MAX).saturating_sub(RESERVED_FILES);
    available.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
}

/// The limit in effect (the soft limit); `None` without a limit, or when it is unknown.
#[cfg(unix)]
#[must_use]
pub(crate) fn limit() -> Option<usize> {
    to_usize(getrlimit(Resource::Nofile).current)
}

/// The limit up to which [`raise_limit`] can raise the limit in effect.
#[cfg(unix)]
#[must_use]
pub(crate) fn hard_limit() -> Option<usize> {
    to_usize(getrlimit(Resource::Nofile).maximum)
}

/// Raises the limit as far as the receiver needs it and the hard limit allows. Not further: programs that the receiver
/// starts inherit the limit, and some of them close every possible file when they start.
#[cfg(unix)]
pub(crate) fn raise_limit() {
    let limits = getrlimit(Resource::Nofile);
    let needed = NEEDED_FILES as u64;
    let raised = limits.maximum.map_or(needed, |maximum| maximum.min(needed));
    if limits.current.is_some_and(|current| current < raised) {
        // If it fails, the receiver accepts fewer connections.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limits.maximum });
    }
}

#[cfg(unix)]
fn to_usize(limit: Option<u64>) -> Option<usize> {
    limit.and_then(|limit| usize::try_from(limit).ok())
}

#[cfg(not(unix))]
#[must_use]
pub(crate) fn limit() -> Option<usize> {
    None
}

#[cfg(not(unix))]
#[must_use]
pub(crate) fn hard_limit() -> Option<usize> {
    None
}

#[cfg(not(unix))]
pub(crate) fn raise_limit() {}

#[cfg(test)]
mod tests {
    use super::max_connections;

    #[test]
    fn connections_leave_files_for_the_store() {
        let limits = [None, Some(1_000_000), Some(4_352), Some(1_024), Some(300), Some(64)];
        assert_eq!(limits.map(max_connections), [4_096, 4_096, 4_096, 768, 44, 16]);
    }
}
