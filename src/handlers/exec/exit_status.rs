//! Maps exit codes and signals to outcomes.

use std::process::ExitStatus;

use super::{AttemptResult, Outcome};
use crate::config::ExecSettings;

/// The result of an attempt whose program has exited.
pub(super) fn attempt_result(settings: &ExecSettings, status: ExitStatus, output: &[u8]) -> AttemptResult {
    let outcome = match status.code() {
        Some(code) => outcome_of_exit_code(settings, code),
        None => Outcome::retry(describe_signal(status)),
    };
    // A code that makes the delivery dead refuses this event; one that is retried means the same for any event.
    let response_excerpt = (!output.is_empty()).then(|| String::from_utf8_lossy(output).into_owned());
    AttemptResult { status: status.code(), response_excerpt, ..outcome.into() }
}

fn outcome_of_exit_code(settings: &ExecSettings, code: i32) -> Outcome {
    let reason = format!("the program exited with code {code}");
    let is_retried = settings.retry_exit_codes.is_empty() || settings.retry_exit_codes.contains(&code);
    match code {
        0 => Outcome::Done,
        _ if settings.fail_exit_codes.contains(&code) || !is_retried => Outcome::fail(reason),
        _ => Outcome::retry(reason),
    }
}

#[cfg(unix)]
fn describe_signal(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    status.signal().map_or_else(|| status.to_string(), |signal| format!("the program was killed by signal {signal}"))
}

#[cfg(not(unix))]
fn describe_signal(status: ExitStatus) -> String {
    status.to_string()
}
