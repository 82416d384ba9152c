use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[log]`: what is logged, in which format, and where to.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct LogSettings {
    /// Minimum level: `error`, `warn`, `info`, `debug`, `trace`, or directives such as
    /// `info,retell_webhook::dispatch=debug`. The variable `DEBUG=true` means `debug`.
    pub level: String,
    /// Format of log lines on standard output and in the file.
    pub format: LogFormat,
    /// Bytes of the log file of one day, at least 65536. At this size the file ends with a line that says so, until the
    /// next day (UTC); standard output continues. With the files of 14 earlier days, the directory holds 15 times as much.
    pub daily_limit_bytes: u64,
    /// Directory of the log file `app.log`; a relative path starts at the working directory. A new file starts every
    /// day (UTC), and the files of 14 days are kept. An empty string or `off` writes no file.
    pub dir: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Human,
            daily_limit_bytes: 1024 * 1024 * 1024,
            dir: "logs".into(),
        }
    }
}

impl LogSettings {
    /// The directory of the log file, or `None` when no file is written.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        // An empty environment variable counts as unset, so `off` is the way to turn the file off there.
        Some(self.dir.as_str()).filter(|dir| !matches!(*dir, "" | "off")).map(Path::new)
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogFormat {
    /// Readable text with time, level, message and fields.
    Human,
    /// One JSON object per line, for log collectors.
    Json,
}

// Written by hand: the derived error quotes the value, and the value of a misplaced key may be a secret.
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
