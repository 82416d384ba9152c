//! Log lines on standard output.

use std::io::{IsTerminal, stdout};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Lines waiting to be written. When whoever reads standard output stalls, further lines are dropped: a log must not be
/// able to hold up intake.
const LINES: usize = 16_384;

/// Keeps the log flowing; what waits is written when it is dropped.
pub struct LogGuard(#[allow(dead_code, reason = "held for its drop")] WorkerGuard);

/// A plain level is about this program; the libraries under it only speak up when something is wrong.
fn directives(level: &str) -> String {
    if level.contains(['=', ',']) { level.to_owned() } else { format!("warn,retell_webhook={level}") }
}

fn filter(settings: &LogSettings) -> Result<EnvFilter, String> {
    EnvFilter::try_new(directives(&settings.level)).map_err(|_| {
        "log.level: expected error, warn, info, debug, trace, or directives such as info,retell_webhook=debug"
            .to_owned()
    })
}

/// Whether [`init`] would understand these settings.
///
/// # Errors
/// `log.level` cannot be understood.
pub fn check(settings: &LogSettings) -> Result<(), String> {
    filter(settings).map(drop)
}

/// Sends log lines to standard output. Call once, from the binary; a library leaves this to its host.
///
/// # Errors
/// `log.level` cannot be understood, or a log was set up already.
pub fn init(settings: &LogSettings) -> Result<LogGuard, String> {
    let filter = filter(settings)?;
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(LINES).lossy(true).finish(stdout());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    let done = match settings.format {
        LogFormat::Human => lines.with_ansi(stdout().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    done.map_err(|error| error.to_string())?;
    Ok(LogGuard(guard))
}

#[cfg(test)]
mod tests {
    use super::directives;

    #[test]
    fn a_plain_level_is_about_this_program() {
        assert_eq!(directives("debug"), "warn,retell_webhook=debug");
        assert_eq!(directives("info,hyper=trace"), "info,hyper=trace");
    }
}
