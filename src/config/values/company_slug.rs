//! The value of `companies.slug`.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The company of the plain webhook route, whose keys are `security.keys`.
pub(crate) const DEFAULT_COMPANY_SLUG: &str = "default";

/// The identifier of a company in URLs, lists and filters: 2 to 40 lower-case letters, digits or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CompanySlug(String);

impl CompanySlug {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CompanySlug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (2..=40).contains(&text.len()) && text.chars().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        // A long text, or one with many digits, may be a key or a phone number in the wrong place.
        let is_shown = text.len() <= 40 && text.chars().filter(char::is_ascii_digit).count() <= 4;
        let shown = if is_shown { format!("the slug {text}") } else { "the slug".to_owned() };
        Err(format!("{shown} is invalid; expected 2 to 40 lower-case letters, digits or hyphens"))
    }
}

impl TryFrom<String> for CompanySlug {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl Deref for CompanySlug {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for CompanySlug {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl fmt::Display for CompanySlug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<CompanySlug> for String {
    fn from(slug: CompanySlug) -> Self {
        slug.0
    }
}
