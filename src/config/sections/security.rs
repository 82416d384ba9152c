use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::base::secret::Secret;
use crate::config::values::address_list::SenderAllowlist;
use crate::config::values::string_list;

/// `[security]`: which requests are accepted as coming from Retell.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct SecuritySettings {
    /// API keys whose signatures are accepted: the key with the webhook badge in Retell's dashboard, two keys during
    /// a rotation. The variables may hold several keys separated by commas, or with `_FILE` added to their names the
    /// path of a file. `retell.api_key` is added. Unset: a random development key in the file `dev.key` of
    /// `storage.data_dir`.
    #[serde(deserialize_with = "deserialize_keys")]
    #[schemars(with = "string_list::StringList")]
    pub keys: Vec<Secret>,
    /// Whether signatures are verified. `false` accepts events from any sender; it is refused with a public https
    /// `server.url`, and in an environment variable.
    pub verify: bool,
    /// Largest difference in milliseconds between a signature's timestamp and now, in both directions, 1 to 3600000.
    /// Retell's SDKs use 300000.
    pub signature_tolerance_ms: i64,
    /// Addresses and ranges that may send requests; `retell` stands for Retell's published address. Empty: any address,
    /// because the signature decides.
    #[schemars(with = "string_list::StringList")]
    pub allowlist: SenderAllowlist,
    /// Whether the bodies of rejected requests are stored, up to 64 KiB each, for `rejected show ID --body`. The latest
    /// 1000 rejected requests are kept. Their sender is unknown, and they may hold personal data.
    pub keep_rejected_bodies: bool,
}

impl Default for SecuritySettings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            verify: true,
            signature_tolerance_ms: 300_000,
            allowlist: SenderAllowlist::default(),
            keep_rejected_bodies: false,
        }
    }
}

/// Splits `"a,b"`. Blank entries stay, so that validation can name them.
pub(in crate::config) fn parse_keys(text: &str) -> Vec<Secret> {
    string_list::split_commas(text).into_iter().map(Secret::new).collect()
}

/// Reads a list of keys, or one string with commas.
pub(in crate::config) fn deserialize_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Secret>, D::Error> {
    Ok(string_list::deserialize_strings(deserializer)?.into_iter().map(Secret::new).collect())
}

/// Why `key` cannot be an API key. The text never contains the key.
pub(in crate::config) fn invalid_key_reason(key: &Secret) -> Option<&'static str> {
    const MIN_KEY_CHARS: usize = 16;
    let text = key.expose();
    if text.is_empty() {
        Some("is blank")
    } else if is_placeholder(text) {
        Some("is a placeholder, not a key")
    } else if text.chars().count() < MIN_KEY_CHARS {
        Some("is shorter than 16 characters, so it is not a Retell API key")
    } else if text.contains(|c: char| !c.is_ascii_graphic() || "\"'`".contains(c)) {
        Some("has a blank, a quote or a character outside ASCII, which no key has")
    } else {
        None
    }
}

/// Why `token` cannot protect operator data. The text never contains the token.
pub(in crate::config) fn invalid_token_reason(token: &Secret) -> Option<&'static str> {
    let text = token.expose();
    if text.trim().is_empty() {
        Some("is blank")
    } else if is_placeholder(text) {
        Some("is a placeholder, not a token")
    } else if text.len() < 16 {
        Some("is shorter than 16 characters, so it can be guessed")
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("holds a space or a non-ASCII character, which an Authorization header cannot carry")
    } else {
        None
    }
}

/// Detects values left over from an example: `your_api_key_here`, `<api-key>`, `changeme`, `xxxx…`.
fn is_placeholder(text: &str) -> bool {
    const PLACEHOLDER_MARKERS: [&str; 15] = [
        "your_api",
        "your_retell",
        "your_key",
        "your_secret",
        "your_webhook",
        "your_ops",
        "your_token",
        "api_key_here",
        "key_here",
        "secret_here",
        "token_here",
        "change_me",
        "changeme",
        "placeholder",
        "replace_me",
    ];
    let plain = text.to_lowercase().replace(['-', ' '], "_");
    let fixed = plain.trim_start_matches("key_");
    let repeated = fixed.chars().next().is_some_and(|first| fixed.chars().all(|c| c == first));
    repeated || text.starts_with(['<', '{', '$']) || PLACEHOLDER_MARKERS.iter().any(|word| plain.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_not_keys() {
        for text in [
            "your_api_key_here",
            "YOUR-RETELL-API-KEY",
            "<paste your key here>",
            "key_xxxxxxxxxxxxxxxxxxxxxxxx",
            "changeme",
            "${RETELL_API_KEY_VALUE}",
            "",
        ] {
            assert!(invalid_key_reason(&Secret::new(text)).is_some(), "{text}");
        }
        assert_eq!(invalid_key_reason(&Secret::new("key_9f27a1c4de5588b2031fa7c0")), None);
        for inner in [' ', '\t', '\n', '"', '\'', '\u{feff}', '\u{a0}', '\u{200b}', 'é', '”'] {
            let reason = invalid_key_reason(&Secret::new(format!("key_9f27a1c4{inner}de5588b2031fa7c0")));
            assert!(reason.is_some_and(|reason| reason.starts_with("has a blank, a quote")), "{inner:?}");
        }
        assert_eq!(
            invalid_key_reason(&Secret::new("key_short")),
            Some("is shorter than 16 characters, so it is not a Retell API key")
        );
    }
}
