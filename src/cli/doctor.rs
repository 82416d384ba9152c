//! `doctor`: checks what commonly keeps events from arriving, and says what to do.

mod disk;
mod net;
mod servers;

use clap::Args;
use serde::Serialize;

use super::output::{self, Done, Failure};
use super::{config, health};
use crate::config::{Settings, Sources};
use crate::security::keys::ApiKey;
use crate::storage::sqlite::SqliteUrl;

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Compare this machine's clock with that of Retell's API as well; needs the internet
    #[arg(long)]
    online: bool,
    /// Whose clock `--online` compares with
    #[arg(long, value_name = "URL", default_value = "https://api.retellai.com", hide = true)]
    clock_of: String,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Problem,
}

/// What a check found; for a warning or a problem, with what to do.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    text: String,
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, text: text.into() }
    }

    fn warning(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, text: text.into() }
    }

    fn problem(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, level: Level::Problem, text: text.into() }
    }
}

impl Doctor {
    pub(super) async fn run(self) -> Done {
        let findings = match Sources::of_process().map_err(Failure::from).and_then(|sources| config::checked(&sources))
        {
            Ok(settings) => self.examine(&settings).await?,
            // Whatever else there is depends on it.
            Err(Failure::Because(why)) => vec![Finding::problem("configuration", why)],
            Err(said) => return Err(said),
        };
        if self.json {
            output::json(&findings)?;
        } else {
            findings.iter().try_for_each(print)?;
        }
        let sick = findings.iter().any(|finding| finding.level == Level::Problem);
        if sick { Err(Failure::Said) } else { Ok(()) }
    }

    async fn examine(&self, settings: &Settings) -> Result<Vec<Finding>, Failure> {
        let store = SqliteUrl::parse(&settings.storage.url)?;
        let local = health::local(settings);
        let (port, instance) = net::port(settings, &local).await?;
        let mut findings = vec![Finding::ok("configuration", "it can be read"), keys(settings), port];
        findings.push(disk::folder(store.folder()));
        findings.push(disk::store(&store));
        findings.extend(disk::space(store.folder()));
        findings.extend(disk::kind(store.folder()));
        findings.push(net::public_url(settings, instance.as_deref()).await?);
        findings.extend(servers::destinations(settings).await?);
        if self.online {
            findings.push(net::clock(&self.clock_of).await?);
        }
        Ok(findings)
    }
}

fn print(finding: &Finding) -> Done {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Warning => "WARNING",
        Level::Problem => "PROBLEM",
    };
    output::line(format!("{level:<8} {:<14} {}", finding.check, output::plain(&finding.text)))
}

fn keys(settings: &Settings) -> Finding {
    const CHECK: &str = "keys";
    let keys = &settings.security.keys;
    if !settings.security.verify {
        return Finding::warning(CHECK, "verification is off, anybody can send events: set security.verify = true");
    }
    if keys.is_empty() {
        let text = "none is set, so calls from Retell are refused: set RETELL_API_KEY to the key with the webhook badge \
                    (Retell's dashboard, Settings → API Keys)";
        return if settings.server.is_public_https() {
            Finding::problem(CHECK, text)
        } else {
            Finding::warning(CHECK, text)
        };
    }
    let fingerprints: Vec<_> = keys.iter().map(|key| ApiKey::new(key).fingerprint().to_string()).collect();
    Finding::ok(CHECK, format!("fingerprint {}", fingerprints.join(", ")))
}
