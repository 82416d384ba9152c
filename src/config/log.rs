use std::path::Path;

use serde::{Deserialize, Serialize};

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,retell_webhook::dispatch=debug`.
    /// `DEBUG=true` means `debug`.
    pub level: String,
    /// How lines look, on standard output and in the file.
    pub format: LogFormat,
    /// The folder of `app.log`, relative to the working folder unless it begins with a slash. The file begins anew every
    /// day (UTC); those of 14 days are kept. An empty text, or `off`, writes no file.
    pub dir: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Human, dir: "logs".into() }
    }
}

impl LogSettings {
    /// The folder of the log file, if there is to be one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        // An empty variable counts as unset, so the environment needs a word for it.
        Some(self.dir.as_str()).filter(|dir| !matches!(*dir, "" | "off")).map(Path::new)
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogFormat {
    /// For people: time, level, message, fields.
    Human,
    /// One JSON object a line, for collectors.
    Json,
}

// By hand, because the derived message quotes the value, and the value of a wrong key may be a secret.
impl TryFrom<String> for LogFormat {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match name.as_str() {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err("expected human or json"),
        }
    }
}
