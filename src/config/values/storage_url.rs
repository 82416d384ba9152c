//! The value of `storage.url`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where events are stored: `sqlite://<path>[?max_page_count=<n>]`, checked when it is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct StorageUrl {
    path: PathBuf,
    max_page_count: Option<u32>,
}

impl StorageUrl {
    const SCHEME: &str = "sqlite://";

    /// A store whose database is the file at `path`, without a limit on its size.
    pub(crate) fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_page_count: None }
    }

    /// Path of the database file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The limit on the size of the database in pages of 4,096 bytes; body files are not counted.
    pub(crate) fn max_page_count(&self) -> Option<u32> {
        self.max_page_count
    }

    /// The folder of the database file.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Where the store is, for messages.
    pub(crate) fn location(&self) -> String {
        self.path.display().to_string()
    }
}

impl FromStr for StorageUrl {
    type Err = String;

    /// The error never contains the text, because the URL of another database may hold a password.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |what: &str| format!("{what}; expected sqlite://<path>, such as sqlite://data/retell-webhook.db");
        let Some(rest) = text.strip_prefix(Self::SCHEME) else {
            let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
            let is_plain = |scheme: &str| scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+');
            return Err(match scheme {
                "" => invalid("a URL without a scheme"),
                "postgres" | "postgresql" => invalid("PostgreSQL is not supported by this version"),
                scheme if is_plain(scheme) => invalid(&format!("the scheme {scheme}:// is not supported")),
                _ => invalid("not a URL"),
            });
        };
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        if path.is_empty() {
            return Err(invalid("the URL has no path"));
        }
        let max_page_count = match query {
            None => None,
            Some(query) => Some(query.strip_prefix("max_page_count=").and_then(|pages| pages.parse().ok()).ok_or(
                "unknown option after the question mark; expected max_page_count=<number of 4096-byte pages>",
            )?),
        };
        Ok(Self { path: path.into(), max_page_count })
    }
}

impl TryFrom<String> for StorageUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::SCHEME, self.path.display())?;
        match self.max_page_count {
            Some(pages) => write!(f, "?max_page_count={pages}"),
            None => Ok(()),
        }
    }
}

impl From<StorageUrl> for String {
    fn from(url: StorageUrl) -> Self {
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_url_is_kept() {
        for text in ["sqlite://data/x.db", "sqlite:///var/lib/x.db", "sqlite://x.db?max_page_count=200"] {
            assert_eq!(text.parse::<StorageUrl>().unwrap().to_string(), text);
        }
        let url: StorageUrl = "sqlite://x.db?max_page_count=200".parse().unwrap();
        assert_eq!((url.path(), url.folder(), url.max_page_count()), (Path::new("x.db"), Path::new("."), Some(200)));
    }

    #[test]
    fn errors_name_the_fault_without_a_password() {
        for (text, fault) in [
            ("postgres://user:pw7@db/x", "PostgreSQL is not supported"),
            ("mysql://user:pw7@db/x", "mysql://"),
            ("pw7", "without a scheme"),
            ("a b pw7://x", "not a URL"),
            ("sqlite://", "no path"),
            ("sqlite://x.db?pw7=1", "max_page_count"),
        ] {
            let error = text.parse::<StorageUrl>().unwrap_err();
            assert!(error.contains(fault) && !error.contains("pw7"), "{text}: {error}");
        }
    }
}
