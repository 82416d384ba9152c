//! `health`: for container health checks and scripts.

use std::time::Duration;

use clap::Args;

use super::output::{self, Done, Failure};
use super::stores;
use crate::config::Settings;
use crate::egress;

const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct Health {
    /// The receiver to ask [default: the one on this machine, by server.host and server.port]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Health {
    pub(super) async fn run(self) -> Done {
        let settings = stores::settings()?;
        let base = self.url.unwrap_or_else(|| local(&settings));
        let readiness = ask(&base).await?.ok_or_else(|| {
            let base = base.trim_end_matches('/');
            Failure::Because(format!("{base}/health/ready: no answer within 3 s; is the receiver running?"))
        })?;
        output::line(output::plain(&readiness.answer))?;
        if readiness.ready { Ok(()) } else { Err(Failure::Said) }
    }
}

/// Where the receiver on this machine is asked.
pub(super) fn local(settings: &Settings) -> String {
    let host = settings.server.host;
    let host = if host.is_unspecified() { [127, 0, 0, 1].into() } else { host };
    format!("http://{}", std::net::SocketAddr::new(host, settings.server.port))
}

pub(super) struct Readiness {
    pub(super) ready: bool,
    /// What it said.
    pub(super) answer: String,
}

/// Asks the receiver at `base`; `None` when there is no answer.
pub(super) async fn ask(base: &str) -> Result<Option<Readiness>, Failure> {
    let url = format!("{}/health/ready", base.trim_end_matches('/'));
    let Ok(response) = egress::client(TIMEOUT)?.get(&url).send().await else {
        return Ok(None);
    };
    let ready = response.status().is_success();
    Ok(Some(Readiness { ready, answer: response.text().await.unwrap_or_default() }))
}
