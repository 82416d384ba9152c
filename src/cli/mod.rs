//! The verbs of the command line. Exit codes: 0 done, 1 failed or refused, 2 wrong usage.
#![allow(clippy::print_stderr, reason = "stdout and stderr belong to the verbs")]

mod appointments;
mod calls;
mod change;
mod config;
mod dead;
mod deliveries;
mod describe;
mod doctor;
mod erase;
mod events;
mod fates;
mod functions;
mod health;
mod import;
mod inbound;
mod keys;
mod listing;
mod load;
mod output;
mod purge;
mod rejected;
mod replay;
mod send;
mod serve;
mod sign;
mod signals;
mod simulate;
mod status;
mod stores;
mod tail;
mod target;
mod which;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::output::Failure;

/// Receives every webhook event Retell AI sends: verified, on disk before it is acknowledged, handed to your handlers.
#[derive(Debug, Parser)]
#[command(name = "retell-webhook", version, about, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
}

const AFTER_HELP: &str = "Without a verb it serves. Settings: config/default.toml and the files beside it, `.env`, and \
the environment (RETELL_API_KEY, SERVER_URL, PORT, DATABASE_URL, DEBUG, RETELL_WEBHOOK__SECTION__KEY).";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Receive events (the default)
    Serve,
    /// Send a signed event to a receiver: a sample, or a body of your own
    Send(send::Send),
    /// Print the X-Retell-Signature header for a body
    Sign(sign::Sign),
    /// Say whether a signature header fits a body, and if not, why
    Verify(sign::Verify),
    /// Say how the receiver on this machine is doing; exit code 0 when it is up and ready
    Status(status::Status),
    /// Watch events as they arrive
    Tail(tail::Tail),
    /// Look at stored events
    #[command(subcommand)]
    Events(events::Events),
    /// Look at calls, one row each
    #[command(subcommand)]
    Calls(calls::Calls),
    /// Look at chats, one row each
    #[command(subcommand)]
    Chats(calls::Chats),
    /// Look at appointments that callers booked, cancel them, or export them for a calendar
    #[command(subcommand)]
    Appointments(appointments::Appointments),
    /// Look at deliveries: what became of each event for each handler; attempt them again, or cancel them
    #[command(subcommand)]
    Deliveries(deliveries::Deliveries),
    /// Look at dead letters, attempt them again, or discard them
    #[command(subcommand)]
    Dead(dead::Dead),
    /// Deliver events once more, marked as a replay; counts first, and does it with --yes
    Replay(replay::Replay),
    /// Look at custom functions and their invocations, call one, and get them into Retell
    #[command(subcommand)]
    Functions(functions::Functions),
    /// Try the rules for inbound calls and text messages
    #[command(subcommand)]
    Inbound(inbound::Inbound),
    /// Look at refused requests: who sent what, and why it was refused
    #[command(subcommand)]
    Rejected(rejected::Rejected),
    /// Remove now what is past its time by the settings of `[retention]`; beside a running receiver too
    Purge(purge::Purge),
    /// Erase one person's data: from bodies, calls, attempts, refused requests and logs; beside a running receiver too
    Erase(erase::Erase),
    /// Look at the settings
    #[command(subcommand)]
    Config(config::Config),
    /// Check configuration, port, storage and public URL, and say what to do (exit code 1 on a problem)
    Doctor(doctor::Doctor),
    /// Print a script that completes this command line in a shell
    Completions(describe::Completions),
    /// Print the manual page, or write the page of every verb into a folder
    Man(describe::Man),
    /// Play calls to a receiver as Retell would send them, and check that its store has every event
    Simulate(simulate::Simulate),
    /// Measure how many signed events a receiver on this machine takes, and how fast it answers
    Load(load::Load),
    /// Ask the receiver on this machine whether it is ready (exit code 0) or not (1)
    Health(health::Health),
}

/// Runs the verb.
pub async fn run(cli: Cli) -> ExitCode {
    let done = match cli.verb.unwrap_or(Verb::Serve) {
        Verb::Serve => serve::run().await,
        Verb::Send(verb) => verb.run().await,
        Verb::Sign(verb) => verb.run(),
        Verb::Verify(verb) => verb.run(),
        Verb::Status(verb) => verb.run().await,
        Verb::Tail(verb) => verb.run().await,
        Verb::Events(verb) => verb.run().await,
        Verb::Calls(verb) => verb.run().await,
        Verb::Chats(verb) => verb.run().await,
        Verb::Appointments(verb) => verb.run().await,
        Verb::Deliveries(verb) => verb.run().await,
        Verb::Dead(verb) => verb.run().await,
        Verb::Replay(verb) => verb.run().await,
        Verb::Functions(verb) => verb.run().await,
        Verb::Inbound(verb) => verb.run().await,
        Verb::Rejected(verb) => verb.run().await,
        Verb::Purge(verb) => verb.run().await,
        Verb::Erase(verb) => verb.run().await,
        Verb::Config(verb) => verb.run(),
        Verb::Doctor(verb) => verb.run().await,
        Verb::Completions(verb) => verb.run(),
        Verb::Man(verb) => verb.run(),
        Verb::Simulate(verb) => verb.run().await,
        Verb::Load(verb) => verb.run().await,
        Verb::Health(verb) => verb.run().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Said) => ExitCode::FAILURE,
        Err(Failure::Because(why)) => failed(&why),
    }
}

/// Says why on stderr, and gives the exit code for it.
#[must_use]
pub fn failed(why: &str) -> ExitCode {
    eprintln!("retell-webhook: {why}");
    ExitCode::FAILURE
}
