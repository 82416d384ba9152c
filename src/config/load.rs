//! Reads the layers and merges them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};

use super::Settings;
use super::security::{invalid_key_reason, parse_keys};
use super::suggest::suggest_key;
use crate::base::secret::Secret;

/// The familiar names of variables, and the keys they set.
pub(super) const ENV_ALIASES: [(&str, &str); 3] =
    [("SERVER_URL", "server.url"), ("PORT", "server.port"), ("DATABASE_URL", "storage.url")];
/// The variables that hold keys.
pub(super) const API_KEY_VARIABLES: [&str; 2] = ["RETELL_API_KEY", "RETELL_WEBHOOK_SECRET_KEY"];

/// Where settings are read from, as a value: tests read no local file and no `.env`.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources {
    /// The folder that holds `config/`; `None` reads no file.
    pub base_dir: Option<PathBuf>,
    /// Environment variables, those of `.env` included.
    pub env: BTreeMap<String, String>,
}

impl ConfigSources {
    /// The working folder, its `.env`, and the process's environment (which wins over `.env`).
    ///
    /// # Errors
    /// A `.env` that is there but cannot be read.
    pub fn from_process() -> Result<Self, ConfigError> {
        let mut env = read_dotenv(Path::new(".env"))?;
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        env.extend(std::env::vars_os().filter_map(|(name, value)| {
            // An empty variable counts as unset, so it does not hide one from `.env` either.
            Some((name.into_string().ok()?, value.into_string().ok()?)).filter(|(_, value)| !value.is_empty())
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
    // The library's message quotes the offending line, which may hold a key; ours names the file only.
    let unreadable = |_| ConfigError::invalid(".env", "a line is not of the form NAME=value; quote values with spaces");
    dotenvy::from_path_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)
}

/// Settings that are refused: which key, and what to do. Never contains a secret.
#[derive(Debug)]
pub struct ConfigError(String);

impl ConfigError {
    pub(super) fn invalid(key: &str, why: impl fmt::Display) -> Self {
        Self(format!("{key}: {why}"))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration: {}", self.0)
    }
}

impl std::error::Error for ConfigError {}

pub(super) fn load(sources: &ConfigSources) -> Result<Settings, ConfigError> {
    let merged = merge_layers(sources)?;
    let mut unknown = None;
    let mut settings: Settings = serde_ignored::deserialize(merged, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    })
    .map_err(redact_error)?;
    if let Some(path) = unknown {
        return Err(unknown_key_error(&path));
    }
    if let Some(keys) = api_keys_from_env(sources)? {
        settings.security.keys = keys;
    }
    match find_file_only_violation(&prefixed_variables(sources), &settings) {
        Some((key, why)) => Err(ConfigError::invalid(&key, why)),
        None => Ok(settings),
    }
}

/// A variable that sets what only a file may set: a variable is set by more people and more programs than a file.
fn find_file_only_violation(variables: &[(String, String)], settings: &Settings) -> Option<(String, &'static str)> {
    let refused = |(key, _): &(String, String)| {
        if key.starts_with("egress") {
            let why = "what handlers may reach is set in a configuration file only, such as config/local.toml; \
                       unset the variable RETELL_WEBHOOK__EGRESS__…";
            return Some((key.clone(), why));
        }
        if key.starts_with("handlers") {
            let why = "handlers are set in a configuration file only, such as config/local.toml; \
                       unset the variable RETELL_WEBHOOK__HANDLERS…";
            return Some((key.clone(), why));
        }
        if key.starts_with("functions") {
            let why = "functions are set in a configuration file only, such as config/local.toml; \
                       unset the variable RETELL_WEBHOOK__FUNCTIONS…";
            return Some((key.clone(), why));
        }
        let off = key == "security.verify" && !settings.security.verify;
        off.then(|| {
            let why = "verification is turned off in a configuration file only, such as config/local.toml; \
                       unset the variable RETELL_WEBHOOK__SECURITY__VERIFY";
            (key.clone(), why)
        })
    };
    variables.iter().find_map(refused)
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
        // Single entries can be named, as in HANDLERS[0]__COMMAND[0]: whoever sets a variable is not to name a program.
        let section = key.split(['.', '[']).next().unwrap_or_default();
        if matches!(section, "handlers" | "functions") {
            let variables = format!("RETELL_WEBHOOK__{}…", section.to_uppercase());
            let why = format!("set in files only, such as config/local.toml; unset the variables {variables}");
            return Err(ConfigError::invalid(section, why));
        }
        if ["inbound.rules", "inbound.fallback"].iter().any(|section| key.starts_with(section)) {
            let why = "rules are set in a configuration file only, such as config/local.toml; \
                       unset the variables RETELL_WEBHOOK__INBOUND__RULES… and …__FALLBACK…";
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

/// `RETELL_WEBHOOK__SECTION__KEY` as (`section.key`, value). The config crate's own environment source would do, but it
/// is a source among others, while the familiar names must rank below these and above files.
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

/// Keys from the familiar variables, each refused by the variable's name. `RETELL_WEBHOOK__SECURITY__KEYS` wins over them.
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
                        "it {why}; set it to the key with the webhook badge from Retell's dashboard (Settings → API Keys), or unset it"
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
        (Some(_), Some(_)) => Err(ConfigError::invalid(name, format!("set either {name} or {file_name}, not both"))),
        (Some(value), None) => Ok(Some(value.to_owned())),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map(|text| Some(text.trim_end().to_owned()))
            .map_err(|error| ConfigError::invalid(&file_name, format!("cannot read the file it names: {error}"))),
        (None, None) => Ok(None),
    }
}

fn unknown_key_error(path: &str) -> ConfigError {
    let named: Vec<&str> = path.split('.').filter(|part| *part != "?" && part.parse::<usize>().is_err()).collect();
    let named = named.join(".");
    let hint = match suggest_key(&named) {
        Some(key) => format!("did you mean `{key}`?"),
        None => "see config/default.toml for every key".to_owned(),
    };
    ConfigError(format!("unknown key `{named}`; {hint}"))
}

/// The config crate quotes values and lines of the file in its messages; either may be a key, so neither is passed on.
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

/// A message of serde or the config crate without the values it quotes: `invalid type: string "…"`. The names of
/// variants that would be right, quoted behind `expected`, stay.
fn redact_values(message: &str) -> String {
    let (found, expected) = message.split_once("expected").unwrap_or((message, ""));
    let mut text = String::new();
    for (position, part) in found.split(['"', '`']).enumerate() {
        text.push_str(if position % 2 == 0 { part } else { "…" });
    }
    if expected.is_empty() { text } else { format!("{text}expected{expected}") }
}

/// The kind of value found, without the value: `string "abc"` becomes `string`.
fn value_kind(unexpected: &impl fmt::Display) -> String {
    let text = unexpected.to_string();
    text.split(['"', '`', '\'']).next().unwrap_or_default().trim_end().to_owned()
}
