//! The `retell-webhook` program: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use retell_webhook::cli::{self, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(cli::run(cli)),
        Err(error) => cli::failed(&format!("cannot start: {error}")),
    }
}
