//! The `retell-webhook` program: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use retell_webhook::internals::{Cli, report_error, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => report_error(&format!("cannot start: {error}")),
    }
}
