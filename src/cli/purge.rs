//! `purge`: applies the retention rules now; a running receiver does so once per hour.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::context;
use super::output::{self, CliError, CliResult};
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::dispatch::{RetentionRule, RetentionRules};
use crate::storage::{self, CascadedCounts, CompanyScope, PurgeBatch, RetentionStore, Role};

/// A reader that found an event before it was deleted has read its body file within this time.
const BODY_READ_GRACE: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct PurgeArgs {
    /// Only count the rows, which is also what happens without --yes
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Delete the rows instead of counting them
    #[arg(long)]
    yes: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// The number of rows deleted, or with `--dry-run` to delete.
#[derive(Default)]
struct PurgeOutcome {
    rows_by_rule: Vec<(RetentionRule, u64)>,
    /// Events deleted because the store was larger than `retention.max_bytes`.
    events_over_size: u64,
    cascaded: CascadedCounts,
    used_bytes: u64,
}

impl PurgeArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let rules = RetentionRules::from_settings(&settings);
        let store = storage::open(&settings.storage.url, Role::Operator, &Supervisor::default())?;
        let outcome = self.purge_all(&rules, &*store).await?;
        if self.json {
            output::print_json(&self.outcome_json(&rules, &outcome))
        } else {
            self.print_text(&rules, &outcome)
        }
    }

    async fn purge_all(&self, rules: &RetentionRules, store: &dyn RetentionStore) -> Result<PurgeOutcome, CliError> {
        let now_ms = Clock::system().now_ms();
        let mut outcome = PurgeOutcome::default();
        for rule in &rules.age_rules {
            let mut next = Some(rules.first_batch(rule, now_ms));
            let mut rows = 0;
            while let Some(batch) = next {
                next = self.purge_batch(store, batch, &mut rows, &mut outcome.cascaded).await?;
            }
            outcome.rows_by_rule.push((rule.clone(), rows));
        }
        // A dry run deletes nothing, so the size would stay above the limit and every event would be counted.
        if let Some(max_bytes) = rules.max_bytes.filter(|_| self.yes) {
            let oldest = rules.oldest_events_batch(now_ms);
            self.purge_to_size(oldest, max_bytes, store, &mut outcome).await?;
        }
        let has_removed = outcome.events_over_size > 0 || outcome.rows_by_rule.iter().any(|(_, rows)| *rows > 0);
        if self.yes && has_removed {
            tokio::time::sleep(BODY_READ_GRACE).await;
            reclaim_space(store).await?;
        }
        outcome.used_bytes = store.used_bytes().await?;
        Ok(outcome)
    }

    /// Deletes the oldest events, regardless of company, until the store uses at most `max_bytes`.
    async fn purge_to_size(
        &self,
        oldest: PurgeBatch,
        max_bytes: u64,
        store: &dyn RetentionStore,
        outcome: &mut PurgeOutcome,
    ) -> Result<(), CliError> {
        let mut next = Some(oldest);
        while let Some(batch) = next
            && store.used_bytes().await.is_ok_and(|used| used > max_bytes)
        {
            next = self.purge_batch(store, batch, &mut outcome.events_over_size, &mut outcome.cascaded).await?;
        }
        Ok(())
    }

    /// Deletes one batch, then pauses for as long as that took, so that the receiver has the write lock half of the
    /// time.
    async fn purge_batch(
        &self,
        store: &dyn RetentionStore,
        batch: PurgeBatch,
        rows: &mut u64,
        cascaded: &mut CascadedCounts,
    ) -> Result<Option<PurgeBatch>, CliError> {
        let started = Instant::now();
        let purge = batch.clone();
        let purged = if self.yes { store.purge_batch(purge).await? } else { store.count_purgeable(purge).await? };
        *rows += purged.removed;
        *cascaded += purged.cascaded;
        tokio::time::sleep(started.elapsed()).await;
        Ok(purged.next_cursor.map(|cursor| PurgeBatch { cursor, ..batch }))
    }

    fn print_text(&self, rules: &RetentionRules, outcome: &PurgeOutcome) -> CliResult {
        if rules.keeps_everything() {
            return output::print_line("nothing is deleted: no key of [retention] is set");
        }
        let rows = outcome.rows_by_rule.iter().map(|(rule, rows)| {
            vec![
                rule.kind.as_str().to_owned(),
                format_companies(&rule.companies),
                format!("{} days", rule.days),
                rows.to_string(),
            ]
        });
        let removed = if self.yes { "DELETED" } else { "TO DELETE" };
        output::print_table(&["KIND", "COMPANIES", "OLDER THAN", removed], rows.collect(), "no age limit is set")?;
        if outcome.events_over_size > 0 {
            output::print_line(format!(
                "plus the {} oldest events, for retention.max_bytes",
                outcome.events_over_size
            ))?;
        }
        let limit = rules.max_bytes.map(|bytes| format!(" of {}", output::format_bytes(bytes))).unwrap_or_default();
        output::print_line(format!("the store uses {}{limit}", output::format_bytes(outcome.used_bytes)))?;
        if self.yes { Ok(()) } else { output::print_line("nothing was deleted; `purge --yes` deletes it") }
    }

    fn outcome_json(&self, rules: &RetentionRules, outcome: &PurgeOutcome) -> Value {
        let rows = outcome.rows_by_rule.iter().map(|(rule, rows)| {
            let companies = format_companies(&rule.companies);
            json!({ "kind": rule.kind, "companies": companies, "days": rule.days, "rows": rows })
        });
        json!({
            "dry_run": !self.yes,
            "by_age": rows.collect::<Vec<_>>(),
            "by_size": outcome.events_over_size,
            "cascaded": outcome.cascaded,
            "used_bytes": outcome.used_bytes,
            "max_bytes": rules.max_bytes,
        })
    }
}

/// Deletes the body files of deleted events and returns free pages of the database to the file system.
async fn reclaim_space(store: &dyn RetentionStore) -> Result<(), CliError> {
    loop {
        let started = Instant::now();
        let has_more = store.reclaim_space(Clock::system().now_ms()).await?;
        tokio::time::sleep(started.elapsed()).await;
        if !has_more {
            return Ok(());
        }
    }
}

fn format_companies(companies: &CompanyScope) -> String {
    match companies {
        CompanyScope::Only(slugs) => slugs.join(", "),
        CompanyScope::AllExcept(slugs) if slugs.is_empty() => "all".to_owned(),
        CompanyScope::AllExcept(slugs) => format!("all except {}", slugs.join(", ")),
    }
}
