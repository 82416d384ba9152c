//! Checks whether the servers of handlers, custom functions and inbound rules can be reached.

use std::time::Duration;

use crate::config::Settings;
use crate::egress::{Egress, RequestError};
use crate::operations::OperationError;
use crate::view::DoctorFinding;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

struct CheckedDestination<'a> {
    check: &'static str,
    name: &'a str,
    url: &'a str,
    /// What happens while the server cannot be reached.
    consequence: &'static str,
}

/// Opens a connection to each server and sends nothing.
pub(super) async fn check_destinations(settings: &Settings) -> Result<Vec<DoctorFinding>, OperationError> {
    let egress = Egress::new(&settings.egress);
    let mut findings = Vec::new();
    for CheckedDestination { check, name, url, consequence } in list_destinations(settings) {
        let target = egress.parse_url(url).map_err(OperationError::InvalidInput)?;
        findings.push(match target.check_reachable(CONNECT_TIMEOUT).await {
            Ok(()) => DoctorFinding::ok(check, format!("`{name}`: {target} is reachable")),
            // Blocked by the egress rules: no retry will succeed until the configuration changes.
            Err(RequestError::Blocked(reason)) => {
                DoctorFinding::problem(check, format!("`{name}`: {target}: {reason}"))
            }
            Err(error) => DoctorFinding::warning(check, format!("`{name}`: {error}; {consequence}")),
        });
    }
    Ok(findings)
}

fn list_destinations(settings: &Settings) -> Vec<CheckedDestination<'_>> {
    let mut destinations = Vec::new();
    for handler in settings.handlers.iter().filter(|handler| handler.enabled) {
        let urls = handler.url.iter().chain(&handler.urls);
        destinations.extend(urls.map(|url| CheckedDestination {
            check: "handlers",
            name: &handler.name,
            url: url.expose(),
            consequence: "until it is reachable, its events wait and are retried",
        }));
    }
    for function in &settings.functions {
        destinations.extend(function.url.iter().map(|url| CheckedDestination {
            check: "functions",
            name: &function.name,
            url: url.expose(),
            consequence: "until it is reachable, calls get the fallback of the function",
        }));
    }
    for rule in &settings.inbound.rules {
        destinations.extend(rule.ask.iter().map(|ask| CheckedDestination {
            check: "inbound",
            name: &rule.name,
            url: ask.url.expose(),
            consequence: "until it is reachable, inbound.fallback is answered",
        }));
    }
    destinations
}
