//! `tail`: events as they arrive, read from the store beside the receiver. Nothing is asked of the receiver itself, so it
//! may restart meanwhile; what it accepts is shown in the order of commit, each event once.

mod line;
mod source;

use std::cell::Cell;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::time::Duration;

use clap::Args;

use self::line::Style;
use self::source::Source;
use super::output::{Done, Failure};
use super::{events, stores};
use crate::base::id::EventId;
use crate::storage::{EventFilter, Store, StoreError, StoredEvent};

/// How often the store is looked at.
const POLL: Duration = Duration::from_millis(250);
/// Events read at once; their bodies are bounded by the store besides.
const BATCH: usize = 256;
/// Shown first unless told otherwise.
const LATELY: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Tail {
    /// Only events of this name; may be given several times
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// Only events of this call or chat
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Only events of this company
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Only events whose body is no JSON object
    #[arg(long)]
    unparsed: bool,
    /// Show the latest N that are stored already first [default: 10]
    #[arg(short = 'n', long = "lines", value_name = "N", conflicts_with_all = ["since", "after"])]
    lines: Option<usize>,
    /// Show those received since then first: 2026-11-21T10:00:00Z, or 90s, 10m, 2h, 1d ago
    #[arg(long, value_name = "TIME", value_parser = events::since, conflicts_with = "after")]
    since: Option<i64>,
    /// Go on exactly behind this event, as Ctrl-C prints it
    #[arg(long, value_name = "EVENT ID")]
    after: Option<EventId>,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

impl Tail {
    pub(super) async fn run(self) -> Done {
        let mut source = Source::new(stores::sqlite_url()?);
        let style = Style::of_process()?;
        // The event to resume behind; the id that is before all others when there is none.
        let resume = Cell::new(EventId::floor(0));
        tokio::select! {
            done = self.follow(&mut source, style, &resume) => done,
            _ = tokio::signal::ctrl_c() => {
                eprintln!("\nto go on: {}", self.command(resume.get()));
                Ok(())
            }
        }
    }

    /// Ends when nobody reads any more, or the store cannot be used.
    async fn follow(&self, source: &mut Source, style: Style, resume: &Cell<EventId>) -> Done {
        let existed = source.exists();
        source.open().await?;
        let mut cursor = self.start(source, existed, resume).await?;
        loop {
            match self.catch_up(source, &mut cursor, style, resume).await {
                Ok(true) => source.works(),
                Ok(false) => return Ok(()),
                Err(Failed::Output(error)) => return Err(error.into()),
                Err(Failed::Store(error)) => source.fails(&error),
            }
            tokio::time::sleep(POLL).await;
            if source.was_replaced() {
                source.open().await?;
                cursor = 0;
            }
        }
    }

    /// The sequence number behind which to begin.
    async fn start(&self, source: &Source, existed: bool, resume: &Cell<EventId>) -> Result<i64, Failure> {
        let store = source.store()?;
        if let Some(after) = self.after {
            resume.set(after);
            if after == EventId::floor(0) {
                return Ok(0);
            }
            let missing = || {
                Failure::Because(format!(
                    "there is no event {after} to go on from; `tail --since TIME` begins at a time instead"
                ))
            };
            return Ok(store.event(after).await?.ok_or_else(missing)?.summary.seq);
        }
        if !existed {
            return Ok(0);
        }
        let seq = match self.since {
            Some(since_ms) => store.seq_before(since_ms).await?,
            None => self.before_latest(store, self.lines.unwrap_or(LATELY)).await?,
        };
        // The event right before what is shown first, to resume from should nothing be shown at all.
        if let Some(newest) = newest(store).await?.filter(|(newest, _)| *newest <= seq) {
            resume.set(newest.1);
        }
        Ok(seq)
    }

    /// Behind which event the latest `count` that fit begin.
    async fn before_latest(&self, store: &impl Store, count: usize) -> Result<i64, StoreError> {
        let newest = newest(store).await?.map_or(0, |(seq, _)| seq);
        let mut latest = Vec::new();
        let names: Vec<_> = self.event.iter().cloned().map(Some).collect();
        for event in if names.is_empty() { vec![None] } else { names } {
            let filter = EventFilter { event, limit: Some(count), ..self.filter() };
            latest.extend(store.events(filter).await?.iter().map(|event| event.seq));
        }
        latest.sort_unstable_by(|a, b| b.cmp(a));
        latest.truncate(count);
        Ok(latest.last().map_or(newest, |seq| seq - 1))
    }

    /// Shows what came behind `cursor`; `false` when nobody reads any more.
    async fn catch_up(
        &self,
        source: &Source,
        cursor: &mut i64,
        style: Style,
        resume: &Cell<EventId>,
    ) -> Result<bool, Failed> {
        let store = source.store()?;
        let Some((newest, newest_id)) = newest(store).await? else { return Ok(true) };
        while newest > *cursor {
            let chunk = store.export(*cursor, EventFilter { limit: Some(BATCH), ..self.filter() }).await?;
            let Some(last) = chunk.last() else { break };
            let shown: Vec<_> = chunk.iter().filter(|event| self.is_wanted(event)).collect();
            match self.print(&shown, style) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
                printed => printed?,
            }
            *cursor = last.summary.seq;
            resume.set(last.summary.id);
        }
        // Nothing of what was committed before this look is missing: those that do not fit are not looked at again.
        if newest >= *cursor {
            *cursor = newest;
            resume.set(newest_id);
        }
        Ok(true)
    }

    fn print(&self, events: &[&StoredEvent], style: Style) -> io::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        for event in events {
            if self.json {
                writeln!(out, "{}", events::describe(&event.summary))?;
            } else {
                writeln!(out, "{}", line::line(event, style))?;
            }
        }
        out.flush()
    }

    /// What the store can narrow by itself; several names are left to [`Tail::is_wanted`].
    fn filter(&self) -> EventFilter {
        let event = if let [only] = &self.event[..] { Some(only.clone()) } else { None };
        EventFilter {
            event,
            call_id: self.call.clone(),
            company: self.company.clone(),
            unparsed: self.unparsed,
            ..EventFilter::default()
        }
    }

    fn is_wanted(&self, event: &StoredEvent) -> bool {
        self.event.is_empty() || event.summary.event.as_ref().is_some_and(|name| self.event.contains(name))
    }

    /// The command that goes on where this one stopped.
    fn command(&self, after: EventId) -> String {
        let mut command = vec![format!("retell-webhook tail --after {after}")];
        let call = self.call.iter().map(|id| ("--call", id));
        let company = self.company.iter().map(|slug| ("--company", slug));
        let options = self.event.iter().map(|name| ("--event", name)).chain(call).chain(company);
        command.extend(options.map(|(option, value)| format!("{option} {}", quoted(value))));
        let switches = [("--unparsed", self.unparsed), ("--json", self.json)];
        command.extend(switches.iter().filter(|(_, given)| *given).map(|(switch, _)| (*switch).to_owned()));
        command.join(" ")
    }
}

/// Why a look failed: the store may come back, the output will not.
enum Failed {
    Store(StoreError),
    Output(io::Error),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

async fn newest(store: &impl Store) -> Result<Option<(i64, EventId)>, StoreError> {
    let latest = store.events(EventFilter { limit: Some(1), ..EventFilter::default() }).await?;
    Ok(latest.first().map(|event| (event.seq, event.id)))
}

/// For a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        assert_eq!(quoted("call_ended"), "call_ended");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
