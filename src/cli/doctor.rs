//! `doctor`: checks what commonly keeps events from arriving, and says what to do.

mod destinations;
mod disk;
mod network;

use clap::Args;
use serde::Serialize;

use super::output::{self, CliError, CliResult};
use super::{config, health};
use crate::config::{ConfigSources, Settings};
use crate::security::keys::ApiKey;
use crate::storage::sqlite::SqliteUrl;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Compare this machine's clock with that of Retell's API as well; needs the internet
    #[arg(long)]
    online: bool,
    /// Whose clock `--online` compares with
    #[arg(long, value_name = "URL", default_value = "https://api.retellai.com", hide = true)]
    clock_url: String,
    /// Print one JSON array
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

/// What a check found; for a warning or a problem, with what to do.
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
        let findings = match ConfigSources::from_process()
            .map_err(CliError::from)
            .and_then(|sources| config::load_checked_settings(&sources))
        {
            Ok(settings) => self.run_checks(&settings).await?,
            // Whatever else there is depends on it.
            Err(CliError::Message(why)) => vec![DoctorFinding::problem("configuration", why)],
            Err(said) => return Err(said),
        };
        if self.json {
            output::print_json(&findings)?;
        } else {
            findings.iter().try_for_each(print_finding)?;
        }
        let sick = findings.iter().any(|finding| finding.level == FindingLevel::Problem);
        if sick { Err(CliError::AlreadyPrinted) } else { Ok(()) }
    }

    async fn run_checks(&self, settings: &Settings) -> Result<Vec<DoctorFinding>, CliError> {
        let store = SqliteUrl::parse(&settings.storage.url)?;
        let local = health::local_base_url(settings);
        let (port, instance) = network::check_port(settings, &local).await?;
        let mut findings = vec![DoctorFinding::ok("configuration", "it can be read"), check_keys(settings), port];
        findings.push(disk::check_folder_writable(store.folder()));
        findings.push(disk::check_store(&store));
        findings.extend(disk::check_disk_space(store.folder()));
        findings.extend(disk::check_file_system(store.folder()));
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
            "verification is off, anybody can send events: set security.verify = true",
        );
    }
    if keys.is_empty() {
        let text = "none is set, so calls from Retell are refused: set RETELL_API_KEY to the key with the webhook badge \
                    (Retell's dashboard, Settings → API Keys)";
        return if settings.server.is_public_https() {
            DoctorFinding::problem(CHECK, text)
        } else {
            DoctorFinding::warning(CHECK, text)
        };
    }
    let fingerprints: Vec<_> = keys.iter().map(|key| ApiKey::new(key).fingerprint().to_string()).collect();
    DoctorFinding::ok(CHECK, format!("fingerprint {}", fingerprints.join(", ")))
}
