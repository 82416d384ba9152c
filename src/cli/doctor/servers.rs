//! Whether the servers that handlers, functions and inbound rules ask can be reached.

use std::time::Duration;

use super::super::output::Failure;
use super::Finding;
use crate::base::secret::Secret;
use crate::config::Settings;
use crate::egress::{Egress, Undelivered};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Somebody's server.
struct Asked<'a> {
    check: &'static str,
    name: &'a str,
    url: &'a str,
    /// While it cannot be reached.
    meanwhile: &'static str,
}

/// A connection to each, on which nothing is sent.
pub(super) async fn destinations(settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let egress = Egress::new(&settings.egress)?;
    let mut findings = Vec::new();
    for Asked { check, name, url, meanwhile } in asked(settings) {
        let target = egress.target(url).map_err(Failure::Because)?;
        findings.push(match target.reach(TIMEOUT).await {
            Ok(()) => Finding::ok(check, format!("`{name}`: {target} can be reached")),
            Err(Undelivered::Refused(why)) => Finding::problem(check, format!("`{name}`: {target}: {why}")),
            Err(why) => Finding::warning(check, format!("`{name}`: {why}; {meanwhile}")),
        });
    }
    Ok(findings)
}

fn asked(settings: &Settings) -> Vec<Asked<'_>> {
    let mut all = Vec::new();
    for table in settings.handlers.iter().filter(|table| table.enabled) {
        let urls = table.url.iter().chain(&table.urls).map(Secret::expose);
        let meanwhile = "its events wait and are tried again";
        all.extend(urls.map(|url| Asked { check: "handlers", name: &table.name, url, meanwhile }));
    }
    for table in &settings.functions {
        let meanwhile = "its fallback is answered meanwhile";
        all.extend(table.url.iter().map(|url| Asked {
            check: "functions",
            name: &table.name,
            url: url.expose(),
            meanwhile,
        }));
    }
    for rule in &settings.inbound.rules {
        let meanwhile = "inbound.fallback is answered meanwhile";
        let url = rule.ask.iter().map(|ask| ask.url.expose());
        all.extend(url.map(|url| Asked { check: "inbound", name: &rule.name, url, meanwhile }));
    }
    all
}
