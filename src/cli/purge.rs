//! `purge`: removes what is past its time now, instead of within the hour.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::context;
use super::output::{self, CliResult};
use crate::base::clock::Clock;
use crate::dispatch::{RetentionRule, RetentionRules};
use crate::storage::sqlite::{OperatorRemoval, SqliteUrl};
use crate::storage::{CascadedCounts, CompanyScope, PurgeBatch as Batch};

/// Longer than anybody reads the body of an event that is gone.
const BODY_READ_GRACE: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct PurgeArgs {
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
struct PurgeOutcome {
    rows_by_rule: Vec<(RetentionRule, u64)>,
    /// The oldest events, for the size of the store.
    events_over_size: u64,
    cascaded: CascadedCounts,
    used_bytes: u64,
}

impl PurgeArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let rules = RetentionRules::from_settings(&settings);
        let mut removal = OperatorRemoval::open(&SqliteUrl::parse(&settings.storage.url)?)?;
        let outcome = self.purge_all(&rules, &mut removal).await?;
        if self.json {
            output::print_json(&self.outcome_json(&rules, &outcome))
        } else {
            self.print_text(&rules, &outcome)
        }
    }

    async fn purge_all(
        &self,
        rules: &RetentionRules,
        removal: &mut OperatorRemoval,
    ) -> Result<PurgeOutcome, super::output::CliError> {
        let now_ms = Clock::system().now_ms();
        let mut outcome = PurgeOutcome::default();
        for rule in &rules.age_rules {
            let mut next = Some(rules.first_batch(rule, now_ms));
            let mut rows = 0;
            while let Some(batch) = next {
                next = self.purge_batch(removal, batch, &mut rows, &mut outcome.cascaded).await?;
            }
            outcome.rows_by_rule.push((rule.clone(), rows));
        }
        let mut next = rules.max_bytes.filter(|_| self.yes).map(|_| rules.oldest_events_batch(now_ms));
        while let Some(batch) = next
            && rules.max_bytes.is_some_and(|most| removal.used_bytes().is_ok_and(|used| used > most))
        {
            next = self.purge_batch(removal, batch, &mut outcome.events_over_size, &mut outcome.cascaded).await?;
        }
        if self.yes && (outcome.events_over_size > 0 || outcome.rows_by_rule.iter().any(|(_, rows)| *rows > 0)) {
            tokio::time::sleep(BODY_READ_GRACE).await;
            let mut more = true;
            while more {
                let began = Instant::now();
                more = removal.reclaim_space(Clock::system().now_ms())?;
                tokio::time::sleep(began.elapsed()).await;
            }
        }
        outcome.used_bytes = removal.used_bytes()?;
        Ok(outcome)
    }

    /// One batch, and a rest as long, in which the receiver has the store to itself.
    async fn purge_batch(
        &self,
        removal: &mut OperatorRemoval,
        batch: Batch,
        rows: &mut u64,
        along: &mut CascadedCounts,
    ) -> Result<Option<Batch>, super::output::CliError> {
        let began = Instant::now();
        let purged = removal.purge(&batch, !self.yes)?;
        *rows += purged.removed;
        *along += purged.cascaded;
        tokio::time::sleep(began.elapsed()).await;
        Ok(purged.next_cursor.map(|after| Batch { cursor: after, ..batch }))
    }

    fn print_text(&self, rules: &RetentionRules, outcome: &PurgeOutcome) -> CliResult {
        if rules.keeps_everything() {
            return output::print_line("nothing is ever removed: no key of [retention] is set");
        }
        let rows = outcome.rows_by_rule.iter().map(|(rule, rows)| {
            vec![
                rule.kind.as_str().to_owned(),
                format_companies(&rule.companies),
                format!("{} days", rule.days),
                rows.to_string(),
            ]
        });
        let removed = if self.yes { "REMOVED" } else { "TO REMOVE" };
        output::print_table(&["WHAT", "COMPANIES", "OLDER THAN", removed], rows.collect(), "nothing has an age")?;
        if outcome.events_over_size > 0 {
            output::print_line(format!("and the oldest {} events for retention.max_bytes", outcome.events_over_size))?;
        }
        let most = rules.max_bytes.map(|most| format!(" of {}", output::format_bytes(most))).unwrap_or_default();
        output::print_line(format!("the store uses {}{most}", output::format_bytes(outcome.used_bytes)))?;
        if self.yes { Ok(()) } else { output::print_line("nothing was removed; `purge --yes` does it") }
    }

    fn outcome_json(&self, rules: &RetentionRules, outcome: &PurgeOutcome) -> Value {
        let rows = outcome.rows_by_rule.iter().map(|(rule, rows)| {
            json!({ "what": rule.kind, "companies": format_companies(&rule.companies), "days": rule.days, "rows": rows })
        });
        json!({
            "dry_run": !self.yes,
            "by_age": rows.collect::<Vec<_>>(),
            "for_size": outcome.events_over_size,
            "along": outcome.cascaded,
            "used_bytes": outcome.used_bytes,
            "max_bytes": rules.max_bytes,
        })
    }
}

fn format_companies(companies: &CompanyScope) -> String {
    match companies {
        CompanyScope::Only(slugs) => slugs.join(", "),
        CompanyScope::AllExcept(slugs) if slugs.is_empty() => "all".to_owned(),
        CompanyScope::AllExcept(slugs) => format!("all but {}", slugs.join(", ")),
    }
}
