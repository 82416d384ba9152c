//! `tail`: prints events as they arrive.

use std::cell::Cell;
use std::io::{self, BufWriter, ErrorKind, Write};

use clap::Args;

use super::tail_format::{self, LineStyle};
use crate::base::id::EventId;
use crate::cli::context;
use crate::cli::output::{self, CliError, CliResult};
use crate::cli::time_arg::TimeArg;
use crate::operations::OperationError;
use crate::operations::events::{EventTail, TailFilter, TailNotice, TailOutput, TailStart};
use crate::view::TailedEventView;

/// Stored events that are printed first by default.
const DEFAULT_LINES: usize = 10;

#[derive(Debug, Args)]
pub(in crate::cli) struct TailArgs {
    /// Only events with this name; may be given several times
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// Only events of this call or chat
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Only events of this company
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Only events whose body is not a JSON object
    #[arg(long)]
    unparsed: bool,
    /// First print the latest N stored events [default: 10]
    #[arg(short = 'n', long = "lines", value_name = "N", conflicts_with_all = ["since", "after"])]
    lines: Option<usize>,
    /// First print the events received since this time: 2026-11-21T10:00:00Z, or 90s, 10m, 2h, 1d ago
    #[arg(long, value_name = "TIME", conflicts_with = "after")]
    since: Option<TimeArg>,
    /// Continue exactly after this event; Ctrl-C prints the command that does
    #[arg(long, value_name = "EVENT_ID")]
    after: Option<EventId>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl TailArgs {
    pub(in crate::cli) async fn run(self) -> CliResult {
        let mut tail = EventTail::new(&context::load_settings()?, self.filter(), self.start());
        let style = LineStyle::from_env()?;
        // The event to resume after.
        let resume = Cell::new(EventTail::beginning());
        tokio::select! {
            // Ctrl-C is polled first, so that its handler is installed before anything is printed.
            biased;
            _ = tokio::signal::ctrl_c() => {
                output::print_error(format!("\ncontinue: {}", self.resume_command(resume.get())));
                Ok(())
            }
            result = self.follow(&mut tail, style, &resume) => result,
        }
    }

    /// Returns when the reader of stdout has closed the pipe, or when the store cannot be used.
    async fn follow(&self, tail: &mut EventTail, style: LineStyle, resume: &Cell<EventId>) -> CliResult {
        loop {
            match tail.next().await.map_err(tail_error)? {
                TailOutput::Notice(notice) => print_notice(&notice),
                TailOutput::Events(batch) => {
                    match self.print_events(&batch.events, style) {
                        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                        result => result?,
                    }
                    resume.set(batch.resume_after);
                }
            }
        }
    }

    fn print_events(&self, events: &[TailedEventView], style: LineStyle) -> io::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        for event in events {
            if self.json {
                writeln!(out, "{}", output::json_line(event)?)?;
            } else {
                writeln!(out, "{}", tail_format::format_event_line(event, style))?;
            }
        }
        out.flush()
    }

    fn filter(&self) -> TailFilter {
        TailFilter {
            kinds: self.event.clone(),
            call_id: self.call.clone(),
            company: self.company.clone(),
            unparsed_only: self.unparsed,
        }
    }

    fn start(&self) -> TailStart {
        match (self.after, self.since) {
            (Some(after), _) => TailStart::After(after),
            (None, Some(since)) => TailStart::Since(since.ms()),
            (None, None) => TailStart::Latest(self.lines.unwrap_or(DEFAULT_LINES)),
        }
    }

    /// The command that continues where this one stopped, with the same filters.
    fn resume_command(&self, after: EventId) -> String {
        let mut command = vec![format!("retell-webhook tail --after {after}")];
        let call = self.call.iter().map(|id| ("--call", id));
        let company = self.company.iter().map(|slug| ("--company", slug));
        let options = self.event.iter().map(|name| ("--event", name)).chain(call).chain(company);
        command.extend(options.map(|(option, value)| format!("{option} {}", shell_quote(value))));
        let switches = [("--unparsed", self.unparsed), ("--json", self.json)];
        command.extend(switches.iter().filter(|(_, given)| *given).map(|(switch, _)| (*switch).to_owned()));
        command.join(" ")
    }
}

fn print_notice(notice: &TailNotice) {
    match notice {
        TailNotice::WaitingForStore(location) => output::print_error(format!(
            "retell-webhook: no store at {location} yet; waiting for `retell-webhook serve` to create it (Ctrl-C to \
             stop)"
        )),
        TailNotice::ReadFailed(error) => output::print_error(format!("retell-webhook: {error}; retrying")),
        TailNotice::ReadRecovered => output::print_error("retell-webhook: the store can be read again"),
    }
}

/// The only event that a tail looks for is that of `--after`.
fn tail_error(error: OperationError) -> CliError {
    match error {
        OperationError::NotFound { message, .. } => {
            CliError::Message(format!("--after: {message}; use --since TIME to start at a time instead"))
        }
        error => error.into(),
    }
}

/// Quotes an argument for a POSIX shell, if it needs quotes.
fn shell_quote(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::shell_quote;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        assert_eq!(shell_quote("call_ended"), "call_ended");
        assert_eq!(shell_quote("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell_quote(""), "''");
    }
}
