//! The file and line, or the environment variable, that each setting comes from.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{API_KEY_VARIABLES, ConfigFile, ConfigSources, ENV_ALIASES};
use crate::config::FieldError;

const COMMAND_LINE: &str = "command line";

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    File {
        name: String,
        line: usize,
    },
    /// A line of `.env`, which sets an environment variable.
    DotEnv {
        variable: String,
        line: usize,
    },
    Variable(String),
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::DotEnv { variable, line } => write!(f, ".env:{line} ({variable})"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::CommandLine => f.write_str(COMMAND_LINE),
        }
    }
}

/// The origin of every value that a layer sets, by its path: `server.port`, `handlers[1].url`. Other keys have their
/// built-in values.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<String, Origin>);

/// Settings with the same values are equal, wherever the values were set.
impl PartialEq for Origins {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Origins {
    /// Reads the positions of all keys in the files, and the names of the variables.
    ///
    /// # Errors
    /// A file that is not TOML, or an invalid value of `DEBUG`.
    pub(super) fn read(files: &[ConfigFile], sources: &ConfigSources) -> Result<Self, FieldError> {
        let mut origins = Self::default();
        for file in files {
            // The library's message quotes the line, which may hold an API key, so only its number is passed on.
            let table = DeTable::parse(&file.text).map_err(|error| {
                let line = file.line_at(error.span().map_or(0, |span| span.start));
                FieldError::new("", "it is not valid TOML there").with_origin(format!("{}:{line}", file.name))
            })?;
            for (name, value) in table.get_ref() {
                origins.record(name.get_ref(), value, name.span().start, file);
            }
        }
        for (name, key) in ENV_ALIASES.into_iter().filter(|(name, _)| sources.env_var(name).is_some()) {
            origins.replace(key, sources.variable_origin(name));
        }
        if sources.is_debug()? {
            origins.replace("log.level", sources.variable_origin("DEBUG"));
        }
        let keys = API_KEY_VARIABLES.into_iter().flat_map(|name| [name.to_owned(), format!("{name}_FILE")]);
        let keys: Vec<_> = keys.filter(|name| sources.env_var(name).is_some()).collect();
        match keys.as_slice() {
            [] => {}
            [only] => origins.replace("security.keys", sources.variable_origin(only)),
            several => origins.replace("security.keys", Origin::Variable(several.join(", "))),
        }
        let [api_key, _] = API_KEY_VARIABLES;
        for name in [api_key.to_owned(), format!("{api_key}_FILE")] {
            if sources.env_var(&name).is_some() {
                origins.replace("retell.api_key", sources.variable_origin(&name));
            }
        }
        for (name, key, _) in sources.prefixed_variables() {
            origins.replace(&key, sources.variable_origin(name));
        }
        for key in sources.command_line.keys() {
            origins.replace(key, Origin::CommandLine);
        }
        Ok(origins)
    }

    /// Adds the origin of the key to an error that has none.
    pub(crate) fn locate(&self, error: FieldError) -> FieldError {
        match error.origin().is_none().then(|| self.find(&error.key())).flatten() {
            Some(origin) => error.with_origin(origin),
            None => error,
        }
    }

    /// The file or the variable whose value of `key` is used; `None` for the built-in value.
    pub(crate) fn layer(&self, key: &str) -> Option<&str> {
        Some(match self.0.get(key)? {
            Origin::File { name, .. } | Origin::DotEnv { variable: name, .. } | Origin::Variable(name) => name,
            Origin::CommandLine => COMMAND_LINE,
        })
    }

    /// The origin of the key, of a key in the table `key`, or of the table or list that lacks the key.
    fn find(&self, key: &str) -> Option<&Origin> {
        let in_table = format!("{key}.");
        let first_child = || self.0.iter().find(|(path, _)| path.starts_with(&in_table)).map(|(_, origin)| origin);
        self.0.get(key).or_else(first_child).or_else(|| self.find(&key[..key.rfind(['.', '['])?]))
    }

    fn record(&mut self, path: &str, value: &Spanned<DeValue<'_>>, start: usize, file: &ConfigFile) {
        let origin = Origin::File { name: file.name.clone(), line: file.line_at(start) };
        match value.get_ref() {
            // Tables of several layers are merged; of any other value, the last one replaces the earlier ones.
            DeValue::Table(fields) => {
                self.0.insert(path.to_owned(), origin);
                for (name, value) in fields {
                    self.record(&format!("{path}.{}", name.get_ref()), value, name.span().start, file);
                }
            }
            DeValue::Array(items) => {
                self.replace(path, origin);
                for (position, value) in items.iter().enumerate() {
                    self.record(&format!("{path}[{position}]"), value, value.span().start, file);
                }
            }
            _ => self.replace(path, origin),
        }
    }

    fn replace(&mut self, key: &str, origin: Origin) {
        let is_inside = |path: &str| path.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', '[']));
        self.0.retain(|path, _| !is_inside(path));
        self.0.insert(key.to_owned(), origin);
    }
}
