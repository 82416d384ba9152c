//! What is refused although it parses.

use std::collections::BTreeSet;

use super::companies;
use super::functions;
use super::handlers::file;
use super::retention;
use super::security::{invalid_key_reason, invalid_token_reason};
use super::{ConfigError, HandlerKind, HandlerSettings, Settings};
use crate::base::networks::Networks;

/// An hour.
const MAX_SIGNATURE_TOLERANCE_MS: i64 = 3_600_000;

impl Settings {
    /// Checks the settings against each other and against the rules for keys, URLs and handlers.
    ///
    /// # Errors
    /// The first thing that is refused, by the name of its key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_server()?;
        for (position, key) in self.security.keys.iter().enumerate() {
            if let Some(why) = invalid_key_reason(key) {
                let key = format!("security.keys[{position}]");
                return Err(ConfigError::invalid(
                    &key,
                    format!(
                        "it {why}; take the key with the webhook badge from Retell's dashboard, Settings → API Keys"
                    ),
                ));
            }
        }
        if !(1..=MAX_SIGNATURE_TOLERANCE_MS).contains(&self.security.signature_tolerance_ms) {
            return Err(ConfigError::invalid(
                "security.signature_tolerance_ms",
                "it must be 1 to 3600000 ms: whoever saw a request can send it again for so long. Retell's SDKs use 300000",
            ));
        }
        if !self.security.verify && self.server.is_public_https() {
            return Err(ConfigError::invalid(
                "security.verify",
                "verification cannot be turned off while server.url is a public https address: anybody could send events. \
                 Set security.verify = true, or server.url to an address on this machine",
            ));
        }
        if !self.storage.url.starts_with("sqlite://") || self.storage.url == "sqlite://" {
            return Err(ConfigError::invalid(
                "storage.url",
                "expected sqlite://<path>, such as sqlite://data/retell-webhook.db",
            ));
        }
        self.validate_ops()?;
        self.alarms.validate()?;
        self.validate_networks()?;
        retention::validate(&self.retention, &self.companies)?;
        companies::validate(&self.companies, &self.security.keys, self.security.verify)?;
        self.appointments.validate()?;
        self.egress.parse_allowlist()?;
        functions::validate(&self.functions, &self.companies)?;
        self.inbound.validate(&self.companies)?;
        validate_handlers(&self.handlers)
    }

    fn validate_networks(&self) -> Result<(), ConfigError> {
        let refused = |key: &str, position: usize, also: &str| {
            let why = format!("it is no address (192.0.2.1) and no range (10.0.0.0/8){also}");
            ConfigError::invalid(&format!("{key}[{position}]"), why)
        };
        Networks::parse(&self.server.trusted_proxies).map_err(|at| refused("server.trusted_proxies", at, ""))?;
        let named = |text: &String| if text == "retell" { "0.0.0.0".to_owned() } else { text.clone() };
        let allowlist: Vec<_> = self.security.allowlist.iter().map(named).collect();
        Networks::parse(&allowlist).map_err(|at| refused("security.allowlist", at, ", nor `retell`"))?;
        Ok(())
    }

    fn validate_ops(&self) -> Result<(), ConfigError> {
        let ops = &self.ops;
        let unguarded = ops.listen.filter(|address| ops.token.is_none() && !address.ip().to_canonical().is_loopback());
        if let Some(address) = unguarded {
            return Err(ConfigError::invalid(
                "ops.listen",
                format!(
                    "{address} is no loopback address, so anybody could read metrics there: set ops.token, or listen on 127.0.0.1:{}",
                    address.port()
                ),
            ));
        }
        let Some(token) = &ops.token else { return Ok(()) };
        if let Some(why) = invalid_token_reason(token) {
            let advice = "make one with: openssl rand -hex 24";
            return Err(ConfigError::invalid("ops.token", format!("it {why}; {advice}")));
        }
        if self.security.keys.contains(token) {
            return Err(ConfigError::invalid(
                "ops.token",
                "it is one of the API keys, which would travel to whoever reads metrics; make one of its own",
            ));
        }
        Ok(())
    }

    fn validate_server(&self) -> Result<(), ConfigError> {
        let server = &self.server;
        if server.url.is_some() {
            let parsed = server.parsed_url().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            let Some(url) = parsed else {
                return Err(ConfigError::invalid(
                    "server.url",
                    "it is no http or https URL; expected such as https://example.ngrok.app",
                ));
            };
            if url.path() != "/" || url.query().is_some() {
                return Err(ConfigError::invalid(
                    "server.url",
                    "give the address without a path; the webhook's path is added to it",
                ));
            }
        }
        if server.body_limit_bytes < 1024 || server.inflight_limit_bytes / 2 < server.body_limit_bytes {
            return Err(ConfigError::invalid(
                "server.inflight_limit_bytes",
                format!(
                    "it must be at least twice server.body_limit_bytes ({} bytes, itself at least 1024): one address may hold half of it",
                    server.body_limit_bytes
                ),
            ));
        }
        Ok(())
    }

    /// What deserves a word at start although it is allowed. `port` is the one really listened on.
    #[must_use]
    pub fn warnings(&self, port: u16) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(named) = self.server.mismatched_url_port(port) {
            warnings.push(format!(
                "server.url names port {named} but the server listens on {port}: set SERVER_URL=http://localhost:{port} (or PORT={named})"
            ));
        }
        if !self.security.verify {
            warnings.push(
                "VERIFICATION IS OFF: anybody who finds this address can send events. Set security.verify = true"
                    .to_owned(),
            );
        }
        let proxied = self.server.is_public_https() && self.server.trusted_proxies.is_empty();
        if proxied && !self.security.allowlist.is_empty() {
            warnings.push(
                "security.allowlist is set but server.trusted_proxies is not: behind a tunnel or proxy every request comes \
                 from the proxy's address. Set server.trusted_proxies to that address (127.0.0.1 for a tunnel on this machine)"
                    .to_owned(),
            );
        }
        if self.security.keys.is_empty() && self.security.verify {
            warnings.push(format!(
                "no API key is set: real Retell calls will be refused (401) until RETELL_API_KEY holds the key with the \
                 webhook badge; until then the development key in {} signs and verifies",
                self.storage.database_dir().join("dev.key").display()
            ));
        }
        warnings
    }
}

fn validate_handlers(handlers: &[HandlerSettings]) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for (position, handler) in handlers.iter().enumerate() {
        let key = format!("handlers[{position}].name");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if handler.name.is_empty() || handler.name.len() > 64 || !handler.name.chars().all(plain) {
            return Err(ConfigError::invalid(&key, "expected 1 to 64 letters, digits, `-` or `_`"));
        }
        if !names.insert(handler.name.as_str()) {
            return Err(ConfigError::invalid(&key, format!("`{}` is taken by an earlier handler", handler.name)));
        }
        let for_kind = match handler.kind {
            HandlerKind::Exec => handler.exec_settings().map(drop),
            HandlerKind::File => handler.file_settings().map(drop),
            _ => Ok(()),
        };
        if let Err((key, why)) = handler.delivery_settings().map(drop).and(for_kind) {
            return Err(ConfigError::invalid(&format!("handlers[{position}].{key}"), why));
        }
    }
    match file::find_shared_file(handlers) {
        Some((position, name)) => {
            let why = format!("handler `{name}` appends to this file already; give each handler a file of its own");
            Err(ConfigError::invalid(&format!("handlers[{position}].path"), why))
        }
        None => Ok(()),
    }
}
