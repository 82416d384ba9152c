//! The `retell-webhook` program: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use retell_webhook::internals::{Cli, build_runtime, report_error, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match build_runtime() {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => report_error(&format!("cannot start: {error}")),
    }
}
