//! `sign` and `verify`.

use std::path::PathBuf;

use clap::Args;

use crate::base::clock::Clock;
use crate::cli::output::{self, CliError, CliResult};
use crate::cli::{context, input};
use crate::operations::signatures::{check_signature, sign_body};

#[derive(Debug, Args)]
pub(in crate::cli) struct SignArgs {
    /// File with the body to sign, byte for byte as it will be sent; `-` for standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Sign with the first key of this company [default: the first key of security.keys]
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Time of the signature, in milliseconds since the Unix epoch [default: now]
    #[arg(long, value_name = "MS")]
    at_ms: Option<i64>,
}

impl SignArgs {
    pub(in crate::cli) fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let body = input::read_file_or_stdin(&self.file)?;
        output::print_line(sign_body(&settings, &Clock::system(), self.company.as_deref(), &body, self.at_ms)?)
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// File with the body, byte for byte as it was received; `-` for standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Value of the X-Retell-Signature header
    #[arg(long, value_name = "V=…,D=…")]
    header: String,
    /// Verify with the keys of this company [default: security.keys]
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Verify as of this time, in milliseconds since the Unix epoch [default: now]
    #[arg(long, value_name = "MS")]
    at_ms: Option<i64>,
}

impl VerifyArgs {
    pub(in crate::cli) fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let body = input::read_file_or_stdin(&self.file)?;
        let (clock, company) = (Clock::system(), self.company.as_deref());
        let check = check_signature(&settings, &clock, company, &self.header, &body, self.at_ms)?;
        if let Some(fingerprint) = check.key_fingerprint {
            return output::print_line(format!("valid: signed by key {fingerprint}"));
        }
        output::print_line(format!("invalid: {}", check.diagnosis.unwrap_or_default()))?;
        if check.body_too_large {
            output::print_line("the body is larger than 64 KiB, so changes to the body were not looked for")?;
        }
        Err(CliError::AlreadyPrinted)
    }
}
