//! Runs a program for each event, with the event's bytes on its standard input. No shell is involved. The
//! program has a separate environment, and every process that it starts is killed when the attempt ends.

mod exit_status;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;

use super::{AttemptResult, Context, EventHandler, Outcome};
use crate::config::{ExecSettings, FieldError, HandlerSettings, ProgramSearchPath};
use crate::outbound::program::{ProgramRun, find_program, run_program};
use crate::storage::EventSummary;

/// The handler of kind `exec`: runs a program for each event.
#[derive(Debug)]
pub(crate) struct ExecHandler {
    settings: ExecSettings,
    program: PathBuf,
    search_path: ProgramSearchPath,
}

impl ExecHandler {
    /// Searches the program in `path`, unless it is a path itself.
    ///
    /// # Errors
    /// The program does not exist or is not executable.
    pub(crate) fn new(settings: ExecSettings, path: ProgramSearchPath) -> Result<Self, String> {
        if cfg!(not(unix)) {
            return Err("programs run on Unix only: elsewhere their child processes could not be killed".to_owned());
        }
        let program = find_program(&settings.program, &path)?;
        Ok(Self { settings, program, search_path: path })
    }

    /// A disabled handler never runs its program, so the program may be missing.
    pub(super) fn from_settings(table: &HandlerSettings, path: ProgramSearchPath) -> Result<Self, FieldError> {
        let settings = table.exec_settings()?;
        if !table.enabled {
            return Ok(Self { program: PathBuf::from(&settings.program), settings, search_path: path });
        }
        Self::new(settings, path).map_err(|why| FieldError::new("command", why))
    }

    /// The variables in the program's environment, in addition to PATH.
    fn environment_variables(event: &EventSummary, context: &Context) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("RETELL_EVENT", event.kind.clone().unwrap_or_default()),
            ("RETELL_CALL_ID", event.call_id.clone().unwrap_or_default()),
            ("RETELL_EVENT_ID", context.event_id.to_string()),
            ("RETELL_COMPANY", context.company.clone()),
            ("RETELL_ATTEMPT", context.attempt.to_string()),
            ("RETELL_RECEIVED_AT_MS", context.received_at_ms.to_string()),
            ("RETELL_REPLAY", u8::from(context.replay).to_string()),
        ];
        variables.extend(context.revision_of.map(|revised| ("RETELL_REVISION_OF", revised.to_string())));
        variables
    }
}

#[async_trait]
impl EventHandler for ExecHandler {
    async fn deliver(&self, event: &EventSummary, body: &Bytes, context: &Context) -> AttemptResult {
        let run = ProgramRun {
            program: &self.program,
            arguments: &self.settings.arguments,
            path_variable: self.search_path.value(),
            environment_variables: Self::environment_variables(event, context),
            stdin: body,
            output_limit_bytes: self.settings.output_limit_bytes,
            capture_stderr: true,
        };
        match run_program(run, &context.cancellation).await {
            Ok(Some(exit)) => exit_status::attempt_result(&self.settings, exit.status, &exit.output),
            Ok(None) => {
                AttemptResult::without_request(Outcome::retry("the receiver stopped before the program exited"))
            }
            Err(error) => Outcome::retry(format!("{} cannot be started: {error}", self.program.display())).into(),
        }
    }

    fn has_external_effects(&self) -> bool {
        true
    }
}
