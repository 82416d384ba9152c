//! Checks whether requests from Retell can be verified.

use crate::config::Settings;
use crate::security::keys::ApiKey;
use crate::view::DoctorFinding;

pub(super) fn check_keys(settings: &Settings) -> DoctorFinding {
    const CHECK: &str = "keys";
    let keys = &settings.security.keys;
    if !settings.security.verify {
        return DoctorFinding::warning(
            CHECK,
            "signatures are not verified, so anyone can send events: set security.verify = true",
        );
    }
    if keys.is_empty() {
        let text = "no API key is set, so requests from Retell are rejected: set RETELL_API_KEY to the key with the \
                    webhook badge (Retell's dashboard, Settings → API Keys)";
        return if settings.server.is_public_https() {
            DoctorFinding::problem(CHECK, text)
        } else {
            DoctorFinding::warning(CHECK, text)
        };
    }
    let fingerprints: Vec<_> = keys.iter().map(|key| ApiKey::new(key).fingerprint().to_string()).collect();
    DoctorFinding::ok(CHECK, format!("fingerprint {}", fingerprints.join(", ")))
}
