use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::security::invalid_key_reason;
use crate::base::secret::Secret;
use crate::config::FieldError;
use crate::config::values::public_url::PublicUrl;

/// Address of Retell's REST API.
const DEFAULT_BASE_URL: &str = "https://api.retellai.com";

/// `[retell]`: access to Retell's REST API, which is only read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct RetellSettings {
    /// API key for Retell's REST API; its signatures are accepted as well. `RETELL_API_KEY` sets it: of several keys, the
    /// first. A key with the permission to read agents, phone numbers and calls is enough. Companies have their own.
    #[schemars(with = "Option<String>", example = &"key_9f27a1c4de5588b2031fa7c0")]
    pub api_key: Option<Secret>,
    /// Path of a file that holds `api_key`.
    #[schemars(with = "Option<String>", example = &"/run/secrets/retell_api_key")]
    pub api_key_file: Option<PathBuf>,
    /// URL of the REST API, without a path: https, or http on this machine. Unset: `https://api.retellai.com`.
    #[schemars(with = "Option<String>", example = &"http://127.0.0.1:8090")]
    pub base_url: Option<PublicUrl>,
}

impl RetellSettings {
    /// The URL of the REST API, without a trailing slash.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.base_url.as_ref().map_or_else(|| DEFAULT_BASE_URL.to_owned(), PublicUrl::to_string)
    }

    pub(in crate::config) fn validate(&self) -> Result<(), FieldError> {
        if let Some(why) = self.api_key.as_ref().and_then(invalid_key_reason) {
            let advice = "create a key in Retell's dashboard, Settings → API Keys";
            return Err(FieldError::new("retell.api_key", format!("it {why}; {advice}")));
        }
        if self.base_url.as_ref().is_some_and(|url| !url.is_https() && !url.is_loopback()) {
            let why = "it is an http address of another machine, so the API key would be sent unencrypted; use https";
            return Err(FieldError::new("retell.base_url", why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_sent_unencrypted_only_to_this_machine() {
        let settings = |url: &str| RetellSettings { base_url: Some(url.parse().unwrap()), ..RetellSettings::default() };
        assert_eq!(RetellSettings::default().base_url(), DEFAULT_BASE_URL);
        for url in ["https://retell.example", "http://127.0.0.1:8090/", "http://localhost:1"] {
            let settings = settings(url);
            assert_eq!((settings.validate(), settings.base_url().as_str()), (Ok(()), url.trim_end_matches('/')));
        }
        for url in ["http://retell.example", "http://10.0.0.1"] {
            assert_eq!(settings(url).validate().unwrap_err().key(), "retell.base_url");
        }
    }
}
