//! `doctor`: checks the common reasons why events do not arrive, and prints what to do.

mod destinations;
mod disk;
mod network;

use clap::Args;
use serde::Serialize;

use super::output::{self, CliError, CliResult};
use super::{config, health};
use crate::config::{ConfigSources, Settings};
use crate::security::keys::ApiKey;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Also compare this machine's clock with the clock of Retell's API, which needs internet access
    #[arg(long)]
    online: bool,
    /// URL of the server whose clock `--online` compares with
    #[arg(long, value_name = "URL", default_value = "https://api.retellai.com", hide = true)]
    clock_url: String,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum FindingLevel {
    Ok,
    Warning,
    Problem,
}

/// The result of one check. The text of a warning or problem includes what to do.
#[derive(Debug, Serialize)]
struct DoctorFinding {
    check: &'static str,
    level: FindingLevel,
    text: String,
}

impl DoctorFinding {
    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, level: FindingLevel::Ok, text: text.into() }
    }

    fn warning(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, level: FindingLevel::Warning, text: text.into() }
    }

    fn problem(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, level: FindingLevel::Problem, text: text.into() }
    }
}

impl DoctorArgs {
    pub(super) async fn run(self) -> CliResult {
        let sources = ConfigSources::from_process().map_err(CliError::from);
        let settings = sources.and_then(|sources| config::load_checked_settings(&sources));
        let findings = match settings {
            Ok(settings) => self.run_checks(&settings).await?,
            // Every other check needs the settings.
            Err(CliError::Message(error)) => vec![DoctorFinding::problem("configuration", error)],
            Err(error) => return Err(error),
        };
        if self.json {
            output::print_json(&findings)?;
        } else {
            findings.iter().try_for_each(print_finding)?;
        }
        let has_problem = findings.iter().any(|finding| finding.level == FindingLevel::Problem);
        if has_problem { Err(CliError::AlreadyPrinted) } else { Ok(()) }
    }

    async fn run_checks(&self, settings: &Settings) -> Result<Vec<DoctorFinding>, CliError> {
        let folder = settings.storage.url.folder();
        let local = health::local_base_url(settings);
        let (port, instance) = network::check_port(settings, &local).await?;
        let mut findings = vec![DoctorFinding::ok("configuration", "valid"), check_keys(settings), port];
        findings.push(disk::check_folder_writable(folder));
        findings.push(disk::check_store(&settings.storage.url).await);
        findings.extend(disk::check_disk_space(folder));
        findings.extend(disk::check_file_system(folder));
        findings.push(network::check_public_url(settings, instance.as_deref()).await?);
        findings.extend(destinations::check_destinations(settings).await?);
        if self.online {
            findings.push(network::check_clock(&self.clock_url).await?);
        }
        Ok(findings)
    }
}

fn print_finding(finding: &DoctorFinding) -> CliResult {
    let level = match finding.level {
        FindingLevel::Ok => "ok",
        FindingLevel::Warning => "WARNING",
        FindingLevel::Problem => "PROBLEM",
    };
    output::print_line(format!("{level:<8} {:<14} {}", finding.check, output::sanitize(&finding.text)))
}

fn check_keys(settings: &Settings) -> DoctorFinding {
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
