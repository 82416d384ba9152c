//! Checks the common reasons why events do not arrive.

mod destinations;
mod disk;
mod keys;
mod network;

use super::receiver::local_base_url;
use super::{OperationError, Principal};
use crate::base::clock::Clock;
use crate::config::Settings;
use crate::view::DoctorFinding;

/// Makes every check with checked settings; settings that cannot be used are the only finding, since every other check
/// needs them. With `clock_url` this machine's clock is compared with that of the server there.
pub(crate) async fn diagnose_setup(
    settings: Result<Settings, OperationError>,
    clock: &Clock,
    _principal: &Principal,
    clock_url: Option<&str>,
) -> Result<Vec<DoctorFinding>, OperationError> {
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return Ok(vec![DoctorFinding::problem("configuration", error.to_string())]),
    };
    let folder = settings.storage.url.folder();
    let (port, instance) = network::check_port(&settings, &local_base_url(&settings)).await?;
    let mut findings = vec![DoctorFinding::ok("configuration", "valid"), keys::check_keys(&settings), port];
    findings.push(network::check_ops_listener(&settings, instance.is_some()).await?);
    findings.push(network::check_open_files());
    findings.extend(keys::check_development_key(&settings).await);
    findings.extend(disk::check_folders_writable(&settings.storage).await);
    findings.push(disk::check_store(&settings.storage.url).await);
    findings.extend(disk::check_disk(folder).await);
    findings.push(network::check_public_url(&settings, instance.as_deref()).await?);
    findings.extend(destinations::check_destinations(&settings).await?);
    if let Some(url) = clock_url {
        findings.push(network::check_clock(url, clock).await?);
    }
    Ok(findings)
}
