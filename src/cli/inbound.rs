//! `inbound test`.

use clap::{Args, Subcommand};

use super::output::{self, CliError, CliResult};
use super::{config, context};
use crate::base::clock::Clock;
use crate::base::id::CompanyId;
use crate::config::{ConfigSources, DEFAULT_COMPANY_SLUG, InboundKind};
use crate::live::inbound::InboundDryRun;
use crate::view::InboundTestView;

#[derive(Debug, Subcommand)]
pub(super) enum InboundCommand {
    /// Print which rule would answer an inbound call, and the answer; stores nothing and sends no requests
    Test(InboundTestArgs),
}

#[derive(Debug, Args)]
pub(super) struct InboundTestArgs {
    /// Number of the caller, or a word such as anonymous
    #[arg(long, value_name = "NUMBER")]
    from: String,
    /// Number that the caller dialed
    #[arg(long, value_name = "NUMBER")]
    to: String,
    /// Id of the agent that is assigned to the called number
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Time of the call: 2026-11-21T22:00:00+01:00, 2026-11-21, or 2h ago [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time_arg)]
    at: Option<i64>,
    /// Test the first text message of a chat instead of a call
    #[arg(long)]
    sms: bool,
    /// Slug of the company whose URL receives the call
    #[arg(long, value_name = "SLUG", default_value = DEFAULT_COMPANY_SLUG)]
    company: String,
    /// Print JSON instead of text
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
            return Err(CliError::Message(format!(
                "no company `{slug}` in [[companies]]; check the slug in the configuration"
            )));
        }
        let store = context::open_store()?;
        // A configured company without a row in the store has no callers either; no row has the id -1.
        let company_id = store.find_company_id(&self.company).await?.unwrap_or(CompanyId::new(-1));
        let dry_run = InboundDryRun {
            kind: if self.sms { InboundKind::Chat } else { InboundKind::Call },
            from_number: self.from,
            to_number: self.to,
            agent_id: self.agent,
            company: (company_id, self.company),
            received_at_ms: self.at.unwrap_or_else(|| Clock::system().now_ms()),
        };
        let result = dry_run.run(&settings.inbound, &store).await?;
        if self.json {
            let answer = result.answer.as_deref().and_then(|answer| serde_json::from_str(answer).ok());
            let (rule, fallback_reason) = (result.rule, result.fallback_reason);
            return output::print_json(&InboundTestView { rule, answer, fallback_reason });
        }
        let from_target = "the response of the target of `ask`, which was not requested".to_owned();
        output::print_fields(&[
            ("rule", Some(result.rule.unwrap_or_else(|| "no rule matches".to_owned()))),
            ("answer", Some(result.answer.unwrap_or(from_target))),
            ("fallback reason", result.fallback_reason),
        ])
    }
}
