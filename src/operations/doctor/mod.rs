//! Checks the common reasons why events do not arrive.

mod destinations;
mod disk;
mod function_routes;
mod keys;
mod network;
pub(super) mod retell_api;
mod store;

use super::config::startup_warnings;
use super::receiver::{check_local_health, local_base_url};
use super::{OperationError, Principal, ProgressCallback};
use crate::base::clock::Clock;
use crate::config::{FieldError, Settings};
use crate::storage::InspectionDepth;
use crate::view::{DoctorFinding, FindingLevel};

/// Checks that are not made by default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DoctorRequest<'a> {
    /// Compare this machine's clock with that of the server at this URL, and check the API keys and Retell's API.
    pub(crate) clock_url: Option<&'a str>,
    /// Read the whole store, and list its files.
    pub(crate) inspect_store: bool,
}

/// Warnings about these are the finding of the check of the keys.
const KEY_SETTINGS: &[&str] = &["security.keys", "security.verify"];

/// Makes every check with checked settings; settings that cannot be used are the only finding, since every other check
/// needs them.
pub(crate) async fn diagnose_setup(
    settings: Result<Settings, OperationError>,
    clock: &Clock,
    _principal: &Principal,
    request: DoctorRequest<'_>,
    progress: ProgressCallback<'_>,
) -> Result<Vec<DoctorFinding>, OperationError> {
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return Ok(vec![DoctorFinding::problem("configuration", error.to_string())]),
    };
    let folder = settings.storage.url.folder();
    let local_url = local_base_url(&settings);
    let (port, instance) = network::check_port(&settings, &local_url).await?;
    let mut warnings = startup_warnings(&settings, settings.server.port);
    let keys = take_warning(&mut warnings, KEY_SETTINGS);
    let wrong_port = settings.server.mismatched_url_port(settings.server.port);
    let url = wrong_port.and_then(|_| take_warning(&mut warnings, &["server.url"]));
    let mut findings = configuration_findings(&warnings);
    findings.extend([keys::check_keys(&settings, keys), port]);
    findings.push(network::check_ops_listener(&settings, instance.is_some()).await?);
    findings.push(network::check_open_files());
    findings.extend(keys::check_development_key(&settings).await);
    findings.extend(disk::check_folders_writable(&settings.storage).await);
    if instance.is_some() {
        // Before the store is opened: see `storage::unlocked_files`.
        let receiver = check_local_health(&settings).await?;
        findings.push(store::check_readiness(&receiver));
        findings.extend(receiver.warnings.iter().map(|warning| DoctorFinding::problem("addresses", warning)));
        findings.extend(store::check_store_in_use(&settings.storage.url, &local_url).await);
        findings.extend(store::check_receiver(&settings.storage.url, &receiver).await);
    }
    findings.push(disk::check_store(&settings.storage.url).await);
    let depth = if request.inspect_store { InspectionDepth::Full } else { InspectionDepth::Quick };
    findings.extend(store::check_store_files(&settings.storage.url, depth, progress).await);
    findings.extend(disk::check_disk(folder).await);
    let public_url = network::check_public_url(&settings, instance.as_deref(), url).await?;
    let leads_here = instance.is_some() && public_url.level == FindingLevel::Ok;
    findings.push(public_url);
    if leads_here {
        findings.extend(function_routes::check_function_routes(&settings).await?);
    }
    findings.extend(destinations::check_destinations(&settings).await?);
    if let Some(url) = request.clock_url {
        findings.push(network::check_clock(url, clock).await?);
        findings.extend(retell_api::check_retell_api(&settings, clock.now_ms()).await?);
    }
    Ok(findings)
}

fn take_warning(warnings: &mut Vec<FieldError>, keys: &[&str]) -> Option<FieldError> {
    let position = warnings.iter().position(|warning| keys.contains(&warning.key().as_str()))?;
    Some(warnings.remove(position))
}

fn configuration_findings(warnings: &[FieldError]) -> Vec<DoctorFinding> {
    const CHECK: &str = "configuration";
    if warnings.is_empty() {
        return vec![DoctorFinding::ok(CHECK, "valid")];
    }
    warnings.iter().map(|warning| DoctorFinding::warning(CHECK, warning.to_string())).collect()
}
