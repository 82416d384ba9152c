//! `inbound test`.

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{self, Done, Failure};
use super::{config, stores};
use crate::answers::inbound::Trial;
use crate::base::clock::Clock;
use crate::config::{DEFAULT_SLUG, InboundKind, Sources};
use crate::storage::Store;

#[derive(Debug, Subcommand)]
pub(super) enum Inbound {
    /// Say which rule would answer an inbound call, and what: nothing is stored, and no service of yours is asked
    Test(Test),
}

#[derive(Debug, Args)]
pub(super) struct Test {
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
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<i64>,
    /// The first text message of a chat instead of a call
    #[arg(long)]
    sms: bool,
    /// At this company's address
    #[arg(long, value_name = "SLUG", default_value = DEFAULT_SLUG)]
    company: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn moment(text: &str) -> Result<i64, String> {
    output::parse_since(text, Clock::system().now_ms())
}

impl Inbound {
    pub(super) async fn run(self) -> Done {
        match self {
            Self::Test(test) => test.run().await,
        }
    }
}

impl Test {
    async fn run(self) -> Done {
        let settings = config::checked(&Sources::of_process()?)?;
        if self.company != DEFAULT_SLUG && !settings.companies.iter().any(|company| company.slug == self.company) {
            let slug = output::plain(&self.company);
            return Err(Failure::Because(format!("there is no company `{slug}` in [[companies]]")));
        }
        let store = stores::open()?;
        // One the store has not heard of has no callers either.
        let id = store.company_id(&self.company).await?.unwrap_or(-1);
        let trial = Trial {
            kind: if self.sms { InboundKind::Chat } else { InboundKind::Call },
            from: self.from,
            to: self.to,
            agent: self.agent,
            company: (id, self.company),
            at_ms: self.at.unwrap_or_else(|| Clock::system().now_ms()),
        };
        let store: Arc<dyn Store> = Arc::new(store);
        let tried = trial.run(&settings.inbound, &store).await?;
        if self.json {
            let answer = tried.answer.as_deref().and_then(|answer| serde_json::from_str::<Value>(answer).ok());
            return output::json(&json!({ "rule": tried.rule, "answer": answer, "problem": tried.problem }));
        }
        let asked = "what a service of yours says, which was not asked".to_owned();
        output::fields(&[
            ("rule", Some(tried.rule.unwrap_or_else(|| "none holds".to_owned()))),
            ("answer", Some(tried.answer.unwrap_or(asked))),
            ("fallback, because", tried.problem),
        ])
    }
}
