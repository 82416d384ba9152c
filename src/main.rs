//! The `retell-webhook` program: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use retell_webhook::cli::{self, Cli};

/// Requests are allocated on one thread and freed on another, many thousand times a second.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(cli::run(cli)),
        Err(error) => cli::failed(&format!("cannot start: {error}")),
    }
}
