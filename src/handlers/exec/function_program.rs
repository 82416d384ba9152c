//! A program that is asked something: what it prints is the answer.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::{program, run};
use crate::config::ProgramSearchPath;

/// A program with its arguments. Whatever it started ends with the run.
#[derive(Debug)]
pub(crate) struct FunctionProgram {
    program: PathBuf,
    arguments: Vec<String>,
    search_path: ProgramSearchPath,
}

impl FunctionProgram {
    /// Looks for the first of `command` in `path`, unless it is a path itself.
    ///
    /// # Errors
    /// The program is not there, or cannot be executed.
    pub(crate) fn new(command: &[String], path: ProgramSearchPath) -> Result<Self, String> {
        if cfg!(not(unix)) {
            return Err("programs are run on Unix only: elsewhere what they started could outlast them".to_owned());
        }
        let Some((name, arguments)) = command.split_first() else {
            return Err("expected the program and its arguments".to_owned());
        };
        Ok(Self { program: program::find_program(name, &path)?, arguments: arguments.to_vec(), search_path: path })
    }

    /// Runs it with `input` on its standard input, and returns the beginning of its standard output. Dropping the future
    /// kills it.
    ///
    /// # Errors
    /// It cannot be run, or ended with another exit code than 0.
    pub(crate) async fn invoke(
        &self,
        input: &[u8],
        variables: Vec<(&'static str, String)>,
        output_limit: usize,
    ) -> Result<Vec<u8>, String> {
        let call = run::ProgramRun {
            program: &self.program,
            arguments: &self.arguments,
            path_variable: self.search_path.value(),
            environment_variables: variables,
            stdin: input,
            output_limit_bytes: output_limit,
            capture_stderr: false,
        };
        match run::run_program(call, &CancellationToken::new()).await {
            Ok(Some(ended)) if ended.status.success() => Ok(ended.output),
            Ok(Some(ended)) => Err(match ended.status.code() {
                Some(code) => format!("the program ended with exit code {code}"),
                None => "the program was ended by a signal".to_owned(),
            }),
            Ok(None) => Err("the receiver stopped before the program had ended".to_owned()),
            Err(error) => Err(format!("{} cannot be run: {error}", self.program.display())),
        }
    }
}
