//! The queue between the code that logs and the thread that writes. The thread collects lines for a moment before it
//! writes, because waking it for every line would cost more than the line. A warning or an error is written at once.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::base::supervise::Supervisor;

/// Maximum number of queued lines per output. When the reader of standard output or the disk stalls, further lines are
/// dropped and counted: the log must never delay intake.
pub(super) const MAX_QUEUED_LINES: usize = 16_384;
/// Maximum size of the queued lines, with the same effect.
const MAX_QUEUED_BYTES: usize = 8 * 1024 * 1024;
/// How long lines are collected, and how long after a pause: the lines of one request follow each other at once, and hardly
/// any others will come.
const LINGER: Duration = Duration::from_millis(100);
const LINGER_AFTER_PAUSE: Duration = Duration::from_millis(5);
const PAUSE: Duration = Duration::from_millis(250);
/// How long the end of the program waits for an output that stalls.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Adds lines to the queue. Clones share it.
#[derive(Clone)]
pub(super) struct LogQueue(Arc<SharedQueue>);

#[derive(Default)]
struct SharedQueue {
    lines: Mutex<QueuedLines>,
    changed: Condvar,
    dropped: AtomicUsize,
}

#[derive(Default)]
struct QueuedLines {
    waiting: Vec<Vec<u8>>,
    waiting_bytes: usize,
    /// Whether a warning or an error is among them.
    has_urgent: bool,
    /// Lines that the thread has taken and not written yet.
    being_written: usize,
    is_closed: bool,
    has_ended: bool,
}

impl LogQueue {
    /// Starts the thread that writes to `output`.
    pub(super) fn start(output: impl Write + Send + 'static, supervisor: &Supervisor) -> io::Result<Self> {
        let queue = Arc::new(SharedQueue::default());
        let thread_queue = Arc::clone(&queue);
        supervisor.spawn_thread("log", move || {
            thread_queue.write_lines(output);
            thread_queue.lock().has_ended = true;
            thread_queue.changed.notify_all();
        })?;
        Ok(Self(queue))
    }

    /// Number of lines that did not fit.
    pub(super) fn dropped_lines(&self) -> usize {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Writes the queued lines and ends the thread.
    pub(super) fn close(&self) {
        let mut lines = self.0.lock();
        lines.is_closed = true;
        self.0.changed.notify_all();
        let _ended = self.0.changed.wait_timeout_while(lines, CLOSE_TIMEOUT, |lines| !lines.has_ended);
    }

    fn push(&self, line: &[u8], is_urgent: bool) {
        let mut lines = self.0.lock();
        let is_full = lines.waiting.len() + lines.being_written >= MAX_QUEUED_LINES
            || lines.waiting_bytes + line.len() > MAX_QUEUED_BYTES;
        if is_full || lines.has_ended {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        lines.waiting_bytes += line.len();
        lines.waiting.push(line.to_vec());
        // While lines wait, the thread is collecting or writing.
        let wakes = (lines.waiting.len() == 1 && lines.being_written == 0) || (is_urgent && !lines.has_urgent);
        lines.has_urgent |= is_urgent;
        // The woken thread needs the lock.
        drop(lines);
        if wakes {
            self.0.changed.notify_all();
        }
    }
}

impl SharedQueue {
    fn lock(&self) -> MutexGuard<'_, QueuedLines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lines(&self, mut output: impl Write) {
        let mut last_write = None;
        while let Some(lines) = self.take_lines(last_write) {
            last_write = Some(Instant::now());
            for line in &lines {
                // The outputs count what they cannot write.
                let _ = output.write_all(line);
            }
            let _ = output.flush();
            self.lock().being_written = 0;
        }
    }

    /// Waits for lines and collects them; `None` after the last ones.
    fn take_lines(&self, last_write: Option<Instant>) -> Option<Vec<Vec<u8>>> {
        let is_empty = |lines: &mut QueuedLines| lines.waiting.is_empty() && !lines.is_closed;
        let lines = self.changed.wait_while(self.lock(), is_empty).unwrap_or_else(PoisonError::into_inner);
        let was_paused = last_write.is_none_or(|write| write.elapsed() >= PAUSE);
        let linger = if was_paused { LINGER_AFTER_PAUSE } else { LINGER };
        let collected = self.changed.wait_timeout_while(lines, linger, |lines| !lines.is_closed && !lines.has_urgent);
        let (mut lines, _) = collected.unwrap_or_else(PoisonError::into_inner);
        if lines.waiting.is_empty() {
            return None;
        }
        lines.being_written = lines.waiting.len();
        lines.waiting_bytes = 0;
        lines.has_urgent = false;
        Some(std::mem::take(&mut lines.waiting))
    }
}

/// Adds one line to the queue.
pub(super) struct LineWriter {
    queue: LogQueue,
    is_urgent: bool,
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter { queue: self.clone(), is_urgent: false }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> LineWriter {
        LineWriter { queue: self.clone(), is_urgent: *event.level() <= Level::WARN }
    }
}
