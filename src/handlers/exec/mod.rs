//! Runs a program for each event, with the event's bytes on its standard input. No shell is between; the program gets
//! an environment of its own, and whatever it started ends with the attempt.

mod answering;
mod outcome;
mod program;
mod run;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use answering::AnsweringProgram;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Attempt, Context, EventHandler, Outcome};
use crate::config::{ExecSettings, HandlerSettings, ProgramPath};
use crate::storage::EventSummary;

/// Runs a program for each event.
#[derive(Debug)]
pub struct Exec {
    settings: ExecSettings,
    program: PathBuf,
    path: ProgramPath,
}

impl Exec {
    /// Looks for the program in `path`, unless it is a path itself.
    ///
    /// # Errors
    /// The program is not there, or cannot be executed.
    pub fn new(settings: ExecSettings, path: ProgramPath) -> Result<Self, String> {
        if cfg!(not(unix)) {
            return Err("programs are run on Unix only: elsewhere what they started could outlast them".to_owned());
        }
        let program = program::find(&settings.program, &path)?;
        Ok(Self { settings, program, path })
    }

    /// A disabled one is never run, so its program may be missing.
    pub(super) fn configured(table: &HandlerSettings, path: ProgramPath) -> Result<Self, (&'static str, String)> {
        let settings = table.exec()?;
        if !table.enabled {
            return Ok(Self { program: PathBuf::from(&settings.program), settings, path });
        }
        Self::new(settings, path).map_err(|why| ("command", why))
    }

    /// What the program finds in its environment, beside PATH.
    fn variables(event: &EventSummary, context: &Context) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("RETELL_EVENT", event.event.clone().unwrap_or_default()),
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
impl EventHandler for Exec {
    async fn deliver(&self, event: &EventSummary, body: &Bytes, context: &Context) -> Attempt {
        let call = run::Call {
            program: &self.program,
            arguments: &self.settings.arguments,
            path: self.path.text(),
            variables: Self::variables(event, context),
            input: body,
            output_limit: self.settings.output_limit,
            errors_too: true,
        };
        match run::run(call, &context.cancellation).await {
            Ok(Some(ended)) => outcome::attempt(&self.settings, ended.status, &ended.output),
            Ok(None) => Outcome::retry("the receiver stopped before the program had ended").into(),
            Err(error) => Outcome::retry(format!("{} cannot be run: {error}", self.program.display())).into(),
        }
    }

    fn has_outside_effects(&self) -> bool {
        true
    }
}
