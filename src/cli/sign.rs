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
    /// The body to sign, byte for byte as it will be sent
    #[arg(long, value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Sign with this company's first key [default: the plain route's]
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Sign for this time, in milliseconds since the Unix epoch [default: now]
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
    /// The body, byte for byte as it was received
    #[arg(long, value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// The value of its X-Retell-Signature header
    #[arg(long, value_name = "V=…,D=…")]
    header: String,
    /// Try this company's keys [default: the plain route's]
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Judge as of this time, in milliseconds since the Unix epoch [default: now]
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
            return output::print_line(format!("valid: made by key {fingerprint}"));
        }
        let evidence =
            DiagnosisInput { body: Some(&body), signature_header: Some(&self.header), ..DiagnosisInput::default() };
        let findings =
            diagnose(&evidence, CandidateKeys { own_keys: &keys, other_company_keys: &others }, tolerance_ms, at_ms);
        output::print_line(format!("refused: {}", diagnose::format_diagnosis(&findings)))?;
        if body.len() > MAX_DIAGNOSED_BODY_BYTES {
            output::print_line("the body is larger than 64 KiB, so it was not tried what may have been changed in it")?;
        }
        Err(CliError::AlreadyPrinted)
    }
}
