//! Whether the servers that handlers, functions and inbound rules ask can be reached.

use std::time::Duration;

use super::super::output::CliError;
use super::DoctorFinding;
use crate::base::secret::Secret;
use crate::config::Settings;
use crate::egress::{Egress, RequestError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Somebody's server.
struct CheckedDestination<'a> {
    check: &'static str,
    name: &'a str,
    url: &'a str,
    /// While it cannot be reached.
    consequence: &'static str,
}

/// A connection to each, on which nothing is sent.
pub(super) async fn check_destinations(settings: &Settings) -> Result<Vec<DoctorFinding>, CliError> {
    let egress = Egress::new(&settings.egress)?;
    let mut findings = Vec::new();
    for CheckedDestination { check, name, url, consequence: meanwhile } in list_destinations(settings) {
        let target = egress.parse_url(url).map_err(CliError::Message)?;
        findings.push(match target.check_reachable(CONNECT_TIMEOUT).await {
            Ok(()) => DoctorFinding::ok(check, format!("`{name}`: {target} can be reached")),
            Err(RequestError::Blocked(why)) => DoctorFinding::problem(check, format!("`{name}`: {target}: {why}")),
            Err(why) => DoctorFinding::warning(check, format!("`{name}`: {why}; {meanwhile}")),
        });
    }
    Ok(findings)
}

fn list_destinations(settings: &Settings) -> Vec<CheckedDestination<'_>> {
    let mut all = Vec::new();
    for table in settings.handlers.iter().filter(|table| table.enabled) {
        let urls = table.url.iter().chain(&table.urls).map(Secret::expose);
        let meanwhile = "its events wait and are tried again";
        all.extend(urls.map(|url| CheckedDestination {
            check: "handlers",
            name: &table.name,
            url,
            consequence: meanwhile,
        }));
    }
    for table in &settings.functions {
        let meanwhile = "its fallback is answered meanwhile";
        all.extend(table.url.iter().map(|url| CheckedDestination {
            check: "functions",
            name: &table.name,
            url: url.expose(),
            consequence: meanwhile,
        }));
    }
    for rule in &settings.inbound.rules {
        let meanwhile = "inbound.fallback is answered meanwhile";
        let url = rule.ask.iter().map(|ask| ask.url.expose());
        all.extend(url.map(|url| CheckedDestination {
            check: "inbound",
            name: &rule.name,
            url,
            consequence: meanwhile,
        }));
    }
    all
}
