//! `sign` and `verify`.

use std::path::PathBuf;

use clap::Args;

use super::output::{self, CliError, CliResult};
use super::{context, keys, send};
use crate::base::clock::Clock;
use crate::security::diagnose::{self, CandidateKeys, DiagnosisInput, MAX_DIAGNOSED_BODY_BYTES, diagnose};
use crate::security::signature::{Signature, Verifier};

#[derive(Debug, Args)]
pub(super) struct SignArgs {
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
    pub(super) fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let key = keys::signing_key(&settings, self.company.as_deref())?;
        let at_ms = self.at_ms.unwrap_or_else(|| Clock::system().now_ms());
        output::print_line(Signature::sign(&key, &send::read_file_or_stdin(&self.file)?, at_ms))
    }
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
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
    pub(super) fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let (keys, others) = keys::own_and_other_keys(&settings, self.company.as_deref())?;
        let tolerance_ms = settings.security.signature_tolerance_ms;
        let verifier = Verifier::new(keys.clone()).with_tolerance_ms(tolerance_ms);
        let body = send::read_file_or_stdin(&self.file)?;
        let at_ms = self.at_ms.unwrap_or_else(|| Clock::system().now_ms());
        if let Ok(fingerprint) = verifier.verify(Some(&self.header), &body, at_ms) {
            return output::print_line(format!("valid: signed by key {fingerprint}"));
        }
        let input =
            DiagnosisInput { body: Some(&body), signature_header: Some(&self.header), ..DiagnosisInput::default() };
        let candidates = CandidateKeys { own_keys: &keys, other_company_keys: &others };
        let findings = diagnose(&input, candidates, tolerance_ms, at_ms);
        output::print_line(format!("invalid: {}", diagnose::format_diagnosis(&findings)))?;
        if body.len() > MAX_DIAGNOSED_BODY_BYTES {
            output::print_line("the body is larger than 64 KiB, so changes to the body were not looked for")?;
        }
        Err(CliError::AlreadyPrinted)
    }
}
