//! `functions export|import`: moves functions between receivers, and converts the tools of a Retell agent.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::cli::input;
use crate::cli::output::{self, CliError, CliResult};
use crate::config::Settings;
use crate::operations::functions::{convert_functions, list_functions};

#[derive(Debug, Args)]
pub(in crate::cli) struct FunctionsImportArgs {
    /// JSON file with the output of `functions export`, a list of tools, or an object with `general_tools`, `states` or
    /// `tools`, as in Retell's LLMs and conversation flows; `-` for standard input
    file: PathBuf,
}

pub(super) fn export_functions(settings: &Settings) -> CliResult {
    output::print_json(&list_functions(settings)?)
}

impl FunctionsImportArgs {
    pub(super) fn run(&self) -> CliResult {
        let name = self.file.display();
        let document: Value = serde_json::from_slice(&input::read_file_or_stdin(&self.file)?)
            .map_err(|error| CliError::Message(format!("{name}: not valid JSON: {error}")))?;
        let tables = convert_functions(&document).map_err(|error| CliError::Message(format!("{name}: {error}")))?;
        tables.iter().try_for_each(|table| output::print_line(&table.toml))
    }
}
