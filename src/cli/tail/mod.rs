//! `tail`: prints events as they arrive. It reads the store, not the receiver, so it continues while the receiver
//! restarts. Events are printed in the order of commit, each one once.

mod followed_store;
mod format;

use std::cell::Cell;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::time::Duration;

use clap::Args;

use self::followed_store::FollowedStore;
use self::format::LineStyle;
use super::output::{CliError, CliResult};
use super::{context, events};
use crate::base::id::EventId;
use crate::operations::events::event_view;
use crate::storage::{EventFilter, Store, StoreError, StoredEvent};

const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Events read per query. The store limits the total size of their bodies as well.
const READ_BATCH_SIZE: usize = 256;
/// Stored events that are printed first by default.
const DEFAULT_LINES: usize = 10;

#[derive(Debug, Args)]
pub(super) struct TailArgs {
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
    #[arg(long, value_name = "TIME", value_parser = events::parse_time_arg, conflicts_with = "after")]
    since: Option<i64>,
    /// Continue exactly after this event; Ctrl-C prints the command that does
    #[arg(long, value_name = "EVENT_ID")]
    after: Option<EventId>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl TailArgs {
    pub(super) async fn run(self) -> CliResult {
        let mut source = FollowedStore::new(context::load_settings()?.storage.url);
        let style = LineStyle::from_env()?;
        // The event to resume after. With no event yet it is the lowest possible id, which means: from the beginning.
        let resume = Cell::new(EventId::lower_bound_at(0));
        tokio::select! {
            // Ctrl-C is polled first, so that its handler is installed before anything is printed.
            biased;
            _ = tokio::signal::ctrl_c() => {
                eprintln!("\ncontinue: {}", self.resume_command(resume.get()));
                Ok(())
            }
            result = self.follow(&mut source, style, &resume) => result,
        }
    }

    /// Returns when the reader of stdout has closed the pipe, or when the store cannot be used.
    async fn follow(&self, source: &mut FollowedStore, style: LineStyle, resume: &Cell<EventId>) -> CliResult {
        let existed = source.exists();
        source.wait_and_open().await?;
        let mut cursor = self.start_seq(source, existed, resume).await?;
        loop {
            match self.print_new_events(source, &mut cursor, style, resume).await {
                Ok(true) => source.report_read_ok(),
                Ok(false) => return Ok(()),
                Err(TailError::Output(error)) => return Err(error.into()),
                Err(TailError::Store(error)) => source.report_read_error(&error),
            }
            tokio::time::sleep(POLL_INTERVAL).await;
            // A new store, such as after a restored backup, starts with its own sequence numbers.
            if source.was_replaced().await {
                source.wait_and_open().await?;
                cursor = 0;
            }
        }
    }

    /// The sequence number after which to start.
    async fn start_seq(&self, source: &FollowedStore, existed: bool, resume: &Cell<EventId>) -> Result<i64, CliError> {
        let store = source.store()?;
        if let Some(after) = self.after {
            resume.set(after);
            if after == EventId::lower_bound_at(0) {
                return Ok(0);
            }
            return match store.get_event(after).await? {
                Some(event) => Ok(event.summary.seq),
                None => Err(CliError::Message(format!(
                    "--after {after}: this event is not in the store; use --since TIME to start at a time instead"
                ))),
            };
        }
        // A store that did not exist when the command started has only new events.
        if !existed {
            return Ok(0);
        }
        let seq = match self.since {
            Some(since_ms) => store.seq_before(since_ms).await?,
            None => self.seq_before_latest(store, self.lines.unwrap_or(DEFAULT_LINES)).await?,
        };
        // If nothing gets printed, the command resumes after the newest event that was stored at the start.
        if let Some(newest) = newest_event(store).await?.filter(|(newest, _)| *newest <= seq) {
            resume.set(newest.1);
        }
        Ok(seq)
    }

    /// The sequence number before the latest `count` events that match.
    async fn seq_before_latest(&self, store: &dyn Store, count: usize) -> Result<i64, StoreError> {
        let newest = newest_event(store).await?.map_or(0, |(seq, _)| seq);
        let mut latest = Vec::new();
        let names: Vec<_> = self.event.iter().cloned().map(Some).collect();
        // The store filters by one name at a time, so several names need one query each.
        for kind in if names.is_empty() { vec![None] } else { names } {
            let filter = EventFilter { kind, limit: Some(count), ..self.store_filter() };
            latest.extend(store.list_events(filter).await?.iter().map(|event| event.seq));
        }
        latest.sort_unstable_by(|a, b| b.cmp(a));
        latest.truncate(count);
        Ok(latest.last().map_or(newest, |seq| seq - 1))
    }

    /// Prints the events after `cursor`, and returns `false` when the reader of stdout has closed the pipe.
    async fn print_new_events(
        &self,
        source: &FollowedStore,
        cursor: &mut i64,
        style: LineStyle,
        resume: &Cell<EventId>,
    ) -> Result<bool, TailError> {
        let store = source.store()?;
        let Some((newest, newest_id)) = newest_event(store).await? else { return Ok(true) };
        while newest > *cursor {
            let chunk = store
                .export_events(*cursor, EventFilter { limit: Some(READ_BATCH_SIZE), ..self.store_filter() })
                .await?;
            let Some(last) = chunk.last() else { break };
            let matching: Vec<_> = chunk.iter().filter(|event| self.matches_event_names(event)).collect();
            match self.print_events(&matching, style) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
                result => result?,
            }
            *cursor = last.summary.seq;
            resume.set(last.summary.id);
        }
        // Everything up to `newest` was committed before the queries above, so events that do not match can be
        // skipped for good. Without this, a filter that matches rarely would scan the same events again and again.
        if newest >= *cursor {
            *cursor = newest;
            resume.set(newest_id);
        }
        Ok(true)
    }

    fn print_events(&self, events: &[&StoredEvent], style: LineStyle) -> io::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        for event in events {
            if self.json {
                writeln!(out, "{}", serde_json::to_string(&event_view(&event.summary))?)?;
            } else {
                writeln!(out, "{}", format::format_event_line(event, style))?;
            }
        }
        out.flush()
    }

    /// The filters that the store applies; several names are filtered by [`Self::matches_event_names`].
    fn store_filter(&self) -> EventFilter {
        let kind = if let [only] = &self.event[..] { Some(only.clone()) } else { None };
        EventFilter {
            kind,
            call_id: self.call.clone(),
            company: self.company.clone(),
            unparsed_only: self.unparsed,
            ..EventFilter::default()
        }
    }

    fn matches_event_names(&self, event: &StoredEvent) -> bool {
        self.event.is_empty() || event.summary.kind.as_ref().is_some_and(|name| self.event.contains(name))
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

/// Errors of the store are retried, since a receiver may be restarting; errors of the output are final.
enum TailError {
    Store(StoreError),
    Output(io::Error),
}

impl From<StoreError> for TailError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for TailError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

async fn newest_event(store: &dyn Store) -> Result<Option<(i64, EventId)>, StoreError> {
    let latest = store.list_events(EventFilter { limit: Some(1), ..EventFilter::default() }).await?;
    Ok(latest.first().map(|event| (event.seq, event.id)))
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
