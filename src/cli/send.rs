//! `send`: sends one signed event as Retell would.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::output::{self, CliError, CliResult};
use super::{context, keys, receiver_url};
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::config::Settings;
use crate::egress;
use crate::event::{EventKind, sample_body};
use crate::security::signature::{SIGNATURE_HEADER, Signature};
use crate::simulation::REJECTED_MESSAGE;
use crate::view::SendResultView;

/// Retell waits for a response for this long by default.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// Event of which to send a sample, such as `call_ended`; its call id begins with `call_test_`
    #[arg(required_unless_present = "file", value_parser = parse_event_kind)]
    event: Option<EventKind>,
    /// URL of the receiver; without a path the webhook's path is added [default: `server.url`, else the receiver on
    /// this machine]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Send to the route of this company, signed with its first key
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Send the bytes of this file instead of a sample (`-` reads standard input)
    #[arg(long, value_name = "FILE", conflicts_with = "event")]
    file: Option<PathBuf>,
    /// Print the response as JSON
    #[arg(long)]
    json: bool,
}

fn parse_event_kind(name: &str) -> Result<EventKind, String> {
    match EventKind::from_name(name) {
        EventKind::Unknown => {
            let known = EventKind::ALL.map(EventKind::as_str).join(", ");
            Err(format!("unknown event; known events: {known} (send any other body with --file)"))
        }
        kind => Ok(kind),
    }
}

impl SendArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let url = self.webhook_url(&settings)?;
        let now_ms = Clock::system().now_ms();
        let body = self.build_body(now_ms)?;
        let client = egress::build_client(REQUEST_TIMEOUT)?;
        let mut request = client.post(url.clone()).header("content-type", "application/json");
        // Without verification no key is required, and none may be configured.
        if settings.security.verify || !settings.security.keys.is_empty() {
            let key = keys::signing_key(&settings, self.company.as_deref())?;
            request = request.header(SIGNATURE_HEADER, Signature::sign(&key, &body, now_ms).to_string());
        }
        let started_at = Instant::now();
        let response = request.body(body).send().await.map_err(|error| request_failure(&url, &error))?;
        let status = response.status().as_u16();
        let duration_ms = started_at.elapsed().as_millis();
        let response_body = response.text().await.unwrap_or_default();
        self.print_response(status, &response_body, duration_ms, &url)
    }

    fn print_response(&self, status: u16, response_body: &str, duration_ms: u128, url: &url::Url) -> CliResult {
        let response_body = output::sanitize(&response_body.chars().take(500).collect::<String>());
        if self.json {
            output::print_json(&SendResultView { status, response_body, duration_ms, url: url.to_string() })?;
        } else {
            output::print_line(format!("{status} in {duration_ms} ms from {url}: {response_body}"))?;
        }
        match status {
            200..300 => Ok(()),
            401 => Err(CliError::Message(REJECTED_MESSAGE.into())),
            _ => Err(CliError::AlreadyPrinted),
        }
    }

    fn webhook_url(&self, settings: &Settings) -> Result<url::Url, CliError> {
        let text = self.to.clone().unwrap_or_else(|| settings.server.public_url(settings.server.port));
        receiver_url::parse_webhook_url(&text, self.company.as_deref())
    }

    fn build_body(&self, now_ms: i64) -> Result<Vec<u8>, CliError> {
        match (&self.file, self.event) {
            (Some(file), _) => read_file_or_stdin(file),
            (None, Some(kind)) => {
                let hex = random_hex();
                let prefix = if kind.as_str().starts_with("chat") { "chat_test_" } else { "call_test_" };
                let body = sample_body(kind, &format!("{prefix}{}", &hex[..27]), now_ms);
                body.map(String::into_bytes).ok_or_else(|| CliError::Message(format!("no sample of `{kind}` exists")))
            }
            (None, None) => Err(CliError::Message("give the name of an event, or --file".into())),
        }
    }
}

/// Reads the bytes of a file, or of standard input for `-`.
pub(super) fn read_file_or_stdin(file: &Path) -> Result<Vec<u8>, CliError> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    bytes.map_err(|error| CliError::Message(format!("cannot read {}: {error}", file.display())))
}

fn request_failure(url: &url::Url, error: &reqwest::Error) -> CliError {
    let reason = if error.is_timeout() {
        "no response within 10 s"
    } else if error.is_connect() {
        "no connection; is the receiver running on that port?"
    } else {
        "the connection was closed while sending (a body larger than server.body_limit_bytes has this effect as well)"
    };
    CliError::Message(format!("{url}: {reason}"))
}
