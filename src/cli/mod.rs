//! The command line. Exit codes: 0 success, 1 failure or a negative answer, 2 wrong usage.
#![allow(clippy::print_stderr, reason = "stdout and stderr are the output of the commands")]

mod appointments;
mod backup;
mod calls;
mod companies;
mod context;
mod deliveries;
mod erase;
mod events;
mod functions;
mod input;
mod latency_stats;
mod list_args;
mod list_output;
mod output;
mod progress;
mod purge;
mod receiver;
mod rejected;
mod serve;
mod setup;
mod status;
mod table;
mod terminal;
mod time_arg;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::output::{CliError, CliResult};

/// Receive Retell AI webhooks: verify each request, store the event before the 200, deliver it to your handlers
#[derive(Debug, Parser)]
#[command(name = "retell-webhook", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    settings: context::SettingsArgs,
    #[command(subcommand)]
    command: Option<CliCommand>,
    /// Show and read times in the time zone of this machine instead of UTC
    #[arg(long, global = true)]
    local: bool,
}

const AFTER_HELP: &str = "Without a subcommand it runs serve. Settings come from config/default.toml and the other \
files in config/, from the file of --config, from `.env`, and from the environment (RETELL_API_KEY, SERVER_URL, PORT, \
DATABASE_URL, DEBUG, RETELL_WEBHOOK__SECTION__KEY).";

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the receiver (the default)
    Serve(serve::ServeArgs),
    /// Send a signed event to a receiver: a sample, or your own body
    Send(receiver::SendArgs),
    /// Print the X-Retell-Signature header for a body
    Sign(receiver::SignArgs),
    /// Check a signature header against a body, and print why it does not match
    Verify(receiver::VerifyArgs),
    /// Print the state of the receiver on this machine; exit code 0 when it is up and ready
    Status(status::StatusArgs),
    /// Print events as they arrive
    Tail(events::TailArgs),
    /// List, show, export and import stored events
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// List, show and count calls
    #[command(subcommand)]
    Calls(calls::CallsCommand),
    /// List, show and count chats
    #[command(subcommand)]
    Chats(calls::ChatsCommand),
    /// List the companies of the settings
    #[command(subcommand)]
    Companies(companies::CompaniesCommand),
    /// List, show and cancel the appointments that callers booked, or export them for a calendar
    #[command(subcommand)]
    Appointments(appointments::AppointmentsCommand),
    /// List, show, retry and cancel deliveries; a delivery is one event for one handler
    #[command(subcommand)]
    Deliveries(deliveries::DeliveriesCommand),
    /// List, retry and discard dead letters: deliveries that used up their attempts
    #[command(subcommand)]
    Dead(deliveries::DeadCommand),
    /// Deliver events again, marked as replays; without --yes only count them
    Replay(deliveries::ReplayArgs),
    /// List, show and test custom functions, list their invocations, and exchange their definitions with Retell
    #[command(subcommand)]
    Functions(functions::FunctionsCommand),
    /// Test the rules for inbound calls and text messages
    #[command(subcommand)]
    Inbound(receiver::InboundCommand),
    /// List and show rejected requests: the sender, the request, and the reason
    #[command(subcommand)]
    Rejected(rejected::RejectedCommand),
    /// Delete now what `[retention]` no longer keeps; also works while the receiver runs
    Purge(purge::PurgeArgs),
    /// Make, check and restore backups of the store
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Erase one person's data from events, calls, attempts, rejected requests and logs; also while the receiver runs
    Erase(erase::EraseArgs),
    /// Print and check the settings
    #[command(subcommand)]
    Config(setup::ConfigCommand),
    /// Check configuration, port, storage and public URL, and print what to do; exit code 1 on a problem
    Doctor(setup::DoctorArgs),
    /// Print a completion script for a shell
    Completions(setup::CompletionsArgs),
    /// Print the manual page, or write one page per command to a folder
    Man(setup::ManArgs),
    /// Print generated pages of docs/
    #[command(subcommand, hide = true)]
    Docs(setup::DocsCommand),
    /// Send simulated calls to a receiver as Retell would, and check that its store has every event
    Simulate(receiver::SimulateArgs),
    /// Measure throughput and latency of a receiver on this machine with signed events
    Load(receiver::LoadArgs),
    /// Ask the receiver on this machine whether it is ready; exit code 0 when it is, 1 when not
    Health(receiver::HealthArgs),
}

/// Runs the command, `serve` when none is given, and reports a failure on stderr.
pub async fn run(cli: Cli) -> ExitCode {
    if cli.local {
        terminal::use_local_time();
    }
    let result = match cli.settings.apply() {
        Ok(()) => run_command(cli.command.unwrap_or(CliCommand::Serve(serve::ServeArgs::default()))).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::AlreadyPrinted) => ExitCode::FAILURE,
        Err(CliError::Message(message)) => report_error(&message),
    }
}

async fn run_command(command: CliCommand) -> CliResult {
    match command {
        CliCommand::Serve(command) => command.run().await,
        CliCommand::Send(command) => command.run().await,
        CliCommand::Sign(command) => command.run(),
        CliCommand::Verify(command) => command.run(),
        CliCommand::Status(command) => command.run().await,
        CliCommand::Tail(command) => command.run().await,
        CliCommand::Events(command) => command.run().await,
        CliCommand::Calls(command) => command.run().await,
        CliCommand::Chats(command) => command.run().await,
        CliCommand::Companies(command) => command.run(),
        CliCommand::Appointments(command) => command.run().await,
        CliCommand::Deliveries(command) => command.run().await,
        CliCommand::Dead(command) => command.run().await,
        CliCommand::Replay(command) => command.run().await,
        CliCommand::Functions(command) => command.run().await,
        CliCommand::Inbound(command) => command.run().await,
        CliCommand::Rejected(command) => command.run().await,
        CliCommand::Purge(command) => command.run().await,
        CliCommand::Backup(command) => command.run().await,
        CliCommand::Erase(command) => command.run().await,
        CliCommand::Config(command) => command.run(),
        CliCommand::Doctor(command) => command.run().await,
        CliCommand::Completions(command) => command.run(),
        CliCommand::Man(command) => command.run(),
        CliCommand::Docs(command) => command.run(),
        CliCommand::Simulate(command) => command.run().await,
        CliCommand::Load(command) => command.run().await,
        CliCommand::Health(command) => command.run().await,
    }
}

/// Prints the message on stderr and returns the exit code of a failure.
#[must_use]
pub fn report_error(message: &str) -> ExitCode {
    output::print_error(format!("retell-webhook: {message}"));
    ExitCode::FAILURE
}
