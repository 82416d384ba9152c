//! Checks of values that parse: bounds, formats, and combinations of keys.

use std::collections::BTreeSet;

use serde_json::Value;

use super::sections::security::{invalid_key_reason, invalid_token_reason};
use super::sections::{companies, find_shared_file, functions, retention};
use super::{FieldError, HandlerKind, HandlerSettings, Settings};

/// One hour in milliseconds. A captured request can be replayed within the tolerance.
const MAX_SIGNATURE_TOLERANCE_MS: i64 = 3_600_000;

/// Keys whose values no error shows: arguments of programs, which may hold a secret, and phone numbers.
const HIDDEN_KEYS: [&str; 3] = ["command", "from", "to"];

const MIN_BODY_LIMIT_BYTES: usize = 1024;

const MIN_DAILY_LOG_BYTES: u64 = 64 * 1024;

impl Settings {
    /// Validates every value and the combinations of keys.
    ///
    /// # Errors
    /// The first invalid value, by the name of its key.
    pub fn validate(&self) -> Result<(), FieldError> {
        self.check_values().map_err(|error| self.complete(error))
    }

    /// Adds to an error about one of these settings the value and where it was set.
    pub(crate) fn complete(&self, error: FieldError) -> FieldError {
        let key = error.key();
        let last = key.rsplit('.').next().unwrap_or_default();
        let is_shown = !HIDDEN_KEYS.iter().any(|hidden| last == *hidden || last.starts_with(&format!("{hidden}[")));
        let settings = serde_json::to_value(self).ok().filter(|_| is_shown);
        let value = settings.and_then(|settings| value_text(value_at(&settings, &key)?));
        let names_value = |value: &str| {
            let plain = value.trim_matches('"');
            (!plain.is_empty() && error.problem().starts_with(plain)) || error.problem().contains(&format!("`{plain}`"))
        };
        let error = match value {
            Some(value) if !names_value(&value) => error.with_value(value),
            _ => error,
        };
        self.origins.locate(error)
    }

    fn check_values(&self) -> Result<(), FieldError> {
        self.validate_server()?;
        for (position, key) in self.security.keys.iter().enumerate() {
            if let Some(why) = invalid_key_reason(key) {
                let key = format!("security.keys[{position}]");
                return Err(FieldError::new(
                    &key,
                    format!(
                        "it {why}; take the key with the webhook badge from Retell's dashboard, Settings → API Keys"
                    ),
                ));
            }
        }
        self.retell.validate()?;
        if !(1..=MAX_SIGNATURE_TOLERANCE_MS).contains(&self.security.signature_tolerance_ms) {
            let why = format!(
                "{} ms is out of range; expected 1 to 3600000 ms, within which a captured request can be sent again. \
                 Retell's SDKs use 300000",
                self.security.signature_tolerance_ms
            );
            return Err(FieldError::new("security.signature_tolerance_ms", why));
        }
        if !self.security.verify && self.server.is_public_https() {
            return Err(FieldError::new(
                "security.verify",
                "verification cannot be turned off while server.url is a public https address: anyone could \
                 send events. Set security.verify = true, or server.url to an address on this machine",
            ));
        }
        if self.log.daily_limit_bytes < MIN_DAILY_LOG_BYTES {
            let why = format!("{} bytes is too small; expected at least 65536 bytes", self.log.daily_limit_bytes);
            return Err(FieldError::new("log.daily_limit_bytes", why));
        }
        self.validate_ops()?;
        self.alarms.validate()?;
        retention::validate(&self.retention, &self.companies)?;
        companies::validate(&self.companies, &self.security.keys, self.security.verify)?;
        self.appointments.validate()?;
        functions::validate(&self.functions, &self.companies)?;
        self.inbound.validate(&self.companies)?;
        validate_handlers(&self.handlers)
    }

    fn validate_ops(&self) -> Result<(), FieldError> {
        let ops = &self.ops;
        if let Some(address) = ops.listen
            && ops.token.is_none()
            && !address.ip().to_canonical().is_loopback()
        {
            let why = format!(
                "{address} is not a loopback address, so anyone could read the metrics; set ops.token, or \
                 listen on 127.0.0.1:{}",
                address.port()
            );
            return Err(FieldError::new("ops.listen", why));
        }
        let Some(token) = &ops.token else { return Ok(()) };
        if let Some(why) = invalid_token_reason(token) {
            let advice = "create one with: openssl rand -hex 24";
            return Err(FieldError::new("ops.token", format!("it {why}; {advice}")));
        }
        if self.security.keys.contains(token) {
            return Err(FieldError::new(
                "ops.token",
                "it is one of the API keys, which every client that reads metrics would receive; create a \
                 separate token",
            ));
        }
        Ok(())
    }

    fn validate_server(&self) -> Result<(), FieldError> {
        let server = &self.server;
        if server.body_limit_bytes < MIN_BODY_LIMIT_BYTES {
            let problem = format!("{} bytes is too small; expected at least 1024 bytes", server.body_limit_bytes);
            return Err(FieldError::new("server.body_limit_bytes", problem));
        }
        if server.inflight_limit_bytes / 2 < server.body_limit_bytes {
            let problem = format!(
                "{} bytes is too small; expected at least twice server.body_limit_bytes ({} bytes), because one client \
                 address may hold half of it",
                server.inflight_limit_bytes, server.body_limit_bytes
            );
            return Err(FieldError::new("server.inflight_limit_bytes", problem));
        }
        Ok(())
    }

    /// What is valid but most likely wrong, each with its key, value and origin. `port` is the port the listener is
    /// bound to.
    #[must_use]
    pub fn warnings(&self, port: u16) -> Vec<FieldError> {
        let mut warnings = self.server.warnings(port);
        if !self.security.verify {
            let why = "VERIFICATION IS OFF: anyone who finds this address can send events. Set security.verify = true";
            warnings.push(FieldError::new("security.verify", why));
        }
        let is_behind_unknown_proxy = self.server.is_public_https() && self.server.trusted_proxies.is_empty();
        if is_behind_unknown_proxy && !self.security.allowlist.is_empty() {
            let why = "it is set but server.trusted_proxies is not: behind a tunnel or proxy every request comes from the \
                       proxy's address. Set server.trusted_proxies to that address (127.0.0.1 for a tunnel on this machine)";
            warnings.push(FieldError::new("security.allowlist", why));
        }
        if self.security.keys.is_empty() && self.security.verify {
            let why = format!(
                "no API key is set: requests from Retell are rejected (401) until RETELL_API_KEY holds the key with the \
                 webhook badge (Retell's dashboard, Settings → API Keys); until then the development key in {} signs and \
                 verifies",
                self.storage.data_dir().join("dev.key").display()
            );
            warnings.push(FieldError::new("security.keys", why));
        }
        warnings.into_iter().map(|warning| self.complete(warning)).collect()
    }
}

/// The value at a path such as `handlers[1].url`.
fn value_at<'a>(settings: &'a Value, path: &str) -> Option<&'a Value> {
    let mut parts = path.split(['.', '[', ']']).filter(|part| !part.is_empty());
    parts.try_fold(settings, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        value => value.get(part),
    })
}

/// A short value as TOML; `None` for tables and unset values, and for secrets, which serialize as `***`.
fn value_text(value: &Value) -> Option<String> {
    const MAX_BYTES: usize = 80;
    let is_shown = match value {
        Value::Bool(_) | Value::Number(_) => true,
        // A URL may hold a password, and a text that begins with `+` is a phone number.
        Value::String(text) => text != "***" && !text.contains("://") && !text.starts_with('+'),
        Value::Array(items) => !items.is_empty() && items.iter().all(|item| value_text(item).is_some()),
        Value::Null | Value::Object(_) => false,
    };
    is_shown.then(|| value.to_string()).filter(|text| text.len() <= MAX_BYTES)
}

fn validate_handlers(handlers: &[HandlerSettings]) -> Result<(), FieldError> {
    let mut names = BTreeSet::new();
    for (position, handler) in handlers.iter().enumerate() {
        let key = format!("handlers[{position}].name");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if handler.name.is_empty() || handler.name.len() > 64 || !handler.name.chars().all(plain) {
            return Err(FieldError::new(&key, "expected 1 to 64 letters, digits, `-` or `_`"));
        }
        if !names.insert(handler.name.as_str()) {
            return Err(FieldError::new(&key, format!("an earlier handler is named `{}`", handler.name)));
        }
        let for_kind = match handler.kind {
            HandlerKind::Exec => handler.exec_settings().map(drop),
            HandlerKind::File => handler.file_settings().map(drop),
            _ => Ok(()),
        };
        let checked = handler.delivery_settings().map(drop).and(for_kind);
        checked.map_err(|error| error.in_list("handlers", position, &handler.name))?;
    }
    match find_shared_file(handlers) {
        Some((position, name)) => {
            let why = format!("handler `{name}` appends to this file already; give each handler a separate file");
            Err(FieldError::new("path", why).in_list("handlers", position, &handlers[position].name))
        }
        None => Ok(()),
    }
}
