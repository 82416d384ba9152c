//! A program as the target of a custom function: its standard output is the response.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::{ProgramRun, find_program, run_program};
use crate::config::ProgramSearchPath;

/// A program with its arguments. Every process that it starts is killed when the run ends.
#[derive(Debug)]
pub(crate) struct FunctionProgram {
    program: PathBuf,
    arguments: Vec<String>,
    search_path: ProgramSearchPath,
}

impl FunctionProgram {
    /// Searches the first element of `command` in `path`, unless it is a path itself.
    ///
    /// # Errors
    /// The program does not exist or is not executable.
    pub(crate) fn new(command: &[String], path: ProgramSearchPath) -> Result<Self, String> {
        if cfg!(not(unix)) {
            return Err("programs run on Unix only: elsewhere their child processes could not be killed".to_owned());
        }
        let Some((name, arguments)) = command.split_first() else {
            return Err("expected the program and its arguments".to_owned());
        };
        Ok(Self { program: find_program(name, &path)?, arguments: arguments.to_vec(), search_path: path })
    }

    /// Runs the program with `input` on its standard input, and returns the first `output_limit` bytes of its standard
    /// output. Dropping the future kills the program.
    ///
    /// # Errors
    /// The program cannot be started, or exits with a code other than 0.
    pub(crate) async fn invoke(
        &self,
        input: &[u8],
        variables: Vec<(&'static str, String)>,
        output_limit: usize,
    ) -> Result<Vec<u8>, String> {
        let run = ProgramRun {
            program: &self.program,
            arguments: &self.arguments,
            path_variable: self.search_path.value(),
            environment_variables: variables,
            stdin: input,
            output_limit_bytes: output_limit,
            capture_stderr: false,
        };
        match run_program(run, &CancellationToken::new()).await {
            Ok(Some(exit)) if exit.status.success() => Ok(exit.output),
            Ok(Some(exit)) => Err(match exit.status.code() {
                Some(code) => format!("the program exited with code {code}"),
                None => "the program was killed by a signal".to_owned(),
            }),
            Ok(None) => Err("the receiver stopped before the program exited".to_owned()),
            Err(error) => Err(format!("{} cannot be started: {error}", self.program.display())),
        }
    }
}
