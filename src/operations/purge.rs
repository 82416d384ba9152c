//! Applies the retention rules now; a running receiver does so once per hour.

use std::time::{Duration, Instant};

use super::{OperationError, Principal, Progress, ProgressCallback};
use crate::base::clock::Clock;
use crate::config::Settings;
use crate::dispatch::{RetentionRule, RetentionRules};
use crate::storage::{CascadedCounts, CompanyScope, PurgeBatch, RetentionStore};
use crate::view::{PurgeCascadeView, PurgeView, PurgedByRuleView};

/// A reader that found an event before it was deleted has read its body file within this time.
const BODY_READ_GRACE: Duration = Duration::from_secs(3);

/// Deletes what is past the retention of `settings`, or only counts it as a dry run.
pub(crate) async fn purge(
    store: &dyn RetentionStore,
    settings: &Settings,
    clock: &Clock,
    principal: &Principal,
    dry_run: bool,
    progress: ProgressCallback<'_>,
) -> Result<PurgeView, OperationError> {
    if !dry_run {
        tracing::info!(%principal, "purging data that is past its retention");
    }
    let rules = RetentionRules::from_settings(settings);
    let now_ms = clock.now_ms();
    let mut count = PurgeRun { store, dry_run: true, cascaded: CascadedCounts::default() };
    let mut report = |done| progress(Progress { step: "counted", done, total: done });
    let counted = count.apply_age_rules(&rules, now_ms, &mut report).await;
    let mut run = PurgeRun { store, dry_run, cascaded: count.cascaded };
    let by_age = if dry_run {
        counted?
    } else {
        run.cascaded = CascadedCounts::default();
        // Only for the progress: what cannot be counted is deleted all the same. A running receiver makes it inexact.
        let total: u64 = counted.iter().flatten().map(|purged| purged.rows).sum();
        let mut report = |done: u64| progress(Progress { step: "deleted", done, total: total.max(done) });
        run.apply_age_rules(&rules, now_ms, &mut report).await?
    };
    let mut by_size = 0;
    // A dry run deletes nothing, so the size would stay above the limit and every event would be counted.
    if let Some(max_bytes) = rules.max_bytes.filter(|_| !dry_run) {
        by_size = run.purge_to_size(rules.oldest_events_batch(now_ms), max_bytes).await?;
    }
    if !dry_run && (by_size > 0 || by_age.iter().any(|purged| purged.rows > 0)) {
        tokio::time::sleep(BODY_READ_GRACE).await;
        reclaim_space(store, clock).await?;
    }
    let CascadedCounts { body_bytes, deliveries, attempts } = run.cascaded;
    Ok(PurgeView {
        dry_run,
        by_age,
        by_size,
        cascaded: PurgeCascadeView { body_bytes, deliveries, attempts },
        used_bytes: store.used_bytes().await?,
        max_bytes: rules.max_bytes,
    })
}

struct PurgeRun<'a> {
    store: &'a dyn RetentionStore,
    dry_run: bool,
    cascaded: CascadedCounts,
}

impl PurgeRun<'_> {
    /// Deletes, or counts, what is older than each rule allows. `report` gets the number of rows so far.
    async fn apply_age_rules(
        &mut self,
        rules: &RetentionRules,
        now_ms: i64,
        report: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Vec<PurgedByRuleView>, OperationError> {
        let mut by_age = Vec::new();
        let mut rows_before = 0;
        for rule in &rules.age_rules {
            let mut next = Some(rules.first_batch(rule, now_ms));
            let mut rows = 0;
            while let Some(batch) = next {
                next = self.purge_batch(batch, &mut rows).await?;
                report(rows_before + rows);
            }
            rows_before += rows;
            by_age.push(rule_view(rule, rows));
        }
        Ok(by_age)
    }

    /// Deletes the oldest events, regardless of company, until the store uses at most `max_bytes`.
    async fn purge_to_size(&mut self, oldest: PurgeBatch, max_bytes: u64) -> Result<u64, OperationError> {
        let mut rows = 0;
        let mut next = Some(oldest);
        while let Some(batch) = next
            && self.store.used_bytes().await.is_ok_and(|used| used > max_bytes)
        {
            next = self.purge_batch(batch, &mut rows).await?;
        }
        Ok(rows)
    }

    /// Deletes one batch, then pauses for as long as that took, so that the receiver has the write lock half of the
    /// time.
    async fn purge_batch(&mut self, batch: PurgeBatch, rows: &mut u64) -> Result<Option<PurgeBatch>, OperationError> {
        let started = Instant::now();
        let purge = batch.clone();
        let purged =
            if self.dry_run { self.store.count_purgeable(purge).await? } else { self.store.purge_batch(purge).await? };
        *rows += purged.removed;
        self.cascaded += purged.cascaded;
        tokio::time::sleep(started.elapsed()).await;
        Ok(purged.next_cursor.map(|cursor| PurgeBatch { cursor, ..batch }))
    }
}

/// Deletes the body files of deleted events and returns free pages of the database to the file system.
async fn reclaim_space(store: &dyn RetentionStore, clock: &Clock) -> Result<(), OperationError> {
    loop {
        let started = Instant::now();
        let has_more = store.reclaim_space(clock.now_ms()).await?;
        tokio::time::sleep(started.elapsed()).await;
        if !has_more {
            return Ok(());
        }
    }
}

fn rule_view(rule: &RetentionRule, rows: u64) -> PurgedByRuleView {
    let companies = match &rule.companies {
        CompanyScope::Only(slugs) => slugs.join(", "),
        CompanyScope::AllExcept(slugs) if slugs.is_empty() => "all".to_owned(),
        CompanyScope::AllExcept(slugs) => format!("all except {}", slugs.join(", ")),
    };
    PurgedByRuleView { kind: rule.kind.as_str(), companies, days: rule.days, rows }
}
