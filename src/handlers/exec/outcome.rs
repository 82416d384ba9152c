//! What an exit code means.

use std::process::ExitStatus;

use super::{Attempt, Outcome};
use crate::config::ExecSettings;

/// The attempt of a program that has ended.
pub(super) fn attempt(settings: &ExecSettings, status: ExitStatus, output: &[u8]) -> Attempt {
    let outcome = match status.code() {
        Some(code) => of_code(settings, code),
        None => Outcome::retry(ended_by(status)),
    };
    let answer = (!output.is_empty()).then(|| String::from_utf8_lossy(output).into_owned());
    Attempt { outcome, status: status.code(), answer }
}

fn of_code(settings: &ExecSettings, code: i32) -> Outcome {
    let reason = format!("the program ended with exit code {code}");
    let retried = settings.retry_codes.is_empty() || settings.retry_codes.contains(&code);
    match code {
        0 => Outcome::Done,
        _ if settings.fail_codes.contains(&code) || !retried => Outcome::fail(reason),
        _ => Outcome::retry(reason),
    }
}

#[cfg(unix)]
fn ended_by(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    status.signal().map_or_else(|| status.to_string(), |signal| format!("the program was ended by signal {signal}"))
}

#[cfg(not(unix))]
fn ended_by(status: ExitStatus) -> String {
    status.to_string()
}
