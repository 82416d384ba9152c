//! What `exec` needs, with the defaults filled in.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::HandlerSettings;

/// What a program says to have its event given up, unless a handler has codes of its own: mail delivery programs have
/// said it so for decades.
const DEFAULT_FAIL_EXIT_CODE: i32 = 100;
const DEFAULT_OUTPUT_LIMIT_BYTES: u64 = 64 * 1024;
/// Each attempt may hold so much.
const MAX_OUTPUT_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// The program of an `exec` handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSettings {
    /// A path, or a name to be looked for in PATH.
    pub program: String,
    /// What it is called with.
    pub arguments: Vec<String>,
    /// Exit codes that mean: try again.
    pub retry_exit_codes: Vec<i32>,
    /// Exit codes that mean: give up.
    pub fail_exit_codes: Vec<i32>,
    /// How much of what it prints is looked at.
    pub output_limit_bytes: usize,
}

impl HandlerSettings {
    /// What the table says to `exec`.
    ///
    /// # Errors
    /// The key that is refused, and why.
    pub fn exec_settings(&self) -> Result<ExecSettings, (&'static str, String)> {
        let refused = |key, why: &str| Err((key, why.to_owned()));
        let Some((program, arguments)) = self.command.split_first().filter(|(program, _)| !program.is_empty()) else {
            return refused("command", "expected the program and its arguments, such as [\"/usr/local/bin/on-call\"]");
        };
        if self.command.iter().any(|text| text.contains('\0')) {
            return refused("command", "a NUL cannot be passed to a program");
        }
        for (key, codes) in [("retry_exit_codes", &self.retry_exit_codes), ("fail_exit_codes", &self.fail_exit_codes)] {
            if codes.iter().any(|code| !(1..=255).contains(code)) {
                return refused(key, "expected exit codes of 1 to 255; 0 means done");
            }
        }
        if let Some(code) = self.retry_exit_codes.iter().find(|code| self.fail_exit_codes.contains(code)) {
            return Err(("fail_exit_codes", format!("{code} is among retry_exit_codes too")));
        }
        let limit = self.output_limit_bytes.unwrap_or(DEFAULT_OUTPUT_LIMIT_BYTES);
        let Some(output_limit) = usize::try_from(limit).ok().filter(|_| limit <= MAX_OUTPUT_LIMIT_BYTES) else {
            return refused("output_limit_bytes", "expected at most 16777216 bytes");
        };
        let unset = self.retry_exit_codes.is_empty() && self.fail_exit_codes.is_empty();
        Ok(ExecSettings {
            program: program.clone(),
            arguments: arguments.to_vec(),
            retry_exit_codes: self.retry_exit_codes.clone(),
            fail_exit_codes: if unset { vec![DEFAULT_FAIL_EXIT_CODE] } else { self.fail_exit_codes.clone() },
            output_limit_bytes: output_limit,
        })
    }
}

/// PATH: where programs are looked for, and what they get as theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramSearchPath(OsString);

impl ProgramSearchPath {
    /// That of this process; empty when it has none.
    #[must_use]
    pub fn from_process() -> Self {
        Self(std::env::var_os("PATH").unwrap_or_default())
    }

    /// As it is set, if it is.
    #[must_use]
    pub fn value(&self) -> Option<&OsStr> {
        Some(self.0.as_os_str()).filter(|path| !path.is_empty())
    }

    /// Its folders. An empty one would stand for the working folder, whose files nobody meant by a bare name.
    pub fn directories(&self) -> impl Iterator<Item = PathBuf> {
        std::env::split_paths(&self.0).filter(|folder| !folder.as_os_str().is_empty())
    }
}

impl<T: Into<OsString>> From<T> for ProgramSearchPath {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::HandlerKind;
    use super::*;

    fn table() -> HandlerSettings {
        let command = vec!["on-call".to_owned(), "--now".to_owned()];
        HandlerSettings { command, ..HandlerSettings::new("crm", HandlerKind::Exec) }
    }

    #[test]
    fn what_is_not_set_is_filled_in() {
        let settings = table().exec_settings().unwrap();
        assert_eq!((settings.program.as_str(), settings.arguments), ("on-call", vec!["--now".to_owned()]));
        assert_eq!((settings.fail_exit_codes, settings.output_limit_bytes), (vec![100], 65_536));
        let own = HandlerSettings { retry_exit_codes: vec![75], ..table() }.exec_settings().unwrap();
        assert_eq!((own.retry_exit_codes, own.fail_exit_codes), (vec![75], vec![]));
    }

    #[test]
    fn mistakes_are_refused_by_their_key() {
        for (table, key) in [
            (HandlerSettings { command: vec![], ..table() }, "command"),
            (HandlerSettings { command: vec![String::new()], ..table() }, "command"),
            (HandlerSettings { command: vec!["a".into(), "b\0".into()], ..table() }, "command"),
            (HandlerSettings { retry_exit_codes: vec![0], ..table() }, "retry_exit_codes"),
            (HandlerSettings { fail_exit_codes: vec![256], ..table() }, "fail_exit_codes"),
            (HandlerSettings { fail_exit_codes: vec![3], retry_exit_codes: vec![3], ..table() }, "fail_exit_codes"),
            (HandlerSettings { output_limit_bytes: Some(u64::MAX), ..table() }, "output_limit_bytes"),
        ] {
            assert_eq!(table.exec_settings().unwrap_err().0, key);
        }
    }
}
