//! The verbs of the command line. Exit codes: 0 done, 1 failed or refused, 2 wrong usage.
#![allow(clippy::print_stderr, reason = "stdout and stderr belong to the verbs")]

mod calls;
mod events;
mod health;
mod keys;
mod output;
mod rejected;
mod send;
mod serve;
mod sign;
mod stores;

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
    /// Look at stored events
    #[command(subcommand)]
    Events(events::Events),
    /// Look at calls, one row each
    #[command(subcommand)]
    Calls(calls::Calls),
    /// Look at refused requests: who sent what, and why it was refused
    #[command(subcommand)]
    Rejected(rejected::Rejected),
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
        Verb::Events(verb) => verb.run().await,
        Verb::Calls(verb) => verb.run().await,
        Verb::Rejected(verb) => verb.run().await,
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
