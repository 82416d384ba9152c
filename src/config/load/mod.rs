//! Reads the layers of the settings and merges them, and describes the keys that they may hold.

mod origins;
pub(crate) mod reference;
mod renamed;
mod restart_keys;
pub(in crate::config) mod suggest;

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};

use self::origins::Origin;
pub use self::origins::Origins;
use self::suggest::suggest_key;
use super::FieldError;
use crate::base::secret::Secret;
use crate::config::sections::security::{invalid_key_reason, parse_keys};
use crate::config::{HandlerSettings, Settings};

/// Variables with conventional names, and the keys that they set.
pub(in crate::config) const ENV_ALIASES: [(&str, &str); 3] =
    [("SERVER_URL", "server.url"), ("PORT", "server.port"), ("DATABASE_URL", "storage.url")];
/// Variables that hold API keys. Each also has a `_FILE` form.
pub(in crate::config) const API_KEY_VARIABLES: [&str; 2] = ["RETELL_API_KEY", "RETELL_WEBHOOK_SECRET_KEY"];

/// Where settings are read from. A value, so that tests read neither local files nor `.env`.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources {
    /// The directory that holds `config/`; `None` reads no file.
    pub base_dir: Option<PathBuf>,
    /// Environment variables, including those of `.env`.
    pub env: BTreeMap<String, String>,
    /// The variables in `env` that come from `.env`, and their lines there.
    pub dotenv_lines: BTreeMap<String, usize>,
}

impl ConfigSources {
    /// The working directory, its `.env`, and the process's environment, which overrides `.env`.
    ///
    /// # Errors
    /// A `.env` file that exists but cannot be read or parsed.
    pub fn from_process() -> Result<Self, FieldError> {
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        let process =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_layers(Path::new("."), process)
    }

    /// The files in a directory, its `.env`, and the variables of a process.
    pub(super) fn from_layers(
        base_dir: &Path,
        process: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, FieldError> {
        let (mut env, mut dotenv_lines) = read_dotenv(&base_dir.join(".env"))?;
        // An empty variable counts as unset, so it must not override one from `.env`.
        for (name, value) in process.filter(|(_, value)| !value.is_empty()) {
            dotenv_lines.remove(&name);
            env.insert(name, value);
        }
        Ok(Self { base_dir: Some(base_dir.to_owned()), env, dotenv_lines })
    }

    fn env_var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn variable_origin(&self, name: &str) -> Origin {
        match self.dotenv_lines.get(name) {
            Some(line) => Origin::DotEnv { variable: name.to_owned(), line: *line },
            None => Origin::Variable(name.to_owned()),
        }
    }

    /// An error in the text of a variable, as opposed to the value of a setting.
    fn variable_error(&self, name: &str, problem: impl Into<String>) -> FieldError {
        let error = FieldError::new(name, problem);
        match self.dotenv_lines.get(name.trim_end_matches("_FILE")).or(self.dotenv_lines.get(name)) {
            Some(line) => error.with_origin(format!(".env:{line}")),
            None => error,
        }
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

/// One configuration file that exists.
struct ConfigFile {
    /// Its path as shown to people: `config/local.toml`.
    name: String,
    text: String,
}

impl ConfigFile {
    /// The number of the line that holds the byte at `offset`.
    fn line_at(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }
}

pub(super) fn load(sources: &ConfigSources) -> Result<Settings, FieldError> {
    let files = read_files(sources)?;
    let origins = Origins::read(&files, sources)?;
    let mut settings = merge(&files, sources).map_err(|error| origins.locate(error))?;
    settings.origins = origins;
    Ok(settings)
}

fn merge(files: &[ConfigFile], sources: &ConfigSources) -> Result<Settings, FieldError> {
    let merged = merge_layers(files, sources)?;
    let mut unknown = None;
    let deserialized = serde_ignored::deserialize(merged, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    });
    let mut settings: Settings = deserialized.map_err(redact_error)?;
    if let Some(path) = unknown {
        return Err(unknown_key_error(&path));
    }
    HandlerSettings::add_built_in(&mut settings.handlers);
    if let Some(keys) = api_keys_from_env(sources)? {
        settings.security.keys = keys;
    }
    match find_file_only_violation(sources, &settings) {
        Some(violation) => Err(violation),
        None => Ok(settings),
    }
}

/// A variable that sets what only a file may set. More people and programs can set a variable of the process than can
/// edit its configuration files.
fn find_file_only_violation(sources: &ConfigSources, settings: &Settings) -> Option<FieldError> {
    prefixed_variables(sources).into_iter().find_map(|(name, key, _)| {
        let why = if key.starts_with("egress") {
            "the allowed destinations are set in a configuration file only, such as config/local.toml; \
             unset the variable"
        } else if key == "security.verify" && !settings.security.verify {
            "verification is turned off in a configuration file only, such as config/local.toml; unset the variable"
        } else {
            return None;
        };
        Some(FieldError::new(key, why).with_origin(sources.variable_origin(name)))
    })
}

fn merge_layers(files: &[ConfigFile], sources: &ConfigSources) -> Result<Config, FieldError> {
    let mut builder = Config::builder();
    for file in files {
        builder = builder.add_source(File::from_str(&file.text, FileFormat::Toml));
    }
    for (name, key) in ENV_ALIASES {
        if let Some(value) = sources.env_var(name) {
            builder = builder.set_override(key, value).map_err(redact_error)?;
        }
    }
    if sources.env_var("DEBUG").is_some_and(is_truthy) {
        builder = builder.set_override("log.level", "debug").map_err(redact_error)?;
    }
    for (name, key, value) in prefixed_variables(sources) {
        // Checked before the value is merged: HANDLERS[0]__COMMAND[0] would replace one entry of a list, and access to
        // environment variables must not be enough to run another program.
        let section = key.split(['.', '[']).next().unwrap_or_default();
        let is_file_only = matches!(section, "handlers" | "functions")
            || ["inbound.rules", "inbound.fallback"].iter().any(|section| key.starts_with(section));
        if is_file_only {
            let why = "it is set in a configuration file only, such as config/local.toml; unset the variable";
            return Err(FieldError::new(key, why).with_origin(sources.variable_origin(name)));
        }
        builder = builder.set_override(key, value).map_err(redact_error)?;
    }
    builder.build().map_err(redact_error)
}

/// The configuration files that exist, in the order of their layers.
fn read_files(sources: &ConfigSources) -> Result<Vec<ConfigFile>, FieldError> {
    let Some(folder) = sources.base_dir.as_ref().map(|folder| folder.join("config")) else {
        return Ok(Vec::new());
    };
    let mut paths = vec![folder.join("default.toml")];
    if let Some(name) = sources.env_var("RUN_ENV") {
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
            let why = "expected a name of letters, digits, `-` or `_`, such as production";
            return Err(sources.variable_error("RUN_ENV", why));
        }
        paths.push(folder.join(format!("{name}.toml")));
    }
    paths.push(folder.join("local.toml"));
    let mut files = Vec::new();
    for path in paths {
        let name = path.strip_prefix(".").unwrap_or(&path).display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => files.push(ConfigFile { name, text }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(FieldError::new("", format!("cannot read the file: {error}")).with_origin(name)),
        }
    }
    Ok(files)
}

/// `RETELL_WEBHOOK__SECTION__KEY` as (name, `section.key`, value). Not a source of the config crate: overrides always
/// rank above sources, and the conventional names, which are overrides, must rank below these.
fn prefixed_variables(sources: &ConfigSources) -> Vec<(&str, String, &str)> {
    let to_key = |name: &str| Some(name.to_lowercase().strip_prefix("retell_webhook__")?.replace("__", "."));
    let variables = sources.env.iter().filter(|(_, value)| !value.is_empty());
    variables.filter_map(|(name, value)| Some((name.as_str(), to_key(name)?, value.as_str()))).collect()
}

pub(super) fn is_truthy(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

/// API keys from the variables with conventional names; an error names the variable. `RETELL_WEBHOOK__SECURITY__KEYS`
/// overrides them.
fn api_keys_from_env(sources: &ConfigSources) -> Result<Option<Vec<Secret>>, FieldError> {
    if sources.env_var("RETELL_WEBHOOK__SECURITY__KEYS").is_some() {
        return Ok(None);
    }
    let mut keys: Vec<Secret> = Vec::new();
    for name in API_KEY_VARIABLES {
        let Some(text) = read_value_or_file(sources, name)? else { continue };
        for key in parse_keys(&text) {
            if let Some(why) = invalid_key_reason(&key) {
                return Err(sources.variable_error(
                    name,
                    format!(
                        "it {why}; set it to the key with the webhook badge from Retell's dashboard (Settings \
                         → API Keys), or unset it"
                    ),
                ));
            }
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    Ok(Some(keys).filter(|keys| !keys.is_empty()))
}

fn read_value_or_file(sources: &ConfigSources, name: &str) -> Result<Option<String>, FieldError> {
    let file_name = format!("{name}_FILE");
    match (sources.env_var(name), sources.env_var(&file_name)) {
        (Some(_), Some(_)) => {
            Err(sources.variable_error(name, format!("both are set; set either {name} or {file_name}, not both")))
        }
        (Some(value), None) => Ok(Some(value.to_owned())),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map(|text| Some(text.trim_end().to_owned()))
            .map_err(|error| sources.variable_error(&file_name, format!("cannot read the file it names: {error}"))),
        (None, None) => Ok(None),
    }
}

fn unknown_key_error(path: &str) -> FieldError {
    // serde_ignored writes list positions as numbers and the inside of an `Option` as `?`.
    let is_position = |part: &str| part.parse::<usize>().is_ok();
    let parts: Vec<&str> = path.split('.').filter(|part| *part != "?").collect();
    let key = parts.iter().fold(String::new(), |path, part| match (path.as_str(), is_position(part)) {
        ("", _) => (*part).to_owned(),
        (path, true) => format!("{path}[{part}]"),
        (path, false) => format!("{path}.{part}"),
    });
    let plain: Vec<&str> = parts.into_iter().filter(|part| !is_position(part)).collect();
    let plain = plain.join(".");
    let hint = if let Some(new) = renamed::new_name(&plain) {
        format!("it is now `{new}`")
    } else if let Some(similar) = suggest_key(&plain) {
        format!("did you mean `{similar}`?")
    } else {
        "`retell-webhook config default` prints every key".to_owned()
    };
    FieldError::new(key, format!("unknown key; {hint}"))
}

/// The config crate quotes values in its messages, and any of them may be an API key, so none is passed on.
fn redact_error(error: config::ConfigError) -> FieldError {
    match error {
        config::ConfigError::Type { unexpected, expected, key, .. } => {
            let problem = format!("expected {expected}, found {}", value_kind(&unexpected));
            FieldError::new(normalize_path(&key.unwrap_or_default()), problem)
        }
        config::ConfigError::At { error, key, .. } => {
            let inner = redact_error(*error);
            FieldError::new(key.map_or_else(|| inner.key(), |key| normalize_path(&key)), inner.problem())
        }
        config::ConfigError::NotFound(key) => FieldError::new(normalize_path(&key), "it is required, but not set"),
        other => FieldError::new("", redact_values(&other.to_string())),
    }
}

/// The config crate writes `handlers[1]url`.
fn normalize_path(path: &str) -> String {
    path.replace(']', "].").replace("].[", "][").replace("..", ".").trim_end_matches('.').to_owned()
}

/// Removes quoted values from a message of serde or the config crate: `invalid type: string "…"`. The names of valid
/// variants, quoted after `expected`, stay.
fn redact_values(message: &str) -> String {
    let (found, expected) = message.split_once("expected").unwrap_or((message, ""));
    let mut text = String::new();
    for (position, part) in found.split(['"', '`']).enumerate() {
        text.push_str(if position % 2 == 0 { part } else { "…" });
    }
    if expected.is_empty() { text } else { format!("{text}expected{expected}") }
}

/// The kind of a value without the value itself: `string "abc"` becomes `string`.
fn value_kind(unexpected: &impl fmt::Display) -> String {
    let text = unexpected.to_string();
    text.split(['"', '`', '\'']).next().unwrap_or_default().trim_end().to_owned()
}
