//! Settings of `exec` handlers with defaults filled in.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::HandlerSettings;
use crate::config::FieldError;

/// Exit code that makes a delivery dead when a handler sets no exit codes. Mail delivery agents have used 100 for
/// permanent failures for decades.
const DEFAULT_FAIL_EXIT_CODE: i32 = 100;
const DEFAULT_OUTPUT_LIMIT_BYTES: u64 = 64 * 1024;
/// Every concurrent attempt may hold this much memory.
const MAX_OUTPUT_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// The program of an `exec` handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSettings {
    /// A path, or a name that is searched in PATH.
    pub program: String,
    /// Command-line arguments of the program.
    pub arguments: Vec<String>,
    /// Exit codes after which the delivery is retried.
    pub retry_exit_codes: Vec<i32>,
    /// Exit codes after which the delivery is dead.
    pub fail_exit_codes: Vec<i32>,
    /// Bytes of output that are kept; the rest is discarded.
    pub output_limit_bytes: usize,
}

impl HandlerSettings {
    /// The table's `exec` settings with defaults filled in.
    ///
    /// # Errors
    /// The key with an invalid value, and the reason.
    pub fn exec_settings(&self) -> Result<ExecSettings, FieldError> {
        let invalid = |key, why: &str| Err(FieldError::new(key, why.to_owned()));
        let Some((program, arguments)) = self.command.split_first().filter(|(program, _)| !program.is_empty()) else {
            return invalid("command", "expected the program and its arguments, such as [\"/usr/local/bin/on-call\"]");
        };
        if self.command.iter().any(|text| text.contains('\0')) {
            return invalid("command", "a NUL character cannot be passed to a program");
        }
        for (key, codes) in [("retry_exit_codes", &self.retry_exit_codes), ("fail_exit_codes", &self.fail_exit_codes)] {
            if codes.iter().any(|code| !(1..=255).contains(code)) {
                return invalid(key, "expected exit codes of 1 to 255; 0 always means success");
            }
        }
        if let Some(code) = self.retry_exit_codes.iter().find(|code| self.fail_exit_codes.contains(code)) {
            return Err(FieldError::new(
                "fail_exit_codes",
                format!("{code} is in retry_exit_codes as well; list it once"),
            ));
        }
        let limit = self.output_limit_bytes.unwrap_or(DEFAULT_OUTPUT_LIMIT_BYTES);
        if limit > MAX_OUTPUT_LIMIT_BYTES {
            return invalid("output_limit_bytes", "expected at most 16777216 bytes");
        }
        let has_no_exit_codes = self.retry_exit_codes.is_empty() && self.fail_exit_codes.is_empty();
        Ok(ExecSettings {
            program: program.clone(),
            arguments: arguments.to_vec(),
            retry_exit_codes: self.retry_exit_codes.clone(),
            fail_exit_codes: if has_no_exit_codes {
                vec![DEFAULT_FAIL_EXIT_CODE]
            } else {
                self.fail_exit_codes.clone()
            },
            output_limit_bytes: usize::try_from(limit).unwrap_or(usize::MAX),
        })
    }
}

/// The PATH variable: where programs are searched, and the PATH in their environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramSearchPath(OsString);

impl ProgramSearchPath {
    /// PATH of this process; empty when it has none.
    #[must_use]
    pub fn from_process() -> Self {
        Self(std::env::var_os("PATH").unwrap_or_default())
    }

    /// The variable's value, or `None` when it is empty.
    #[must_use]
    pub fn value(&self) -> Option<&OsStr> {
        Some(self.0.as_os_str()).filter(|path| !path.is_empty())
    }

    /// The directories in PATH. Empty entries are left out: they mean the working directory, in which a bare name
    /// must not find a program.
    pub fn directories(&self) -> impl Iterator<Item = PathBuf> {
        std::env::split_paths(&self.0).filter(|directory| !directory.as_os_str().is_empty())
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
    fn unset_keys_get_defaults() {
        let settings = table().exec_settings().unwrap();
        assert_eq!((settings.program.as_str(), settings.arguments), ("on-call", vec!["--now".to_owned()]));
        assert_eq!((settings.fail_exit_codes, settings.output_limit_bytes), (vec![100], 65_536));
        let own = HandlerSettings { retry_exit_codes: vec![75], ..table() }.exec_settings().unwrap();
        assert_eq!((own.retry_exit_codes, own.fail_exit_codes), (vec![75], vec![]));
    }

    #[test]
    fn invalid_values_are_refused_by_key() {
        for (table, key) in [
            (HandlerSettings { command: vec![], ..table() }, "command"),
            (HandlerSettings { command: vec![String::new()], ..table() }, "command"),
            (HandlerSettings { command: vec!["a".into(), "b\0".into()], ..table() }, "command"),
            (HandlerSettings { retry_exit_codes: vec![0], ..table() }, "retry_exit_codes"),
            (HandlerSettings { fail_exit_codes: vec![256], ..table() }, "fail_exit_codes"),
            (HandlerSettings { fail_exit_codes: vec![3], retry_exit_codes: vec![3], ..table() }, "fail_exit_codes"),
            (HandlerSettings { output_limit_bytes: Some(u64::MAX), ..table() }, "output_limit_bytes"),
        ] {
            assert_eq!(table.exec_settings().unwrap_err().key(), key);
        }
    }
}
