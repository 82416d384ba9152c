//! Checks whether requests from Retell can be verified.

use crate::base::supervise::run_blocking;
use crate::config::{FieldError, Settings};
use crate::security::keys::ApiKey;
use crate::tenants::dev_key::{DEV_KEY_FILE, read_dev_key};
use crate::view::DoctorFinding;

/// `warning` is the one about the keys, if there is one.
pub(super) fn check_keys(settings: &Settings, warning: Option<FieldError>) -> DoctorFinding {
    const CHECK: &str = "keys";
    let keys = &settings.security.keys;
    match warning {
        Some(warning) if settings.security.verify && settings.server.is_public_https() => {
            return DoctorFinding::problem(CHECK, warning.to_string());
        }
        Some(warning) => return DoctorFinding::warning(CHECK, warning.to_string()),
        None => {}
    }
    let fingerprints: Vec<_> = keys.iter().map(|key| ApiKey::new(key).fingerprint().to_string()).collect();
    DoctorFinding::ok(CHECK, format!("fingerprint {}", fingerprints.join(", ")))
}

/// Checks that the development key can be read, which signs and verifies while no API key is set. The receiver creates
/// it at the first start.
pub(super) async fn check_development_key(settings: &Settings) -> Option<DoctorFinding> {
    if !settings.security.verify || !settings.security.keys.is_empty() {
        return None;
    }
    let folder = settings.storage.data_dir().to_owned();
    let file = folder.join(DEV_KEY_FILE);
    let error = run_blocking(move || read_dev_key(&folder)).await?.err()?;
    let text = format!(
        "cannot read the development key {}: {error}; make the file readable for this user, or set RETELL_API_KEY",
        file.display()
    );
    Some(DoctorFinding::problem("development key", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::FindingLevel;

    #[tokio::test]
    async fn a_development_key_that_cannot_be_read_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.storage.data_dir = Some(folder.path().to_owned());
        assert!(check_development_key(&settings).await.is_none(), "it is created at the first start");
        std::fs::create_dir(folder.path().join(DEV_KEY_FILE)).unwrap();
        let finding = check_development_key(&settings).await.unwrap();
        assert_eq!(finding.level, FindingLevel::Problem);
        assert!(finding.text.contains(&folder.path().display().to_string()), "{}", finding.text);
        settings.security.verify = false;
        assert!(check_development_key(&settings).await.is_none());
    }
}
