//! `health`: for container health checks and scripts.

use std::time::Duration;

use clap::Args;

use super::output::{self, Done, Failure};
use super::stores;
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
        let base = self.url.unwrap_or_else(|| {
            let host = settings.server.host;
            let host = if host.is_unspecified() { [127, 0, 0, 1].into() } else { host };
            format!("http://{}", std::net::SocketAddr::new(host, settings.server.port))
        });
        let url = format!("{}/health/ready", base.trim_end_matches('/'));
        let response = egress::client(TIMEOUT)?
            .get(&url)
            .send()
            .await
            .map_err(|_| Failure::Because(format!("{url}: no answer within 3 s; is the receiver running?")))?;
        let ready = response.status().is_success();
        let answer = response.text().await.unwrap_or_default();
        output::line(output::plain(&answer))?;
        if ready { Ok(()) } else { Err(Failure::Said) }
    }
}
