//! What the output of the commands depends on: the width of the terminal, and the time zone that the user wants.

use std::io::stdout;
use std::sync::OnceLock;

use jiff::tz::TimeZone;

/// The zone of `--local`; unset for UTC.
static LOCAL_ZONE: OnceLock<TimeZone> = OnceLock::new();

/// Shows and reads times in the time zone of this machine from now on.
pub(super) fn use_local_time() {
    let _ = LOCAL_ZONE.set(TimeZone::system());
}

/// The time zone in which times are shown and read.
pub(super) fn time_zone() -> TimeZone {
    LOCAL_ZONE.get().cloned().unwrap_or(TimeZone::UTC)
}

/// Columns of the terminal that standard output is connected to; `None` for a pipe or a file.
#[cfg(unix)]
pub(super) fn columns() -> Option<usize> {
    // Fails with ENOTTY unless it is a terminal.
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

#[cfg(not(unix))]
pub(super) fn columns() -> Option<usize> {
    None
}
