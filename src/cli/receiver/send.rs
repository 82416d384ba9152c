//! `send`: sends one signed event as Retell would.

use std::path::PathBuf;

use clap::Args;

use crate::base::clock::Clock;
use crate::cli::list_args::DestinationArgs;
use crate::cli::output::{self, CliError, CliResult};
use crate::cli::{context, input};
use crate::event::EventKind;
use crate::operations::receiver::{EventContent, EventToSend, REJECTED_MESSAGE, send_event};
use crate::view::SendResultView;

#[derive(Debug, Args)]
pub(in crate::cli) struct SendArgs {
    /// Event of which to send a sample, such as `call_ended`; its call id begins with `call_test_`
    #[arg(required_unless_present = "file", value_parser = parse_event_kind)]
    event: Option<EventKind>,
    #[command(flatten)]
    destination: DestinationArgs,
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
    pub(in crate::cli) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let content = match (self.file, self.event) {
            (Some(file), _) => EventContent::Body(input::read_file_or_stdin(&file)?),
            (None, Some(kind)) => EventContent::Sample(kind),
            (None, None) => return Err(CliError::Message("give the name of an event, or --file".into())),
        };
        let event = EventToSend { content, url: self.destination.to, company: self.destination.company };
        let result = send_event(&settings, &Clock::system(), context::PRINCIPAL, event).await?;
        if self.json {
            output::print_json(&result)?;
        } else {
            let SendResultView { status, response_body, duration_ms, url } = &result;
            output::print_line(format!(
                "{status} in {duration_ms} ms from {url}: {}",
                output::escape_text(response_body)
            ))?;
        }
        match result.status {
            200..300 => Ok(()),
            401 => Err(CliError::Message(REJECTED_MESSAGE.into())),
            _ => Err(CliError::AlreadyPrinted),
        }
    }
}
