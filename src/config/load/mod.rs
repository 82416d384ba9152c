//! Reads the layers of the settings and merges them, and describes the keys that they may hold.

mod origins;
pub(crate) mod reference;
mod renamed;
mod restart_keys;
pub(in crate::config) mod suggest;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};

use crate::config::Settings;

use self::suggest::suggest_key;
use crate::base::secret::Secret;
use crate::config::sections::security::{invalid_key_reason, parse_keys};

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
}

impl ConfigSources {
    /// The working directory, its `.env`, and the process's environment, which overrides `.env`.
    ///
    /// # Errors
    /// A `.env` file that exists but cannot be read or parsed.
    pub fn from_process() -> Result<Self, ConfigError> {
        let mut env = read_dotenv(Path::new(".env"))?;
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        env.extend(std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let value = value.into_string().ok()?;
            // An empty variable counts as unset, so it must not override one from `.env`.
            (!value.is_empty()).then_some((name, value))
        }));
        Ok(Self { base_dir: Some(PathBuf::from(".")), env })
    }

    fn env_var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

fn read_dotenv(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    // The library's message quotes the offending line, which may hold an API key, so it is not passed on.
    let unreadable = |_| ConfigError::invalid(".env", "a line is not of the form NAME=value; quote values with spaces");
    dotenvy::from_path_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)
}

/// Invalid settings: the key, the reason and the next step. The text never contains a secret.
#[derive(Debug)]
pub struct ConfigError(String);

impl ConfigError {
    pub(in crate::config) fn invalid(key: &str, why: impl fmt::Display) -> Self {
        Self(format!("{key}: {why}"))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration: {}", self.0)
    }
}

impl std::error::Error for ConfigError {}

pub(in crate::config) fn load(sources: &ConfigSources) -> Result<Settings, ConfigError> {
    let merged = merge_layers(sources)?;
    let mut unknown = None;
    let deserialized = serde_ignored::deserialize(merged, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    });
    let mut settings: Settings = deserialized.map_err(|error| redact_error(with_origin(error, sources)))?;
    if let Some(path) = unknown {
        return Err(unknown_key_error(&path, sources));
    }
    if let Some(keys) = api_keys_from_env(sources)? {
        settings.security.keys = keys;
    }
    match find_file_only_violation(&prefixed_variables(sources), &settings) {
        Some((key, why)) => Err(ConfigError::invalid(&key, why)),
        None => Ok(settings),
    }
}

/// A variable that sets what only a file may set. More people and programs can set a variable of the process than can
/// edit its configuration files.
fn find_file_only_violation(variables: &[(String, String)], settings: &Settings) -> Option<(String, &'static str)> {
    let violation = |(key, _): &(String, String)| {
        if key.starts_with("egress") {
            let why = "the allowed destinations are set in a configuration file only, such as config/local.toml; \
                       unset the variable RETELL_WEBHOOK__EGRESS__…";
            return Some((key.clone(), why));
        }
        if key == "security.verify" && !settings.security.verify {
            let why = "verification is turned off in a configuration file only, such as config/local.toml; \
                       unset the variable RETELL_WEBHOOK__SECURITY__VERIFY";
            return Some((key.clone(), why));
        }
        None
    };
    variables.iter().find_map(violation)
}

fn merge_layers(sources: &ConfigSources) -> Result<Config, ConfigError> {
    let mut builder = Config::builder();
    for file in config_files(sources)? {
        builder = builder.add_source(File::from(file).format(FileFormat::Toml).required(false));
    }
    for (name, key) in ENV_ALIASES {
        if let Some(value) = sources.env_var(name) {
            builder = builder.set_override(key, value).map_err(redact_error)?;
        }
    }
    if sources.env_var("DEBUG").is_some_and(is_truthy) {
        builder = builder.set_override("log.level", "debug").map_err(redact_error)?;
    }
    for (key, value) in prefixed_variables(sources) {
        // Checked before the value is merged: HANDLERS[0]__COMMAND[0] would replace one entry of a list, and access to
        // environment variables must not be enough to run another program.
        let section = key.split(['.', '[']).next().unwrap_or_default();
        if matches!(section, "handlers" | "functions") {
            let variables = format!("RETELL_WEBHOOK__{}…", section.to_uppercase());
            let why = format!("it is set in a configuration file only, such as config/local.toml; unset {variables}");
            return Err(ConfigError::invalid(section, why));
        }
        if ["inbound.rules", "inbound.fallback"].iter().any(|section| key.starts_with(section)) {
            let why = "rules and fallback are set in a configuration file only, such as config/local.toml; \
                       unset RETELL_WEBHOOK__INBOUND__RULES… and …__FALLBACK…";
            return Err(ConfigError::invalid("inbound", why));
        }
        builder = builder.set_override(key, value).map_err(redact_error)?;
    }
    builder.build().map_err(redact_error)
}

pub(super) fn config_files(sources: &ConfigSources) -> Result<Vec<PathBuf>, ConfigError> {
    let Some(folder) = sources.base_dir.as_ref().map(|folder| folder.join("config")) else {
        return Ok(Vec::new());
    };
    let mut files = vec![folder.join("default.toml")];
    if let Some(name) = sources.env_var("RUN_ENV") {
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
            return Err(ConfigError::invalid(
                "RUN_ENV",
                "expected a name of letters, digits, `-` or `_`, such as production",
            ));
        }
        files.push(folder.join(format!("{name}.toml")));
    }
    files.push(folder.join("local.toml"));
    Ok(files)
}

/// `RETELL_WEBHOOK__SECTION__KEY` as (`section.key`, value). Not added as a source of the config crate: overrides
/// always rank above sources, and the conventional names, which are overrides, must rank below these.
fn prefixed_variables(sources: &ConfigSources) -> Vec<(String, String)> {
    let env: HashMap<String, String> = sources.env.clone().into_iter().collect();
    let source = Environment::with_prefix("RETELL_WEBHOOK")
        .prefix_separator("__")
        .separator("__")
        .ignore_empty(true)
        .source(Some(env));
    let values = config::Source::collect(&source).unwrap_or_default();
    values.into_iter().filter_map(|(key, value)| Some((key, value.into_string().ok()?))).collect()
}

pub(super) fn is_truthy(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

/// API keys from the variables with conventional names; an error names the variable. `RETELL_WEBHOOK__SECURITY__KEYS`
/// overrides them.
fn api_keys_from_env(sources: &ConfigSources) -> Result<Option<Vec<Secret>>, ConfigError> {
    if sources.env_var("RETELL_WEBHOOK__SECURITY__KEYS").is_some() {
        return Ok(None);
    }
    let mut keys: Vec<Secret> = Vec::new();
    for name in API_KEY_VARIABLES {
        let Some(text) = read_value_or_file(sources, name)? else { continue };
        for key in parse_keys(&text) {
            if let Some(why) = invalid_key_reason(&key) {
                return Err(ConfigError::invalid(
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

fn read_value_or_file(sources: &ConfigSources, name: &str) -> Result<Option<String>, ConfigError> {
    let file_name = format!("{name}_FILE");
    match (sources.env_var(name), sources.env_var(&file_name)) {
        (Some(_), Some(_)) => {
            Err(ConfigError::invalid(name, format!("both are set; set either {name} or {file_name}, not both")))
        }
        (Some(value), None) => Ok(Some(value.to_owned())),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map(|text| Some(text.trim_end().to_owned()))
            .map_err(|error| ConfigError::invalid(&file_name, format!("cannot read the file it names: {error}"))),
        (None, None) => Ok(None),
    }
}

fn unknown_key_error(path: &str, sources: &ConfigSources) -> ConfigError {
    // serde_ignored writes list positions as numbers and the inside of an `Option` as `?`.
    let named: Vec<&str> = path.split('.').filter(|part| *part != "?" && part.parse::<usize>().is_err()).collect();
    let key = named.join(".");
    let place = origin_of_key(&key, sources).map(|origin| format!(" in {origin}")).unwrap_or_default();
    let hint = if let Some(new) = renamed::new_name(&key) {
        format!("it is now `{new}`")
    } else if let Some(similar) = suggest_key(&key) {
        format!("did you mean `{similar}`?")
    } else {
        "`retell-webhook config default` prints every key".to_owned()
    };
    ConfigError(format!("unknown key `{key}`{place}: {hint}"))
}

/// The file or the variable that sets `key`, a key in the table `key`, or the list of tables that `key` is in.
fn origin_of_key(key: &str, sources: &ConfigSources) -> Option<String> {
    let mut origins = sources.origins().ok()?;
    let in_table = format!("{key}.");
    if let Some((_, origin)) = origins.iter().find(|(name, _)| name.starts_with(&in_table)) {
        return Some(origin.clone());
    }
    let mut path = key;
    loop {
        if let Some(origin) = origins.remove(path) {
            return Some(origin);
        }
        (path, _) = path.rsplit_once('.')?;
    }
}

/// Adds the name of the variable to a type error: the config crate knows only the origins of values from files.
fn with_origin(error: config::ConfigError, sources: &ConfigSources) -> config::ConfigError {
    match error {
        config::ConfigError::Type { origin: None, unexpected, expected, key: Some(key) } => {
            let origin = origin_of_key(&key, sources);
            config::ConfigError::Type { origin, unexpected, expected, key: Some(key) }
        }
        other => other,
    }
}

/// The config crate quotes values and lines of the file in its messages. Both may hold an API key, so neither is
/// passed on.
pub(super) fn redact_error(error: config::ConfigError) -> ConfigError {
    match error {
        config::ConfigError::Type { origin, unexpected, expected, key } => {
            let place = origin.map(|origin| format!(" (in {origin})")).unwrap_or_default();
            let key = key.unwrap_or_else(|| "a key".to_owned());
            ConfigError(format!("{key}: expected {expected}, found {}{place}", value_kind(&unexpected)))
        }
        config::ConfigError::At { error, origin, key } => {
            let place = origin.map(|origin| format!(" (in {origin})")).unwrap_or_default();
            let inner = redact_error(*error).0;
            ConfigError(key.map_or(format!("{inner}{place}"), |key| format!("{key}: {inner}{place}")))
        }
        config::ConfigError::FileParse { uri, cause } => {
            let file = uri.unwrap_or_else(|| "a file".to_owned());
            let text = cause.to_string();
            let place = text.lines().next().unwrap_or_default();
            ConfigError(format!("{file}: {place}; it is not valid TOML there"))
        }
        other => ConfigError(redact_values(&other.to_string())),
    }
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
