//! Makes and checks Retell's request signatures with the keys of a company.

use crate::base::clock::Clock;
use crate::config::{CompanySettings, DEFAULT_COMPANY_SLUG, Settings};
use crate::operations::{ItemKind, OperationError};
use crate::security::diagnose::{self, CandidateKeys, DiagnosisInput, MAX_DIAGNOSED_BODY_BYTES, diagnose};
use crate::security::keys::ApiKey;
use crate::security::signature::{Signature, Verifier};
use crate::tenants::dev_key::{DEV_KEY_FILE, read_dev_key};
use crate::view::SignatureCheckView;

/// The keys of a company: the configured ones, otherwise for the default company the development key. `None` stands
/// for the default company, whose webhook URL has no slug.
pub(crate) fn company_keys(settings: &Settings, company: Option<&str>) -> Result<Vec<ApiKey>, OperationError> {
    if let Some(slug) = company.filter(|slug| *slug != DEFAULT_COMPANY_SLUG) {
        let company = settings.find_company(slug).ok_or_else(|| OperationError::unknown_company(slug))?;
        return Ok(company.keys.iter().map(ApiKey::new).collect());
    }
    if !settings.security.keys.is_empty() {
        return Ok(settings.security.keys.iter().map(ApiKey::new).collect());
    }
    let data_dir = settings.storage.data_dir();
    let key = read_dev_key(data_dir)?.ok_or_else(|| {
        OperationError::not_found(
            ItemKind::Key,
            format!(
                "no key to sign or verify with: set RETELL_API_KEY, or start the receiver once in this folder, which \
                 creates the development key {}",
                data_dir.join(DEV_KEY_FILE).display()
            ),
        )
    })?;
    Ok(vec![ApiKey::new(&key)])
}

/// The first key of the company, which is the one that Retell signs with.
pub(crate) fn signing_key(settings: &Settings, company: Option<&str>) -> Result<ApiKey, OperationError> {
    company_keys(settings, company)?.into_iter().next().ok_or_else(|| {
        OperationError::not_found(
            ItemKind::Key,
            "no key to sign with: the company has no keys in the configuration; add one to its `keys`",
        )
    })
}

/// The key that signs requests to the receiver. Without verification no key is required, and none may be configured.
pub(crate) fn optional_signing_key(
    settings: &Settings,
    company: Option<&str>,
) -> Result<Option<ApiKey>, OperationError> {
    if !settings.security.verify && settings.security.keys.is_empty() {
        return Ok(None);
    }
    signing_key(settings, company).map(Some)
}

/// The value of the signature header for `body`, signed at `at_ms` or now.
pub(crate) fn sign_body(
    settings: &Settings,
    clock: &Clock,
    company: Option<&str>,
    body: &[u8],
    at_ms: Option<i64>,
) -> Result<String, OperationError> {
    let key = signing_key(settings, company)?;
    Ok(Signature::sign(&key, body, at_ms.unwrap_or_else(|| clock.now_ms())).to_string())
}

/// Checks a signature header as of `at_ms` or now, and diagnoses why it does not match.
pub(crate) fn check_signature(
    settings: &Settings,
    clock: &Clock,
    company: Option<&str>,
    header: &str,
    body: &[u8],
    at_ms: Option<i64>,
) -> Result<SignatureCheckView, OperationError> {
    let own_keys = company_keys(settings, company)?;
    let other_keys = keys_of_other_companies(settings, company);
    let tolerance_ms = settings.security.signature_tolerance_ms;
    let at_ms = at_ms.unwrap_or_else(|| clock.now_ms());
    let verifier = Verifier::new(own_keys.clone()).with_tolerance_ms(tolerance_ms);
    if let Ok(fingerprint) = verifier.verify(Some(header), body, at_ms) {
        return Ok(SignatureCheckView {
            valid: true,
            key_fingerprint: Some(fingerprint.to_string()),
            diagnosis: None,
            body_too_large: false,
        });
    }
    let input = DiagnosisInput { body: Some(body), signature_header: Some(header), ..DiagnosisInput::default() };
    let candidates = CandidateKeys { own_keys: &own_keys, other_company_keys: &other_keys };
    let findings = diagnose(&input, candidates, tolerance_ms, at_ms);
    Ok(SignatureCheckView {
        valid: false,
        key_fingerprint: None,
        diagnosis: Some(diagnose::format_diagnosis(&findings)),
        body_too_large: body.len() > MAX_DIAGNOSED_BODY_BYTES,
    })
}

/// The keys of all other companies with their slugs.
fn keys_of_other_companies(settings: &Settings, company: Option<&str>) -> Vec<(String, ApiKey)> {
    let own = company.unwrap_or(DEFAULT_COMPANY_SLUG);
    let keys_of_company = |company: &CompanySettings| -> Vec<(String, ApiKey)> {
        company.keys.iter().map(|key| (company.slug.to_string(), ApiKey::new(key))).collect()
    };
    let default_keys = settings.security.keys.iter().map(|key| (DEFAULT_COMPANY_SLUG.to_owned(), ApiKey::new(key)));
    let all_keys = default_keys.chain(settings.companies.iter().flat_map(keys_of_company));
    all_keys.filter(|(slug, _)| slug != own).collect()
}
