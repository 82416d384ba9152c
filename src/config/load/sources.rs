//! The layers that settings are read from: files, environment variables, and the command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::origins::Origin;
use crate::config::FieldError;
use crate::config::values::clean_text::{clean_text, expand_home, is_unset};

/// Variables with conventional names, and the keys that they set.
pub(in crate::config) const ENV_ALIASES: [(&str, &str); 3] =
    [("SERVER_URL", "server.url"), ("PORT", "server.port"), ("DATABASE_URL", "storage.url")];
/// Variables that hold API keys. Each also has a `_FILE` form.
pub(in crate::config) const API_KEY_VARIABLES: [&str; 2] = ["RETELL_API_KEY", "RETELL_WEBHOOK_SECRET_KEY"];

const PREFIX: &str = "retell_webhook__";

/// Where settings are read from. A value, so that tests read neither local files nor `.env`.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources {
    /// The directory that holds `config/`; `None` reads no file.
    pub base_dir: Option<PathBuf>,
    /// Environment variables, including those of `.env`.
    pub env: BTreeMap<String, String>,
    /// The variables in `env` that come from `.env`, and their lines there.
    pub dotenv_lines: BTreeMap<String, usize>,
    /// A file whose settings override those in `config/`.
    pub config_file: Option<PathBuf>,
    /// Values of options of the command line by key, such as `server.port`. They override everything else.
    pub command_line: BTreeMap<&'static str, String>,
}

impl ConfigSources {
    /// The working directory, its `.env`, and the process's environment, which overrides `.env`.
    ///
    /// # Errors
    /// A `.env` file that exists but cannot be read or parsed.
    pub fn from_process() -> Result<Self, FieldError> {
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        let process = std::env::vars_os().filter_map(|(name, value)| decode_variable(name, value));
        Self::from_layers(Path::new("."), process.collect::<Result<Vec<_>, _>>()?.into_iter())
    }

    /// The files in a directory, its `.env`, and the variables of a process.
    pub(in crate::config) fn from_layers(
        base_dir: &Path,
        process: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, FieldError> {
        let (mut env, mut dotenv_lines) = read_dotenv(&base_dir.join(".env"))?;
        // An empty variable counts as unset, so it must not override one from `.env`.
        for (name, value) in process.filter(|(_, value)| !is_unset(value)) {
            dotenv_lines.remove(&name);
            env.insert(name, value);
        }
        Ok(Self { base_dir: Some(base_dir.to_owned()), env, dotenv_lines, ..Self::default() })
    }

    /// The value of a variable without blanks and quotes around it.
    pub(super) fn env_var(&self, name: &str) -> Option<&str> {
        self.env.get(name).filter(|value| !is_unset(value)).map(|value| clean_text(value))
    }

    /// Whether `DEBUG` turns the log level `debug` on.
    pub(super) fn is_debug(&self) -> Result<bool, FieldError> {
        let Some(value) = self.env_var("DEBUG") else { return Ok(false) };
        match value.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => {
                let error = self.variable_error("DEBUG", "expected true, yes, on or 1, or false, no, off or 0");
                Err(error.with_value(format!("{value:?}")))
            }
        }
    }

    /// `RETELL_WEBHOOK__SECTION__KEY` as (name, `section.key`, value). Not a source of the config crate: overrides
    /// always rank above sources, and the conventional names, which are overrides, must rank below these.
    pub(super) fn prefixed_variables(&self) -> Vec<(&str, String, &str)> {
        let to_key = |name: &str| Some(name.to_lowercase().strip_prefix(PREFIX)?.replace("__", "."));
        let variables = self.env.keys().filter_map(|name| Some((name.as_str(), to_key(name)?, self.env_var(name)?)));
        variables.collect()
    }

    /// The value of a variable, or the contents of the file that the variable with `_FILE` added to its name names; and
    /// the name of the variable that is set.
    pub(super) fn read_value_or_file(&self, name: &str) -> Result<Option<(String, String)>, FieldError> {
        let file_name = format!("{name}_FILE");
        match (self.env_var(name), self.env_var(&file_name)) {
            (Some(_), Some(_)) => {
                Err(self.variable_error(name, format!("both are set; set either {name} or {file_name}, not both")))
            }
            (Some(value), None) => Ok(Some((name.to_owned(), value.to_owned()))),
            (None, Some(path)) => {
                let invalid = |error: String| self.variable_error(&file_name, error);
                let path =
                    expand_home(path, self.home()).map_err(|why| invalid(format!("not the path of a file: {why}")))?;
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| invalid(format!("cannot read the file it names: {error}")))?;
                Ok(Some((file_name, clean_text(&text).to_owned())))
            }
            (None, None) => Ok(None),
        }
    }

    /// The home folder, which `~` in paths stands for.
    pub(super) fn home(&self) -> Option<&str> {
        self.env_var("HOME")
    }

    pub(super) fn variable_origin(&self, name: &str) -> Origin {
        match self.dotenv_lines.get(name) {
            Some(line) => Origin::DotEnv { variable: name.to_owned(), line: *line },
            None => Origin::Variable(name.to_owned()),
        }
    }

    /// An error in the text of a variable, as opposed to the value of a setting.
    pub(super) fn variable_error(&self, name: &str, problem: impl Into<String>) -> FieldError {
        FieldError::new(name, problem).with_origin(self.variable_origin(name))
    }
}

/// Makes `folder` the working directory, where relative paths start.
///
/// # Errors
/// It cannot be entered.
pub(crate) fn enter_folder(folder: &Path) -> Result<(), String> {
    std::env::set_current_dir(folder)
        .map_err(|error| format!("cannot change to the folder {}: {error}; name an existing folder", folder.display()))
}

/// A variable as text. One that is not text is an error if it may be a setting.
fn decode_variable(name: OsString, value: OsString) -> Option<Result<(String, String), FieldError>> {
    let name = name.into_string().ok()?;
    let is_setting = name.to_lowercase().starts_with("retell_")
        || ENV_ALIASES.iter().any(|(alias, _)| *alias == name)
        || matches!(name.as_str(), "RUN_ENV" | "DEBUG");
    match value.into_string() {
        Ok(value) => Some(Ok((name, value))),
        Err(_) if is_setting => {
            let origin = Origin::Variable(name.clone());
            Some(Err(FieldError::new(name, "it is not valid UTF-8; set it again").with_origin(origin)))
        }
        Err(_) => None,
    }
}

type DotEnv = (BTreeMap<String, String>, BTreeMap<String, usize>);

/// The variables of the file, and the line of each.
fn read_dotenv(path: &Path) -> Result<DotEnv, FieldError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(DotEnv::default()),
        Err(error) => return Err(FieldError::new("", format!("cannot read the file: {error}")).with_origin(".env")),
    };
    // Editors on Windows write a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    // The library's message quotes the offending line, which may hold an API key, so it is not passed on.
    let env: BTreeMap<String, String> = dotenvy::from_read_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| FieldError::new("", "a line is not of the form NAME=value; quote values with spaces"))
        .map_err(|error| error.with_origin(".env"))?;
    let name_of = |line: &str| {
        let line = line.trim_start();
        let (name, _) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        Some(name.trim().to_owned())
    };
    let lines = text.lines().zip(1..).filter_map(|(line, number)| Some((name_of(line)?, number)));
    let lines = lines.filter(|(name, _)| env.contains_key(name)).collect();
    Ok((env, lines))
}
