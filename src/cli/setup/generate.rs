//! Documents that are generated from the command line's definition: completion scripts, manual pages, docs/cli.md.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Arg, Args, Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::cli::output::{self, CliError, CliResult};

#[derive(Debug, Args)]
pub(in crate::cli) struct CompletionsArgs {
    /// The shell that reads the script
    shell: Shell,
}

impl CompletionsArgs {
    pub(in crate::cli) fn run(&self) -> CliResult {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "retell-webhook", &mut script);
        output::ignore_broken_pipe(io::stdout().lock().write_all(&script))
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ManArgs {
    /// Write one page per command to this folder, which is created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl ManArgs {
    pub(in crate::cli) fn run(&self) -> CliResult {
        let Some(folder) = &self.out else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            return output::ignore_broken_pipe(io::stdout().lock().write_all(&page));
        };
        let write_error =
            |error| CliError::Message(format!("cannot write the manual pages to {}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(write_error)?;
        clap_mangen::generate_to(Cli::command(), folder).map_err(write_error)
    }
}

const MARKDOWN_HEAD: &str = "# Command line reference\n\n\
<!-- Generated from src/cli by `cargo run -- docs cli > docs/cli.md`; do not edit. -->\n";

/// The text of docs/cli.md: one section per command, in the order of `--help`.
pub(super) fn markdown() -> String {
    let mut root = Cli::command();
    // Fills in the full names (`retell-webhook events list`) that headings and usage lines need.
    root.build();
    let mut page = MARKDOWN_HEAD.to_owned();
    append_command(&mut page, &root);
    page
}

fn append_command(page: &mut String, command: &Command) {
    let full_name = command.get_bin_name().unwrap_or(command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let _ = write!(page, "\n## {full_name}\n\n{}\n\n```text\n{}\n```\n", end_sentence(&about), usage.trim());
    if let Some(notes) = command.get_after_help() {
        let _ = write!(page, "\n{notes}\n");
    }
    let subcommands: Vec<_> = visible_subcommands(command).collect();
    if !subcommands.is_empty() {
        page.push_str("\n| command | does |\n|---|---|\n");
    }
    for subcommand in &subcommands {
        let anchor = subcommand.get_bin_name().unwrap_or_default().replace(' ', "-");
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(page, "| [{}](#{anchor}) | {} |", subcommand.get_name(), end_sentence(&table_cell(&about)));
    }
    let arguments: Vec<_> = visible_arguments(command).collect();
    if !arguments.is_empty() {
        page.push_str("\n| argument | meaning |\n|---|---|\n");
    }
    for argument in arguments {
        append_argument(page, argument);
    }
    for subcommand in subcommands {
        append_command(page, subcommand);
    }
}

fn visible_subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set() && subcommand.get_name() != "help")
}

/// Arguments without `--help` and `--version`, and without the options of every command, which the first section lists.
fn visible_arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_visible = move |argument: &&Arg| {
        let is_builtin = matches!(argument.get_id().as_str(), "help" | "version");
        let is_inherited = argument.is_global_set() && command.get_bin_name().is_some_and(|name| name.contains(' '));
        !is_builtin && !is_inherited && !argument.is_hide_set()
    };
    command.get_arguments().filter(is_visible)
}

fn append_argument(page: &mut String, argument: &Arg) {
    let short = argument
        .get_short()
        .filter(|_| argument.get_long().is_some())
        .map(|short| format!("-{short}, "))
        .unwrap_or_default();
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let help = table_cell(&help);
    let (help, described_default) = split_described_default(&help);
    let mut meaning = end_sentence(help);
    if argument.get_action().takes_values() {
        let values: Vec<_> = argument.get_possible_values().iter().map(possible_value_text).collect();
        if !values.is_empty() {
            let _ = write!(meaning, " One of {}.", values.join(", "));
        }
        let default_values = argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
        let defaults: Vec<_> = default_values.chain(described_default.map(str::to_owned)).collect();
        if !defaults.is_empty() {
            let _ = write!(meaning, " Default: {}.", defaults.join(", "));
        }
    }
    let _ = writeln!(page, "| `{short}{argument}` | {meaning} |");
}

/// Splits off a default that the help text describes, since clap knows only constant ones: `Time [default: now]`.
fn split_described_default(help: &str) -> (&str, Option<&str>) {
    match help.strip_suffix(']').and_then(|help| help.split_once(" [default: ")) {
        Some((help, default)) => (help, Some(default)),
        None => (help, None),
    }
}

fn possible_value_text(value: &PossibleValue) -> String {
    let help = value.get_help().map(|help| format!(" ({})", table_cell(&help.to_string())));
    format!("`{}`{}", value.get_name(), help.unwrap_or_default())
}

/// A help text on one line, with the character that would end a table cell escaped.
fn table_cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Help texts have no full stop at the end, as is usual for a command line; a page has sentences.
fn end_sentence(text: &str) -> String {
    if text.is_empty() || text.ends_with(['.', '?']) { text.to_owned() } else { format!("{text}.") }
}
