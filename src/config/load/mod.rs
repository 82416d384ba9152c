//! Reads the layers of the settings and merges them, and describes the keys that they may hold.

mod api_keys;
mod clean_values;
mod origins;
pub(crate) mod reference;
mod renamed;
mod restart_keys;
mod sources;
pub(in crate::config) mod suggest;

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};

use self::clean_values::clean_values;
pub use self::origins::Origins;
pub use self::sources::ConfigSources;
pub(crate) use self::sources::enter_folder;
pub(in crate::config) use self::sources::{API_KEY_VARIABLES, ENV_ALIASES};
use self::suggest::suggest_key;
use super::FieldError;
use crate::config::{HandlerSettings, Settings};

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
    api_keys::apply(&mut settings, sources)?;
    match find_file_only_violation(sources, &settings) {
        Some(violation) => Err(violation),
        None => Ok(settings),
    }
}

/// A variable that sets what only a file may set. More people and programs can set a variable of the process than can
/// edit its configuration files.
fn find_file_only_violation(sources: &ConfigSources, settings: &Settings) -> Option<FieldError> {
    sources.prefixed_variables().into_iter().find_map(|(name, key, _)| {
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
    if sources.is_debug()? {
        builder = builder.set_override("log.level", "debug").map_err(redact_error)?;
    }
    for (name, key, value) in sources.prefixed_variables() {
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
    for (key, value) in &sources.command_line {
        builder = builder.set_override(key, value.as_str()).map_err(redact_error)?;
    }
    let mut merged = builder.build().map_err(redact_error)?;
    clean_values("", &mut merged.cache, sources.home())?;
    Ok(merged)
}

/// The configuration files that exist, in the order of their layers.
fn read_files(sources: &ConfigSources) -> Result<Vec<ConfigFile>, FieldError> {
    let mut files = Vec::new();
    if let Some(folder) = sources.base_dir.as_ref().map(|folder| folder.join("config")) {
        files.extend(read_file(&folder.join("default.toml"))?);
        if let Some(path) = run_env_path(sources, &folder)? {
            files.extend(read_file(&path)?);
        }
        files.extend(read_file(&folder.join("local.toml"))?);
    }
    if let Some(path) = &sources.config_file {
        let missing = || {
            let problem = "the file of --config does not exist; name an existing file, or omit --config";
            FieldError::new("", problem).with_origin(display_path(path))
        };
        files.push(read_file(path)?.ok_or_else(missing)?);
    }
    Ok(files)
}

/// `None` for a file that does not exist.
fn read_file(path: &Path) -> Result<Option<ConfigFile>, FieldError> {
    let name = display_path(path);
    match std::fs::read_to_string(path) {
        // Editors on Windows write a byte order mark.
        Ok(text) => Ok(Some(ConfigFile { name, text: text.trim_start_matches('\u{feff}').to_owned() })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FieldError::new("", format!("cannot read the file: {error}")).with_origin(name)),
    }
}

/// The file of the environment that `RUN_ENV` names.
fn run_env_path(sources: &ConfigSources, folder: &Path) -> Result<Option<PathBuf>, FieldError> {
    let Some(name) = sources.env_var("RUN_ENV") else { return Ok(None) };
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
        let why = "expected a name of letters, digits, `-` or `_`, such as production";
        return Err(sources.variable_error("RUN_ENV", why));
    }
    let path = folder.join(format!("{name}.toml"));
    if path.is_file() { Ok(Some(path)) } else { Err(missing_run_env_file(sources, name, &path)) }
}

/// The settings of this environment would be missing without notice.
fn missing_run_env_file(sources: &ConfigSources, run_env: &str, path: &Path) -> FieldError {
    let folder = path.parent().unwrap_or(path);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "toml"));
    let mut found: Vec<String> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    found.sort();
    let found = if found.is_empty() { "no .toml file".to_owned() } else { found.join(", ") };
    let problem = format!(
        "the file {} does not exist; {} has {found}. Create the file, or unset the variable",
        display_path(path),
        display_path(folder)
    );
    sources.variable_error("RUN_ENV", problem).with_value(format!("{run_env:?}"))
}

/// A path as shown to people: `config/local.toml`.
fn display_path(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
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
