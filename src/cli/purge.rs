//! `purge`: removes what is past its time now, instead of within the hour.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::output::{self, Done};
use super::stores;
use crate::base::clock::Clock;
use crate::dispatch::{Rule, Rules};
use crate::storage::sqlite::{Removal, SqliteUrl};
use crate::storage::{Along, Companies, Purge as Batch};

/// Longer than anybody reads the body of an event that is gone.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct Purge {
    /// Only count (what happens without --yes too)
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Remove it
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What there was to remove.
#[derive(Default)]
struct Outcome {
    rows: Vec<(Rule, u64)>,
    /// The oldest events, for the size of the store.
    oldest: u64,
    along: Along,
    used_bytes: u64,
}

impl Purge {
    pub(super) async fn run(self) -> Done {
        let settings = stores::settings()?;
        let rules = Rules::of(&settings);
        let mut removal = Removal::open(&SqliteUrl::parse(&settings.storage.url)?)?;
        let outcome = self.remove(&rules, &mut removal).await?;
        if self.json { output::json(&self.describe(&rules, &outcome)) } else { self.text(&rules, &outcome) }
    }

    async fn remove(&self, rules: &Rules, removal: &mut Removal) -> Result<Outcome, super::output::Failure> {
        let now_ms = Clock::system().now_ms();
        let mut outcome = Outcome::default();
        for rule in &rules.ages {
            let mut next = Some(rules.purge(rule, now_ms));
            let mut rows = 0;
            while let Some(batch) = next {
                next = self.batch(removal, batch, &mut rows, &mut outcome.along).await?;
            }
            outcome.rows.push((rule.clone(), rows));
        }
        let mut next = rules.max_bytes.filter(|_| self.yes).map(|_| rules.oldest(now_ms));
        while let Some(batch) = next
            && rules.max_bytes.is_some_and(|most| removal.used_bytes().is_ok_and(|used| used > most))
        {
            next = self.batch(removal, batch, &mut outcome.oldest, &mut outcome.along).await?;
        }
        if self.yes && (outcome.oldest > 0 || outcome.rows.iter().any(|(_, rows)| *rows > 0)) {
            tokio::time::sleep(SETTLE).await;
            let mut more = true;
            while more {
                let began = Instant::now();
                more = removal.give_back_space(Clock::system().now_ms())?;
                tokio::time::sleep(began.elapsed()).await;
            }
        }
        outcome.used_bytes = removal.used_bytes()?;
        Ok(outcome)
    }

    /// One batch, and a rest as long, in which the receiver has the store to itself.
    async fn batch(
        &self,
        removal: &mut Removal,
        batch: Batch,
        rows: &mut u64,
        along: &mut Along,
    ) -> Result<Option<Batch>, super::output::Failure> {
        let began = Instant::now();
        let purged = removal.purge(&batch, !self.yes)?;
        *rows += purged.removed;
        *along += purged.along;
        tokio::time::sleep(began.elapsed()).await;
        Ok(purged.next.map(|after| Batch { after, ..batch }))
    }

    fn text(&self, rules: &Rules, outcome: &Outcome) -> Done {
        if rules.is_empty() {
            return output::line("nothing is ever removed: no key of [retention] is set");
        }
        let rows = outcome.rows.iter().map(|(rule, rows)| {
            vec![rule.kept.as_str().to_owned(), whose(&rule.companies), format!("{} days", rule.days), rows.to_string()]
        });
        let removed = if self.yes { "REMOVED" } else { "TO REMOVE" };
        output::table(&["WHAT", "COMPANIES", "OLDER THAN", removed], rows.collect(), "nothing has an age")?;
        if outcome.oldest > 0 {
            output::line(format!("and the oldest {} events for retention.max_bytes", outcome.oldest))?;
        }
        let most = rules.max_bytes.map(|most| format!(" of {}", output::size(most))).unwrap_or_default();
        output::line(format!("the store uses {}{most}", output::size(outcome.used_bytes)))?;
        if self.yes { Ok(()) } else { output::line("nothing was removed; `purge --yes` does it") }
    }

    fn describe(&self, rules: &Rules, outcome: &Outcome) -> Value {
        let rows = outcome.rows.iter().map(|(rule, rows)| {
            json!({ "what": rule.kept, "companies": whose(&rule.companies), "days": rule.days, "rows": rows })
        });
        json!({
            "dry_run": !self.yes,
            "by_age": rows.collect::<Vec<_>>(),
            "for_size": outcome.oldest,
            "along": outcome.along,
            "used_bytes": outcome.used_bytes,
            "max_bytes": rules.max_bytes,
        })
    }
}

fn whose(companies: &Companies) -> String {
    match companies {
        Companies::Only(slugs) => slugs.join(", "),
        Companies::AllBut(slugs) if slugs.is_empty() => "all".to_owned(),
        Companies::AllBut(slugs) => format!("all but {}", slugs.join(", ")),
    }
}
