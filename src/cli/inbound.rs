//! `inbound test`.

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{self, CliError, CliResult};
use super::{config, context};
use crate::base::clock::Clock;
use crate::config::{ConfigSources, DEFAULT_COMPANY_SLUG, InboundKind};
use crate::live::inbound::InboundDryRun;
use crate::storage::Store;

#[derive(Debug, Subcommand)]
pub(super) enum InboundCommand {
    /// Say which rule would answer an inbound call, and what: nothing is stored, and no service of yours is asked
    Test(InboundTestArgs),
}

#[derive(Debug, Args)]
pub(super) struct InboundTestArgs {
    /// The caller's number, or a word such as anonymous
    #[arg(long, value_name = "NUMBER")]
    from: String,
    /// The number called
    #[arg(long, value_name = "NUMBER")]
    to: String,
    /// The agent that the number would use
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// At this time: 2026-11-21T22:00:00+01:00, 2026-11-21, or 2h ago [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time_arg)]
    at: Option<i64>,
    /// The first text message of a chat instead of a call
    #[arg(long)]
    sms: bool,
    /// At this company's address
    #[arg(long, value_name = "SLUG", default_value = DEFAULT_COMPANY_SLUG)]
    company: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn parse_time_arg(text: &str) -> Result<i64, String> {
    output::parse_time(text, Clock::system().now_ms())
}

impl InboundCommand {
    pub(super) async fn run(self) -> CliResult {
        match self {
            Self::Test(test) => test.run().await,
        }
    }
}

impl InboundTestArgs {
    async fn run(self) -> CliResult {
        let settings = config::load_checked_settings(&ConfigSources::from_process()?)?;
        if self.company != DEFAULT_COMPANY_SLUG
            && !settings.companies.iter().any(|company| company.slug == self.company)
        {
            let slug = output::sanitize(&self.company);
            return Err(CliError::Message(format!("there is no company `{slug}` in [[companies]]")));
        }
        let store = context::open_store()?;
        // One the store has not heard of has no callers either.
        let id = store.find_company_id(&self.company).await?.unwrap_or(-1);
        let trial = InboundDryRun {
            kind: if self.sms { InboundKind::Chat } else { InboundKind::Call },
            from_number: self.from,
            to_number: self.to,
            agent_id: self.agent,
            company: (id, self.company),
            received_at_ms: self.at.unwrap_or_else(|| Clock::system().now_ms()),
        };
        let store: Arc<dyn Store> = Arc::new(store);
        let tried = trial.run(&settings.inbound, &store).await?;
        if self.json {
            let answer = tried.answer.as_deref().and_then(|answer| serde_json::from_str::<Value>(answer).ok());
            return output::print_json(
                &json!({ "rule": tried.rule, "answer": answer, "problem": tried.fallback_reason }),
            );
        }
        let asked = "what a service of yours says, which was not asked".to_owned();
        output::print_fields(&[
            ("rule", Some(tried.rule.unwrap_or_else(|| "none holds".to_owned()))),
            ("answer", Some(tried.answer.unwrap_or(asked))),
            ("fallback, because", tried.fallback_reason),
        ])
    }
}
