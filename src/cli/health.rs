//! `health`: the readiness check for containers and scripts.

use std::time::Duration;

use clap::Args;

use super::context;
use super::output::{self, CliError, CliResult};
use crate::config::Settings;
use crate::egress;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Base URL of the receiver [default: this machine, at server.host and server.port]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl HealthArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let base = self.url.unwrap_or_else(|| local_base_url(&settings));
        let readiness = get_readiness(&base).await?.ok_or_else(|| {
            let base = base.trim_end_matches('/');
            CliError::Message(format!("{base}/health/ready: no response within 3 s; is the receiver running?"))
        })?;
        output::print_line(output::sanitize(&readiness.body))?;
        if readiness.ready { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}

/// The base URL of the receiver on this machine, by its settings.
pub(super) fn local_base_url(settings: &Settings) -> String {
    let host = settings.server.host;
    // 0.0.0.0 and :: are addresses to listen on, not to connect to.
    let host = if host.is_unspecified() { [127, 0, 0, 1].into() } else { host };
    format!("http://{}", std::net::SocketAddr::new(host, settings.server.port))
}

pub(super) struct Readiness {
    pub(super) ready: bool,
    /// Body of the response of `/health/ready`.
    pub(super) body: String,
}

/// Requests `/health/ready` of the receiver at `base`; `None` when the receiver does not respond.
pub(super) async fn get_readiness(base: &str) -> Result<Option<Readiness>, CliError> {
    let url = format!("{}/health/ready", base.trim_end_matches('/'));
    let Ok(response) = egress::build_client(REQUEST_TIMEOUT)?.get(&url).send().await else {
        return Ok(None);
    };
    let ready = response.status().is_success();
    Ok(Some(Readiness { ready, body: response.text().await.unwrap_or_default() }))
}
