//! The verbs of the command line. Exit codes: 0 done, 1 failed or refused, 2 wrong usage.
#![allow(clippy::print_stderr, reason = "stdout and stderr belong to the verbs")]

mod appointments;
mod bulk;
mod calls;
mod config;
mod context;
mod dead;
mod deliveries;
mod delivery_selector;
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
mod purge;
mod receiver_url;
mod rejected;
mod replay;
mod send;
mod serve;
mod sign;
mod signals;
mod simulate;
mod status;
mod tail;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::output::CliError;

/// Receives every webhook event Retell AI sends: verified, on disk before it is acknowledged, handed to your handlers.
#[derive(Debug, Parser)]
#[command(name = "retell-webhook", version, about, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
}

const AFTER_HELP: &str = "Without a verb it serves. Settings: config/default.toml and the files beside it, `.env`, and \
the environment (RETELL_API_KEY, SERVER_URL, PORT, DATABASE_URL, DEBUG, RETELL_WEBHOOK__SECTION__KEY).";

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Receive events (the default)
    Serve,
    /// Send a signed event to a receiver: a sample, or a body of your own
    Send(send::SendArgs),
    /// Print the X-Retell-Signature header for a body
    Sign(sign::SignArgs),
    /// Say whether a signature header fits a body, and if not, why
    Verify(sign::VerifyArgs),
    /// Say how the receiver on this machine is doing; exit code 0 when it is up and ready
    Status(status::StatusArgs),
    /// Watch events as they arrive
    Tail(tail::TailArgs),
    /// Look at stored events
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Look at calls, one row each
    #[command(subcommand)]
    Calls(calls::CallsCommand),
    /// Look at chats, one row each
    #[command(subcommand)]
    Chats(calls::ChatsCommand),
    /// Look at appointments that callers booked, cancel them, or export them for a calendar
    #[command(subcommand)]
    Appointments(appointments::AppointmentsCommand),
    /// Look at deliveries: what became of each event for each handler; attempt them again, or cancel them
    #[command(subcommand)]
    Deliveries(deliveries::DeliveriesCommand),
    /// Look at dead letters, attempt them again, or discard them
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    /// Deliver events once more, marked as a replay; counts first, and does it with --yes
    Replay(replay::ReplayArgs),
    /// Look at custom functions and their invocations, call one, and get them into Retell
    #[command(subcommand)]
    Functions(functions::FunctionsCommand),
    /// Try the rules for inbound calls and text messages
    #[command(subcommand)]
    Inbound(inbound::InboundCommand),
    /// Look at refused requests: who sent what, and why it was refused
    #[command(subcommand)]
    Rejected(rejected::RejectedCommand),
    /// Remove now what is past its time by the settings of `[retention]`; beside a running receiver too
    Purge(purge::PurgeArgs),
    /// Erase one person's data: from bodies, calls, attempts, refused requests and logs; beside a running receiver too
    Erase(erase::EraseArgs),
    /// Look at the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Check configuration, port, storage and public URL, and say what to do (exit code 1 on a problem)
    Doctor(doctor::DoctorArgs),
    /// Print a script that completes this command line in a shell
    Completions(generate::CompletionsArgs),
    /// Print the manual page, or write the page of every verb into a folder
    Man(generate::ManArgs),
    /// Play calls to a receiver as Retell would send them, and check that its store has every event
    Simulate(simulate::SimulateArgs),
    /// Measure how many signed events a receiver on this machine takes, and how fast it answers
    Load(load::LoadArgs),
    /// Ask the receiver on this machine whether it is ready (exit code 0) or not (1)
    Health(health::HealthArgs),
}

/// Runs the verb.
pub async fn run(cli: Cli) -> ExitCode {
    let done = match cli.command.unwrap_or(CliCommand::Serve) {
        CliCommand::Serve => serve::run().await,
        CliCommand::Send(verb) => verb.run().await,
        CliCommand::Sign(verb) => verb.run(),
        CliCommand::Verify(verb) => verb.run(),
        CliCommand::Status(verb) => verb.run().await,
        CliCommand::Tail(verb) => verb.run().await,
        CliCommand::Events(verb) => verb.run().await,
        CliCommand::Calls(verb) => verb.run().await,
        CliCommand::Chats(verb) => verb.run().await,
        CliCommand::Appointments(verb) => verb.run().await,
        CliCommand::Deliveries(verb) => verb.run().await,
        CliCommand::Dead(verb) => verb.run().await,
        CliCommand::Replay(verb) => verb.run().await,
        CliCommand::Functions(verb) => verb.run().await,
        CliCommand::Inbound(verb) => verb.run().await,
        CliCommand::Rejected(verb) => verb.run().await,
        CliCommand::Purge(verb) => verb.run().await,
        CliCommand::Erase(verb) => verb.run().await,
        CliCommand::Config(verb) => verb.run(),
        CliCommand::Doctor(verb) => verb.run().await,
        CliCommand::Completions(verb) => verb.run(),
        CliCommand::Man(verb) => verb.run(),
        CliCommand::Simulate(verb) => verb.run().await,
        CliCommand::Load(verb) => verb.run().await,
        CliCommand::Health(verb) => verb.run().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::AlreadyPrinted) => ExitCode::FAILURE,
        Err(CliError::Message(why)) => report_error(&why),
    }
}

/// Says why on stderr, and gives the exit code for it.
#[must_use]
pub fn report_error(why: &str) -> ExitCode {
    eprintln!("retell-webhook: {why}");
    ExitCode::FAILURE
}
