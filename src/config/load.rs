//! Reads the layers and merges them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};

use super::Settings;
use super::nearest::nearest_key;
use super::security::{refuse_key, split_keys};
use crate::base::secret::Secret;

/// The familiar names of variables, and the keys they set.
pub(super) const ALIASES: [(&str, &str); 3] =
    [("SERVER_URL", "server.url"), ("PORT", "server.port"), ("DATABASE_URL", "storage.url")];
/// The variables that hold keys.
pub(super) const KEY_VARIABLES: [&str; 2] = ["RETELL_API_KEY", "RETELL_WEBHOOK_SECRET_KEY"];

/// Where settings are read from, as a value: tests read no local file and no `.env`.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The folder that holds `config/`; `None` reads no file.
    pub folder: Option<PathBuf>,
    /// Environment variables, those of `.env` included.
    pub env: BTreeMap<String, String>,
}

impl Sources {
    /// The working folder, its `.env`, and the process's environment (which wins over `.env`).
    ///
    /// # Errors
    /// A `.env` that is there but cannot be read.
    pub fn of_process() -> Result<Self, ConfigError> {
        let mut env = read_dotenv(Path::new(".env"))?;
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        env.extend(std::env::vars_os().filter_map(|(name, value)| {
            // An empty variable counts as unset, so it does not hide one from `.env` either.
            Some((name.into_string().ok()?, value.into_string().ok()?)).filter(|(_, value)| !value.is_empty())
        }));
        Ok(Self { folder: Some(PathBuf::from(".")), env })
    }

    fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

fn read_dotenv(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    // The library's message quotes the offending line, which may hold a key; ours names the file only.
    let unreadable = |_| ConfigError::refused(".env", "a line is not of the form NAME=value; quote values with spaces");
    dotenvy::from_path_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)
}

/// Settings that are refused: which key, and what to do. Never contains a secret.
#[derive(Debug)]
pub struct ConfigError(String);

impl ConfigError {
    pub(super) fn refused(key: &str, why: impl fmt::Display) -> Self {
        Self(format!("{key}: {why}"))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration: {}", self.0)
    }
}

impl std::error::Error for ConfigError {}

pub(super) fn load(sources: &Sources) -> Result<Settings, ConfigError> {
    let merged = merge(sources)?;
    let mut unknown = None;
    let mut settings: Settings = serde_ignored::deserialize(merged, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    })
    .map_err(describe)?;
    if let Some(path) = unknown {
        return Err(unknown_key(&path));
    }
    if let Some(keys) = keys_from_env(sources)? {
        settings.security.keys = keys;
    }
    match from_file_only(&prefixed(sources), &settings) {
        Some((key, why)) => Err(ConfigError::refused(&key, why)),
        None => Ok(settings),
    }
}

/// A variable that sets what only a file may set: a variable is set by more people and more programs than a file.
fn from_file_only(variables: &[(String, String)], settings: &Settings) -> Option<(String, &'static str)> {
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

fn merge(sources: &Sources) -> Result<Config, ConfigError> {
    let mut builder = Config::builder();
    for file in files(sources)? {
        builder = builder.add_source(File::from(file).format(FileFormat::Toml).required(false));
    }
    for (name, key) in ALIASES {
        if let Some(value) = sources.var(name) {
            builder = builder.set_override(key, value).map_err(describe)?;
        }
    }
    if sources.var("DEBUG").is_some_and(is_true) {
        builder = builder.set_override("log.level", "debug").map_err(describe)?;
    }
    for (key, value) in prefixed(sources) {
        // Single entries can be named, as in HANDLERS[0]__COMMAND[0]: whoever sets a variable is not to name a program.
        let section = key.split(['.', '[']).next().unwrap_or_default();
        if matches!(section, "handlers" | "functions") {
            let variables = format!("RETELL_WEBHOOK__{}…", section.to_uppercase());
            let why = format!("set in files only, such as config/local.toml; unset the variables {variables}");
            return Err(ConfigError::refused(section, why));
        }
        if ["inbound.rules", "inbound.fallback"].iter().any(|section| key.starts_with(section)) {
            let why = "rules are set in a configuration file only, such as config/local.toml; \
                       unset the variables RETELL_WEBHOOK__INBOUND__RULES… and …__FALLBACK…";
            return Err(ConfigError::refused("inbound", why));
        }
        builder = builder.set_override(key, value).map_err(describe)?;
    }
    builder.build().map_err(describe)
}

pub(super) fn files(sources: &Sources) -> Result<Vec<PathBuf>, ConfigError> {
    let Some(folder) = sources.folder.as_ref().map(|folder| folder.join("config")) else {
        return Ok(Vec::new());
    };
    let mut files = vec![folder.join("default.toml")];
    if let Some(name) = sources.var("RUN_ENV") {
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
            return Err(ConfigError::refused(
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
fn prefixed(sources: &Sources) -> Vec<(String, String)> {
    let env: HashMap<String, String> = sources.env.clone().into_iter().collect();
    let source = Environment::with_prefix("RETELL_WEBHOOK")
        .prefix_separator("__")
        .separator("__")
        .ignore_empty(true)
        .source(Some(env));
    let values = config::Source::collect(&source).unwrap_or_default();
    values.into_iter().filter_map(|(key, value)| Some((key, value.into_string().ok()?))).collect()
}

pub(super) fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

/// Keys from the familiar variables, each refused by the variable's name. `RETELL_WEBHOOK__SECURITY__KEYS` wins over them.
fn keys_from_env(sources: &Sources) -> Result<Option<Vec<Secret>>, ConfigError> {
    if sources.var("RETELL_WEBHOOK__SECURITY__KEYS").is_some() {
        return Ok(None);
    }
    let mut keys: Vec<Secret> = Vec::new();
    for name in KEY_VARIABLES {
        let Some(text) = by_value_or_file(sources, name)? else { continue };
        for key in split_keys(&text) {
            if let Some(why) = refuse_key(&key) {
                return Err(ConfigError::refused(
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

fn by_value_or_file(sources: &Sources, name: &str) -> Result<Option<String>, ConfigError> {
    let file_name = format!("{name}_FILE");
    match (sources.var(name), sources.var(&file_name)) {
        (Some(_), Some(_)) => Err(ConfigError::refused(name, format!("set either {name} or {file_name}, not both"))),
        (Some(value), None) => Ok(Some(value.to_owned())),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map(|text| Some(text.trim_end().to_owned()))
            .map_err(|error| ConfigError::refused(&file_name, format!("cannot read the file it names: {error}"))),
        (None, None) => Ok(None),
    }
}

fn unknown_key(path: &str) -> ConfigError {
    let named: Vec<&str> = path.split('.').filter(|part| *part != "?" && part.parse::<usize>().is_err()).collect();
    let named = named.join(".");
    let hint = match nearest_key(&named) {
        Some(key) => format!("did you mean `{key}`?"),
        None => "see config/default.toml for every key".to_owned(),
    };
    ConfigError(format!("unknown key `{named}`; {hint}"))
}

/// The config crate quotes values and lines of the file in its messages; either may be a key, so neither is passed on.
pub(super) fn describe(error: config::ConfigError) -> ConfigError {
    match error {
        config::ConfigError::Type { origin, unexpected, expected, key } => {
            let place = origin.map(|origin| format!(" (in {origin})")).unwrap_or_default();
            let key = key.unwrap_or_else(|| "a key".to_owned());
            ConfigError(format!("{key}: expected {expected}, found {}{place}", kind_of(&unexpected)))
        }
        config::ConfigError::At { error, origin, key } => {
            let place = origin.map(|origin| format!(" (in {origin})")).unwrap_or_default();
            let inner = describe(*error).0;
            ConfigError(key.map_or(format!("{inner}{place}"), |key| format!("{key}: {inner}{place}")))
        }
        config::ConfigError::FileParse { uri, cause } => {
            let file = uri.unwrap_or_else(|| "a file".to_owned());
            let text = cause.to_string();
            let place = text.lines().next().unwrap_or_default();
            ConfigError(format!("{file}: {place}; it is not valid TOML there"))
        }
        other => ConfigError(without_values(&other.to_string())),
    }
}

/// A message of serde or the config crate without the values it quotes: `invalid type: string "…"`. The names of
/// variants that would be right, quoted behind `expected`, stay.
fn without_values(message: &str) -> String {
    let (found, expected) = message.split_once("expected").unwrap_or((message, ""));
    let mut text = String::new();
    for (position, part) in found.split(['"', '`']).enumerate() {
        text.push_str(if position % 2 == 0 { part } else { "…" });
    }
    if expected.is_empty() { text } else { format!("{text}expected{expected}") }
}

/// The kind of value found, without the value: `string "abc"` becomes `string`.
fn kind_of(unexpected: &impl fmt::Display) -> String {
    let text = unexpected.to_string();
    text.split(['"', '`', '\'']).next().unwrap_or_default().trim_end().to_owned()
}
