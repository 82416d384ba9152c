use clap::{Args, Subcommand};

use crate::base::clock::Clock;
use crate::cli::context;
use crate::cli::output::{self, CliResult};
use crate::cli::time_arg::TimeArg;
use crate::config::{DEFAULT_COMPANY_SLUG, InboundKind};
use crate::operations::config::check_settings;
use crate::operations::inbound::{InboundTest, test_inbound};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum InboundCommand {
    /// Print which rule would answer an inbound call, and the answer; stores nothing and sends no requests
    Test(InboundTestArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InboundTestArgs {
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
    #[arg(long, value_name = "TIME")]
    at: Option<TimeArg>,
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

impl InboundCommand {
    pub(in crate::cli) async fn run(self) -> CliResult {
        match self {
            Self::Test(test) => test.run().await,
        }
    }
}

impl InboundTestArgs {
    async fn run(self) -> CliResult {
        let settings = check_settings(&context::config_sources()?)?;
        let store = context::open_store()?;
        let test = InboundTest {
            kind: if self.sms { InboundKind::Chat } else { InboundKind::Call },
            from_number: self.from,
            to_number: self.to,
            agent_id: self.agent,
            company: self.company,
            at_ms: self.at.map(TimeArg::ms),
        };
        let result = test_inbound(&store, &settings, &Clock::system(), context::PRINCIPAL, test).await?;
        if self.json {
            return output::print_json(&result);
        }
        let from_target = "the response of the target of `ask`, which was not requested".to_owned();
        output::print_fields(&[
            ("rule", Some(result.rule.unwrap_or_else(|| "no rule matches".to_owned()))),
            ("answer", Some(result.answer_text.unwrap_or(from_target))),
            ("fallback reason", result.fallback_reason),
        ])
    }
}
