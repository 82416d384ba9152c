//! `completions` and `man`: the command line describes itself.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::output::{self, CliError, CliResult};

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(&self) -> CliResult {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "retell-webhook", &mut script);
        output::ignore_broken_pipe(io::stdout().lock().write_all(&script))
    }
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write a page for each verb into this folder, which is made if need be
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl ManArgs {
    pub(super) fn run(&self) -> CliResult {
        let Some(folder) = &self.out else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            return output::ignore_broken_pipe(io::stdout().lock().write_all(&page));
        };
        let failed = |error| CliError::Message(format!("cannot write into {}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        clap_mangen::generate_to(Cli::command(), folder).map_err(failed)
    }
}
