//! Whether the servers that handlers post to can be reached.

use std::time::Duration;

use super::super::output::Failure;
use super::Finding;
use crate::config::Settings;
use crate::egress::{Egress, Undelivered};

const TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to each, on which nothing is sent.
pub(super) async fn destinations(settings: &Settings) -> Result<Vec<Finding>, Failure> {
    const CHECK: &str = "handlers";
    let egress = Egress::new(&settings.egress)?;
    let mut findings = Vec::new();
    for table in settings.handlers.iter().filter(|table| table.enabled) {
        for url in table.url.iter().chain(&table.urls) {
            let target = egress.target(url.expose()).map_err(Failure::Because)?;
            let name = &table.name;
            findings.push(match target.reach(TIMEOUT).await {
                Ok(()) => Finding::ok(CHECK, format!("`{name}`: {target} can be reached")),
                Err(Undelivered::Refused(why)) => Finding::problem(CHECK, format!("`{name}`: {target}: {why}")),
                Err(why) => Finding::warning(CHECK, format!("`{name}`: {why}; its events wait and are tried again")),
            });
        }
    }
    Ok(findings)
}
