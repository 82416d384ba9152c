//! Appends each event as a line of JSON to a file.
//!
//! An attempt succeeds when the operating system has accepted the whole line. The line is not synced: the store has
//! the event on disk, and a replay can write lines again.

mod appender;
mod record;
mod rotation;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;

use super::{AttemptResult, Context, EventHandler, Outcome};
use crate::base::clock::Clock;
use crate::base::supervise::run_blocking;
use crate::config::{FieldError, FileSettings, HandlerSettings};
use crate::storage::EventSummary;
use appender::Appender;

/// The handler of kind `file`: appends each event as a line of JSON.
#[derive(Debug)]
pub(crate) struct FileHandler {
    /// An async mutex: attempts that wait for it occupy no blocking thread.
    appender: Arc<Mutex<Appender>>,
}

impl FileHandler {
    /// Creates the file and its directory if they are missing.
    ///
    /// # Errors
    /// The file cannot be opened, or is not a regular file.
    pub(crate) fn new(settings: FileSettings, clock: Clock) -> Result<Self, String> {
        let appender = Appender::new(settings, clock);
        appender.check_appendable().map_err(|error| format!("{}: {error}", appender.path().display()))?;
        Ok(Self { appender: Arc::new(Mutex::new(appender)) })
    }

    /// A disabled handler creates no file.
    pub(super) fn from_settings(table: &HandlerSettings, clock: Clock) -> Result<Self, FieldError> {
        let settings = table.file_settings()?;
        if !table.enabled {
            return Ok(Self { appender: Arc::new(Mutex::new(Appender::new(settings, clock))) });
        }
        Self::new(settings, clock).map_err(|why| FieldError::new("path", why))
    }
}

#[async_trait]
impl EventHandler for FileHandler {
    async fn deliver(&self, event: &EventSummary, body: &Bytes, context: &Context) -> AttemptResult {
        let line = match record::format_line(event, body, context) {
            Ok(line) => line,
            Err(error) => return Outcome::fail(format!("the event cannot be written as a line: {error}")).into(),
        };
        let mut appender = Arc::clone(&self.appender).lock_owned().await;
        let written = run_blocking(move || {
            let written = appender.append(&line);
            written.map_err(|error| format!("{}: {error}", appender.path().display()))
        });
        match written.await {
            Some(Ok(())) => Outcome::Done.into(),
            Some(Err(why)) => Outcome::retry(why).into(),
            None => Outcome::retry("the receiver stopped before the line was written").into(),
        }
    }

    fn logs_deliveries(&self) -> bool {
        true
    }
}
