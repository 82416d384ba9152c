//! Log lines on standard output and in a file.

use std::fmt;
use std::io::{IsTerminal, Write, stdout};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::rolling_file::RollingFile;
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::config::{LogFormat, LogSettings};

/// Lines waiting to be written. When whoever reads standard output or the disk stalls, further lines are dropped: a log
/// must not be able to hold up intake.
const MAX_QUEUED_LINES: usize = 16_384;

/// How often dropped lines are spoken of, at most.
const DROPPED_LINES_WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Keeps the log flowing; what waits is written when it is dropped.
pub(crate) struct LogGuard {
    #[allow(dead_code, reason = "held for its drop")]
    workers: Vec<WorkerGuard>,
    dropped_lines: DroppedLines,
}

impl LogGuard {
    /// How many lines were left out so far, now and later.
    #[must_use]
    pub(crate) fn dropped_lines(&self) -> DroppedLines {
        self.dropped_lines.clone()
    }
}

/// Counts of log lines that were left out, by where they should have gone: `stdout`, `file`.
#[derive(Clone, Debug, Default)]
pub struct DroppedLines(Vec<(&'static str, ErrorCounter, Arc<AtomicUsize>)>);

impl DroppedLines {
    /// The counts so far.
    pub fn snapshot(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = |(name, queue, lost): &(&'static str, ErrorCounter, Arc<AtomicUsize>)| {
            (*name, (queue.dropped_lines() + lost.load(Ordering::Relaxed)) as u64)
        };
        self.0.iter().map(all)
    }

    /// Says that lines were dropped, at most once a minute, until the service stops.
    pub fn spawn_warnings(self, supervisor: &Supervisor) {
        let stop = supervisor.clone();
        supervisor.spawn_detached(async move {
            let mut said = 0;
            while tokio::time::timeout(DROPPED_LINES_WARN_INTERVAL, stop.wait_for_stop()).await.is_err() {
                let dropped = self.snapshot().map(|(_, count)| count).sum();
                if dropped > said {
                    tracing::warn!(
                        lines = dropped - said,
                        "log lines were dropped: standard output or the log file does not keep up"
                    );
                    said = dropped;
                }
            }
        });
    }
}

/// A plain level is about this program; the libraries under it only speak up when something is wrong.
fn filter_directives(level: &str) -> String {
    if level.contains(['=', ',']) { level.to_owned() } else { format!("warn,retell_webhook={level}") }
}

fn parse_filter(settings: &LogSettings) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter_directives(&settings.level)).map_err(|_| {
        "log.level: expected error, warn, info, debug, trace, or directives such as info,retell_webhook=debug"
            .to_owned()
    })
}

/// Whether [`init`] would understand these settings.
///
/// # Errors
/// `log.level` cannot be understood.
pub(crate) fn validate(settings: &LogSettings) -> Result<(), String> {
    parse_filter(settings).map(drop)
}

/// Sends log lines to standard output and, unless `log.dir` turns it off, to `app.log` in that folder. A folder that
/// cannot be written is warned about, and the file left out. Call once, from the binary; a library leaves this to its
/// host.
///
/// # Errors
/// `log.level` cannot be understood, or a log was set up already.
pub(crate) fn init(settings: &LogSettings) -> Result<LogGuard, String> {
    let filter = parse_filter(settings)?;
    let mut guard = LogGuard { workers: Vec::new(), dropped_lines: DroppedLines::default() };
    let out = guard.add_writer("stdout", stdout(), Arc::default());
    let rolling = settings.directory().map(|folder| (folder, RollingFile::open(folder, Clock::system())));
    let (file, refused) = match rolling {
        Some((_, Ok(rolling))) => {
            let lost = rolling.lost_lines();
            (Some(guard.add_writer("file", rolling, lost)), None)
        }
        Some((folder, Err(error))) => (None, Some((folder, error))),
        None => (None, None),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(output_layer(settings.format, out, stdout().is_terminal()))
        .with(file.map(|file| file_layer(settings.format, file)))
        .try_init()
        .map_err(|error| error.to_string())?;
    if let Some((folder, error)) = refused {
        warn_log_file_unavailable(folder, &error);
    }
    Ok(guard)
}

fn warn_log_file_unavailable(folder: &Path, error: &std::io::Error) {
    tracing::warn!(
        "log.dir: cannot write into {}: {error}; logging to standard output only. Make the folder writable, name another, \
         or turn the file off with log.dir = \"off\"",
        folder.display()
    );
}

impl LogGuard {
    fn add_writer(
        &mut self,
        name: &'static str,
        to: impl Write + Send + 'static,
        lost: Arc<AtomicUsize>,
    ) -> NonBlocking {
        let (writer, worker) =
            NonBlockingBuilder::default().buffered_lines_limit(MAX_QUEUED_LINES).lossy(true).finish(to);
        self.dropped_lines.0.push((name, writer.error_counter(), lost));
        self.workers.push(worker);
        writer
    }
}

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

fn output_layer<S, W>(format: LogFormat, writer: W, ansi: bool) -> BoxedLayer<S>
where
    S: tracing::Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    match format {
        LogFormat::Human => lines.with_ansi(ansi).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// Like [`layer`], without colours.
fn file_layer<S, W>(format: LogFormat, writer: W) -> BoxedLayer<S>
where
    S: tracing::Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Human => tracing_subscriber::fmt::layer()
            .with_writer(writer)
            .with_target(false)
            .with_ansi(false)
            .fmt_fields(FileFields(DefaultFields::new()))
            .boxed(),
        LogFormat::Json => output_layer(format, writer, false),
    }
}

/// Layers share what a span's fields were formatted to by the formatter's type: one of its own keeps the terminal's colours
/// out of the file.
struct FileFields(DefaultFields);

impl<'w> FormatFields<'w> for FileFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        self.0.format_fields(writer, fields)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    #[test]
    fn a_plain_level_is_about_this_program() {
        assert_eq!(filter_directives("debug"), "warn,retell_webhook=debug");
        assert_eq!(filter_directives("info,hyper=trace"), "info,hyper=trace");
    }

    /// Takes nothing until the other end is dropped, like a pipe nobody reads.
    struct StalledWriter(Receiver<()>);

    impl Write for StalledWriter {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[derive(Clone, Default)]
    struct CapturedLog(Arc<Mutex<Vec<u8>>>);

    impl CapturedLog {
        fn count_warnings(&self) -> usize {
            String::from_utf8_lossy(&self.0.lock().unwrap()).matches("log lines were dropped").count()
        }
    }

    impl Write for CapturedLog {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_lines_are_counted_and_spoken_of_once_a_minute() {
        let mut guard = LogGuard { workers: Vec::new(), dropped_lines: DroppedLines::default() };
        let (stalled, end) = channel();
        let mut out = guard.add_writer("stdout", StalledWriter(end), Arc::default());
        let lost = Arc::new(AtomicUsize::new(0));
        drop(guard.add_writer("file", std::io::sink(), Arc::clone(&lost)));
        // One more than fits may be in the hands of the thread that writes.
        (0..MAX_QUEUED_LINES + 3).for_each(|_| out.write_all(b"a line\n").unwrap());
        let dropped: Vec<_> = guard.dropped_lines().snapshot().collect();
        assert!(matches!(dropped[..], [("stdout", 2..=3), ("file", 0)]), "{dropped:?}");

        let said = CapturedLog::default();
        let writer = said.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _here = tracing::subscriber::set_default(subscriber);
        let supervisor = Supervisor::default();
        guard.dropped_lines().spawn_warnings(&supervisor);
        tokio::time::sleep(DROPPED_LINES_WARN_INTERVAL * 3).await;
        assert_eq!(said.count_warnings(), 1, "nothing new to say");
        lost.fetch_add(5, Ordering::Relaxed);
        tokio::time::sleep(DROPPED_LINES_WARN_INTERVAL * 3).await;
        assert_eq!(said.count_warnings(), 2);
        supervisor.stop();
        drop(stalled);
    }
}
