//! `sign` and `verify`.

use std::path::PathBuf;

use clap::Args;

use super::output::{self, Done, Failure};
use super::{keys, send, stores};
use crate::base::clock::Clock;
use crate::security::diagnose::{self, Evidence, Keys, MAX_BODY_BYTES, diagnose};
use crate::security::signature::{Signature, Verifier};

#[derive(Debug, Args)]
pub(super) struct Sign {
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

impl Sign {
    pub(super) fn run(self) -> Done {
        let settings = stores::settings()?;
        let key = keys::first(&settings, self.company.as_deref())?;
        let at_ms = self.at_ms.unwrap_or_else(|| Clock::system().now_ms());
        output::line(Signature::sign(&key, &send::read(&self.file)?, at_ms))
    }
}

#[derive(Debug, Args)]
pub(super) struct Verify {
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

impl Verify {
    pub(super) fn run(self) -> Done {
        let settings = stores::settings()?;
        let (keys, others) = keys::of_all(&settings, self.company.as_deref())?;
        let window_ms = settings.security.window_ms;
        let verifier = Verifier::new(keys.clone()).with_window_ms(window_ms);
        let body = send::read(&self.file)?;
        let at_ms = self.at_ms.unwrap_or_else(|| Clock::system().now_ms());
        if let Ok(fingerprint) = verifier.verify(Some(&self.header), &body, at_ms) {
            return output::line(format!("valid: made by key {fingerprint}"));
        }
        let evidence = Evidence { body: Some(&body), header: Some(&self.header), ..Evidence::default() };
        let findings = diagnose(&evidence, Keys { own: &keys, others: &others }, window_ms, at_ms);
        output::line(format!("refused: {}", diagnose::text(&findings)))?;
        if body.len() > MAX_BODY_BYTES {
            output::line("the body is larger than 64 KiB, so it was not tried what may have been changed in it")?;
        }
        Err(Failure::Said)
    }
}
