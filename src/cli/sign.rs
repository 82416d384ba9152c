//! `sign` and `verify`.

use std::path::PathBuf;

use clap::Args;

use super::output::{self, Done, Failure};
use super::{keys, send, stores};
use crate::base::clock::Clock;
use crate::security::signature::{Refusal, Signature, Verifier};

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
        let verifier =
            Verifier::new(keys::of(&settings, self.company.as_deref())?).with_window_ms(settings.security.window_ms);
        let body = send::read(&self.file)?;
        let at_ms = self.at_ms.unwrap_or_else(|| Clock::system().now_ms());
        match verifier.verify(Some(&self.header), &body, at_ms) {
            Ok(fingerprint) => output::line(format!("valid: made by key {fingerprint}")),
            Err(refusal) => {
                output::line(format!("refused: {refusal}"))?;
                if let Some(hint) = hint(refusal, &verifier, &self.header, &body) {
                    output::line(hint)?;
                }
                Err(Failure::Said)
            }
        }
    }
}

/// A stale signature may be right otherwise: then it is a clock, or an old request.
fn hint(refusal: Refusal, verifier: &Verifier, header: &str, body: &[u8]) -> Option<String> {
    let (Refusal::Stale(_), Ok(signature)) = (refusal, header.parse::<Signature>()) else {
        return None;
    };
    Some(match verifier.check_body(&signature, body) {
        Ok(fingerprint) => format!("apart from its age it is right: made by key {fingerprint}"),
        Err(_) => "its digest does not fit either: another key, or a changed body".to_owned(),
    })
}
