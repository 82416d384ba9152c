use std::fmt;

/// A setting with an invalid value: its key, where it was set, what is wrong and what to do. The text never contains
/// a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    // Boxed, because many functions return it by value.
    /// Path of the table that `key` is in, such as `handlers[1]`; empty when `key` is a full path.
    table: Box<str>,
    /// Name of the table in its list, such as the handler's.
    name: Option<Box<str>>,
    key: Box<str>,
    value: Option<Box<str>>,
    problem: Box<str>,
    origin: Option<Box<str>>,
}

impl FieldError {
    /// An error of a key without a table, or with the table in its path.
    pub(crate) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            table: Box::default(),
            name: None,
            key: key.into().into(),
            value: None,
            problem: problem.into().into(),
            origin: None,
        }
    }

    /// Moves the key into a table: `url` into `handlers[1]`, whose `name` helps to find it.
    #[must_use]
    pub(crate) fn in_table(mut self, table: impl Into<String>, name: &str) -> Self {
        self.table = table.into().into();
        self.name = Some(name).filter(|name| !name.is_empty()).map(Box::from);
        self
    }

    /// Moves the key into the table at `position` of a list of tables such as `handlers`.
    #[must_use]
    pub(crate) fn in_list(self, list: &str, position: usize, name: &str) -> Self {
        self.in_table(format!("{list}[{position}]"), name)
    }

    /// Shows the invalid value as the settings file would have it. Not for secrets.
    #[must_use]
    pub(in crate::config) fn with_value(mut self, value: impl Into<String>) -> Self {
        self.value = Some(value.into().into());
        self
    }

    /// Names the file and line, or the variable, that sets the key.
    #[must_use]
    pub(crate) fn with_origin(mut self, origin: impl fmt::Display) -> Self {
        self.origin = Some(origin.to_string().into());
        self
    }

    /// The full key, such as `handlers[1].url`; the name of the variable when the text of a variable is invalid.
    #[must_use]
    pub fn key(&self) -> String {
        match (&*self.table, &*self.key) {
            ("", key) => key.to_owned(),
            (table, "") => table.to_owned(),
            (table, key) => format!("{table}.{key}"),
        }
    }

    /// The value as the settings file would have it; `None` for a secret, and when it is unset or a table.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// What is wrong with the value, and what is expected.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// Where the value was set: `config/local.toml:14`, `.env:3 (PORT)` or `environment variable PORT`. `None` for a
    /// value set in code, and for a required key that is missing everywhere.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.origin.as_deref().unwrap_or("configuration"))?;
        // The origin of the text of a variable is the variable itself.
        let is_variable =
            self.origin.is_some() && self.key.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        let subject = match &self.name {
            Some(name) if self.key.is_empty() => format!("{} `{name}`", self.table),
            Some(name) => format!("{} `{name}`: {}", self.table, self.key),
            None if is_variable => String::new(),
            None => self.key(),
        };
        // Without a subject, the file as a whole is concerned, or the variable.
        if !subject.is_empty() {
            write!(f, ": {subject}")?;
        }
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        f.write_str(": ")?;
        f.write_str(&self.problem)
    }
}

impl std::error::Error for FieldError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_origin_and_what_it_is_about() {
        let in_file = |error: FieldError| error.with_origin("f.toml:1").to_string();
        let in_table = |key| FieldError::new(key, "why").in_list("handlers", 0, "a");
        assert_eq!(in_file(in_table("")), "f.toml:1: handlers[0] `a`: why");
        assert_eq!(in_file(in_table("url")), "f.toml:1: handlers[0] `a`: url: why");
        assert_eq!(in_file(FieldError::new("server.url", "why")), "f.toml:1: server.url: why");
        assert_eq!(
            [in_file(FieldError::new("", "why")), in_file(FieldError::new("PORT", "why"))],
            ["f.toml:1: why"; 2]
        );
        assert_eq!(FieldError::new("", "why").to_string(), "configuration: why");
    }
}
