//! `health`: the readiness check for containers and scripts.

use clap::Args;

use crate::cli::context;
use crate::cli::output::{self, CliError, CliResult};
use crate::operations::receiver::{check_health, check_local_health};

#[derive(Debug, Args)]
pub(in crate::cli) struct HealthArgs {
    /// Base URL of the receiver [default: this machine, at server.host and server.port]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl HealthArgs {
    pub(in crate::cli) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let health = match &self.url {
            Some(url) => check_health(url).await?,
            None => check_local_health(&settings).await?,
        };
        let Some(response) = &health.response else {
            let base = &health.url;
            return Err(CliError::Message(format!(
                "{base}/health/ready: no response within 3 s; is the receiver running?"
            )));
        };
        output::print_line(output::escape_text(&output::json_text(response)))?;
        if health.ready { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}
