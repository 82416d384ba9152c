//! Writes the log to standard output and to a file. docs/logging.md describes its formats, fields and messages.

use std::fmt;
use std::io::{IsTerminal, Write, stdout};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::writer::MakeWriterExt;
use tracing_subscriber::fmt::{FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::escaped_lines::EscapedLines;
use super::log_queue::LogQueue;
use super::rolling_file::RollingFile;
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::config::{FieldError, LogFormat, LogSettings};

/// Minimum interval between two warnings about dropped lines.
const DROPPED_LINES_WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Keeps the writer threads running. Dropping it writes the queued lines.
pub(crate) struct LogGuard {
    supervisor: Supervisor,
    outputs: DroppedLines,
}

impl LogGuard {
    fn new() -> Self {
        Self { supervisor: Supervisor::default(), outputs: DroppedLines::default() }
    }

    /// The live counts of dropped lines.
    #[must_use]
    pub(crate) fn dropped_lines(&self) -> DroppedLines {
        self.outputs.clone()
    }

    fn add_writer(
        &mut self,
        name: &'static str,
        output: impl Write + Send + 'static,
        lost: Arc<AtomicUsize>,
    ) -> std::io::Result<LogQueue> {
        let queue = LogQueue::start(output, &self.supervisor)?;
        self.outputs.0.push(LogOutput { name, queue: queue.clone(), lost });
        Ok(queue)
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        for output in &self.outputs.0 {
            output.queue.close();
        }
    }
}

/// One output of the log, for its counts.
#[derive(Clone)]
struct LogOutput {
    name: &'static str,
    queue: LogQueue,
    /// Lines that could not be written.
    lost: Arc<AtomicUsize>,
}

/// Counts of dropped log lines by output: `stdout` and `file`.
#[derive(Clone, Default)]
pub(crate) struct DroppedLines(Vec<LogOutput>);

impl DroppedLines {
    /// Returns the current count of each output: lines that did not fit into the queue, and lines that could not be
    /// written.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |output: &LogOutput| {
            (output.name, (output.queue.dropped_lines() + output.lost.load(Ordering::Relaxed)) as u64)
        };
        self.0.iter().map(count)
    }

    /// Logs a warning about newly dropped lines, at most once per minute, until `supervisor` stops.
    pub(crate) fn spawn_warnings(self, supervisor: &Supervisor) {
        let stop = supervisor.clone();
        supervisor.spawn_detached(async move {
            let mut reported = 0;
            while tokio::time::timeout(DROPPED_LINES_WARN_INTERVAL, stop.wait_for_stop()).await.is_err() {
                let dropped = self.snapshot().map(|(_, count)| count).sum();
                if dropped > reported {
                    tracing::warn!(lines = dropped - reported, "log lines dropped");
                    reported = dropped;
                }
            }
        });
    }
}

/// The filter for `log.level`. A plain level applies to this program only; libraries log warnings and errors.
fn filter_directives(level: &str) -> String {
    if level.contains(['=', ',']) { level.to_owned() } else { format!("warn,retell_webhook={level}") }
}

fn parse_filter(settings: &LogSettings) -> Result<EnvFilter, FieldError> {
    EnvFilter::try_new(filter_directives(&settings.level)).map_err(|_| {
        let problem = format!(
            "`{}` is not a level (error, warn, info, debug, trace) and not a list of directives such as \
             info,retell_webhook=debug",
            settings.level
        );
        FieldError::new("log.level", problem)
    })
}

/// Checks whether [`init`] accepts these settings; fails when `log.level` is not valid.
pub(crate) fn validate(settings: &LogSettings) -> Result<(), FieldError> {
    parse_filter(settings).map(drop)
}

/// Sends the log to standard output and, unless `log.dir` is `off`, to `app.log` in that folder. If the folder cannot
/// be written, a warning is logged and the file is left out: a receiver without its log file is better than none.
/// Call once and only from the binary; a host application sets up its own subscriber.
///
/// Fails when `log.level` is not valid or a subscriber is already set.
pub(crate) fn init(settings: &LogSettings) -> Result<LogGuard, String> {
    let filter = parse_filter(settings).map_err(|error| error.to_string())?;
    let mut guard = LogGuard::new();
    let thread_error = |error| format!("cannot start the thread log: {error}");
    let standard_output = guard.add_writer("stdout", stdout(), Arc::default()).map_err(thread_error)?;
    let rolling = settings.directory().map(|folder| (folder, RollingFile::open(folder, settings, Clock::system())));
    let (file, unavailable) = match rolling {
        Some((_, Ok(rolling))) => {
            let lost = rolling.lost_lines();
            (Some(guard.add_writer("file", rolling, lost).map_err(thread_error)?), None)
        }
        Some((folder, Err(error))) => (None, Some((folder, error))),
        None => (None, None),
    };
    let ansi = stdout().is_terminal();
    let (first, second) = match file {
        // Without colors both get the same text, which is formatted once.
        Some(file) if !ansi || settings.format == LogFormat::Json => {
            (output_layer(settings.format, standard_output.and(file), false), None)
        }
        file => {
            let file = file.map(|file| file_layer(settings.format, file));
            (output_layer(settings.format, standard_output, ansi), file)
        }
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(first)
        .with(second)
        .try_init()
        .map_err(|error| error.to_string())?;
    // Only now is there a subscriber that can log the warning.
    if let Some((folder, error)) = unavailable {
        warn_log_file_unavailable(folder, &error);
    }
    Ok(guard)
}

fn warn_log_file_unavailable(folder: &Path, error: &std::io::Error) {
    tracing::warn!(setting = "log.dir", path = %folder.display(), %error, "log file unavailable");
}

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

fn output_layer<S, W>(format: LogFormat, writer: W, ansi: bool) -> BoxedLayer<S>
where
    S: tracing::Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let colored = ansi && format == LogFormat::Human;
    let writer = EscapedLines { writer, format, colored };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    match format {
        LogFormat::Human => lines.with_ansi(ansi).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// Like [`output_layer`], but without colors while the other output has them.
fn file_layer<S, W>(format: LogFormat, writer: W) -> BoxedLayer<S>
where
    S: tracing::Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Human => tracing_subscriber::fmt::layer()
            .with_writer(EscapedLines { writer, format, colored: false })
            .with_target(false)
            .with_ansi(false)
            .fmt_fields(FileFields(DefaultFields::new()))
            .boxed(),
        LogFormat::Json => output_layer(format, writer, false),
    }
}

/// The field formatter of the file. `tracing_subscriber` caches the formatted fields of a span per formatter type and
/// shares them between layers: a separate type keeps the colors of the terminal out of the file.
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
    use crate::telemetry::log_queue::MAX_QUEUED_LINES;

    #[test]
    fn a_plain_level_applies_to_this_program() {
        assert_eq!(filter_directives("debug"), "warn,retell_webhook=debug");
        assert_eq!(filter_directives("info,hyper=trace"), "info,hyper=trace");
    }

    /// Blocks until the other end is dropped, like a pipe that is not read.
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
            String::from_utf8_lossy(&self.0.lock().unwrap()).matches("log lines dropped").count()
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
    async fn dropped_lines_are_counted_and_warned_about_once_per_minute() {
        let mut guard = LogGuard::new();
        let (stalled, end) = channel();
        let out = guard.add_writer("stdout", StalledWriter(end), Arc::default()).unwrap();
        let lost = Arc::new(AtomicUsize::new(0));
        drop(guard.add_writer("file", std::io::sink(), Arc::clone(&lost)).unwrap());
        (0..MAX_QUEUED_LINES + 3).for_each(|_| out.make_writer().write_all(b"a line\n").unwrap());
        assert_eq!(guard.dropped_lines().snapshot().collect::<Vec<_>>(), [("stdout", 3), ("file", 0)]);

        let captured = CapturedLog::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _here = tracing::subscriber::set_default(subscriber);
        let supervisor = Supervisor::default();
        guard.dropped_lines().spawn_warnings(&supervisor);
        tokio::time::sleep(DROPPED_LINES_WARN_INTERVAL * 3).await;
        assert_eq!(captured.count_warnings(), 1, "no new lines were dropped");
        lost.fetch_add(5, Ordering::Relaxed);
        tokio::time::sleep(DROPPED_LINES_WARN_INTERVAL * 3).await;
        assert_eq!(captured.count_warnings(), 2);
        supervisor.stop();
        drop(stalled);
    }
}
