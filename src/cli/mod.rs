//! The command line. Exit codes: 0 success, 1 failure or a negative answer, 2 wrong usage.
#![allow(clippy::print_stderr, reason = "stdout and stderr are the output of the commands")]

mod appointments;
mod bulk;
mod calls;
mod config;
mod context;
mod dead;
mod deliveries;
mod delivery_selector;
mod docs;
mod doctor;
mod erase;
mod events;
mod functions;
mod generate;
mod health;
mod import;
mod inbound;
mod keys;
mod list_args;
mod load;
mod outlook;
mod output;
mod progress;
mod purge;
mod receiver_url;
mod rejected;
mod replay;
mod send;
mod serve;
mod sign;
mod simulate;
mod status;
mod tail;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::output::CliError;

/// Receive Retell AI webhooks: verify each request, store the event before the 200, deliver it to your handlers
#[derive(Debug, Parser)]
#[command(name = "retell-webhook", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
}

const AFTER_HELP: &str = "Without a subcommand it runs serve. Settings come from config/default.toml and the other \
files in config/, from `.env`, and from the environment (RETELL_API_KEY, SERVER_URL, PORT, DATABASE_URL, DEBUG, \
RETELL_WEBHOOK__SECTION__KEY).";

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the receiver (the default)
    Serve,
    /// Send a signed event to a receiver: a sample, or your own body
    Send(send::SendArgs),
    /// Print the X-Retell-Signature header for a body
    Sign(sign::SignArgs),
    /// Check a signature header against a body, and print why it does not match
    Verify(sign::VerifyArgs),
    /// Print the state of the receiver on this machine; exit code 0 when it is up and ready
    Status(status::StatusArgs),
    /// Print events as they arrive
    Tail(tail::TailArgs),
    /// List, show, export and import stored events
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// List, show and count calls
    #[command(subcommand)]
    Calls(calls::CallsCommand),
    /// List, show and count chats
    #[command(subcommand)]
    Chats(calls::ChatsCommand),
    /// List, show and cancel the appointments that callers booked, or export them for a calendar
    #[command(subcommand)]
    Appointments(appointments::AppointmentsCommand),
    /// List, show, retry and cancel deliveries; a delivery is one event for one handler
    #[command(subcommand)]
    Deliveries(deliveries::DeliveriesCommand),
    /// List, retry and discard dead letters: deliveries that used up their attempts
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    /// Deliver events again, marked as replays; without --yes only count them
    Replay(replay::ReplayArgs),
    /// List, show and test custom functions, list their invocations, and exchange their definitions with Retell
    #[command(subcommand)]
    Functions(functions::FunctionsCommand),
    /// Test the rules for inbound calls and text messages
    #[command(subcommand)]
    Inbound(inbound::InboundCommand),
    /// List and show rejected requests: the sender, the request, and the reason
    #[command(subcommand)]
    Rejected(rejected::RejectedCommand),
    /// Delete now what `[retention]` no longer keeps; also works while the receiver runs
    Purge(purge::PurgeArgs),
    /// Erase one person's data from events, calls, attempts, rejected requests and logs; also while the receiver runs
    Erase(erase::EraseArgs),
    /// Print and check the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Check configuration, port, storage and public URL, and print what to do; exit code 1 on a problem
    Doctor(doctor::DoctorArgs),
    /// Print a completion script for a shell
    Completions(generate::CompletionsArgs),
    /// Print the manual page, or write one page per command to a folder
    Man(generate::ManArgs),
    /// Print generated pages of docs/
    #[command(subcommand, hide = true)]
    Docs(docs::DocsCommand),
    /// Send simulated calls to a receiver as Retell would, and check that its store has every event
    Simulate(simulate::SimulateArgs),
    /// Measure throughput and latency of a receiver on this machine with signed events
    Load(load::LoadArgs),
    /// Ask the receiver on this machine whether it is ready; exit code 0 when it is, 1 when not
    Health(health::HealthArgs),
}

/// Runs the command, `serve` when none is given, and reports a failure on stderr.
pub async fn run(cli: Cli) -> ExitCode {
    let result = match cli.command.unwrap_or(CliCommand::Serve) {
        CliCommand::Serve => serve::run().await,
        CliCommand::Send(command) => command.run().await,
        CliCommand::Sign(command) => command.run(),
        CliCommand::Verify(command) => command.run(),
        CliCommand::Status(command) => command.run().await,
        CliCommand::Tail(command) => command.run().await,
        CliCommand::Events(command) => command.run().await,
        CliCommand::Calls(command) => command.run().await,
        CliCommand::Chats(command) => command.run().await,
        CliCommand::Appointments(command) => command.run().await,
        CliCommand::Deliveries(command) => command.run().await,
        CliCommand::Dead(command) => command.run().await,
        CliCommand::Replay(command) => command.run().await,
        CliCommand::Functions(command) => command.run().await,
        CliCommand::Inbound(command) => command.run().await,
        CliCommand::Rejected(command) => command.run().await,
        CliCommand::Purge(command) => command.run().await,
        CliCommand::Erase(command) => command.run().await,
        CliCommand::Config(command) => command.run(),
        CliCommand::Doctor(command) => command.run().await,
        CliCommand::Completions(command) => command.run(),
        CliCommand::Man(command) => command.run(),
        CliCommand::Docs(command) => command.run(),
        CliCommand::Simulate(command) => command.run().await,
        CliCommand::Load(command) => command.run().await,
        CliCommand::Health(command) => command.run().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::AlreadyPrinted) => ExitCode::FAILURE,
        Err(CliError::Message(message)) => report_error(&message),
    }
}

/// Prints the message on stderr and returns the exit code of a failure.
#[must_use]
pub fn report_error(message: &str) -> ExitCode {
    eprintln!("retell-webhook: {message}");
    ExitCode::FAILURE
}
