//! `docs`: prints the generated pages of docs/. The help hides it: only maintainers and the tests need it.

use clap::Subcommand;

use super::generate;
use crate::cli::output::{self, CliResult};
use crate::config::reference;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DocsCommand {
    /// Print docs/cli.md: every command with its arguments and options
    Cli,
    /// Print docs/configuration.md: every setting with type, default and environment variable
    Config,
    /// Print docs/configuration.schema.json: the JSON Schema of a settings file
    ConfigSchema,
}

impl DocsCommand {
    pub(in crate::cli) fn run(&self) -> CliResult {
        match self {
            Self::Cli => output::print_line(generate::markdown().trim_end()),
            Self::Config => output::print_line(reference::markdown().trim_end()),
            Self::ConfigSchema => output::print_json(&reference::schema()),
        }
    }
}
