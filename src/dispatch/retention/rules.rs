//! Turns the retention settings into purge batches. No I/O.

use std::collections::BTreeMap;

use crate::config::{RetentionDays, Settings};
use crate::storage::{CompanyScope, PurgeBatch, PurgeCursor, RetentionKind};

const DAY_MS: i64 = 86_400_000;

/// What is deleted by age, and how large the store may become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RetentionRules {
    /// Applied in this order; see [`RetentionKind::ALL`].
    pub age_rules: Vec<RetentionRule>,
    /// Limit of the whole store, above which the oldest events are deleted.
    pub max_bytes: Option<u64>,
    /// Names of the handlers whose unfinished deliveries protect their events; `None` for all handlers in the store.
    pub protecting_handlers: Option<Vec<String>>,
}

/// The age limit of one kind of data for some companies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetentionRule {
    pub kind: RetentionKind,
    pub companies: CompanyScope,
    /// Maximum age in days, at least 1.
    pub days: u32,
}

impl RetentionRules {
    /// Rows read in one transaction. It ends earlier when it has taken too long, see `removal/purge.rs`.
    const MAX_ROWS_PER_BATCH: usize = 200;

    #[must_use]
    pub(crate) fn from_settings(settings: &Settings) -> Self {
        let age_rules = RetentionKind::ALL.into_iter().flat_map(|kind| age_rules_for(settings, kind)).collect();
        Self { age_rules, max_bytes: settings.retention.max_bytes, protecting_handlers: None }
    }

    /// The first batch of an age rule.
    #[must_use]
    pub(crate) fn first_batch(&self, rule: &RetentionRule, now_ms: i64) -> PurgeBatch {
        let before_ms = now_ms.saturating_sub(i64::from(rule.days) * DAY_MS);
        self.new_purge(rule.kind, rule.companies.clone(), before_ms, now_ms)
    }

    /// The first batch of the oldest events, regardless of company, for the size limit.
    #[must_use]
    pub(crate) fn oldest_events_batch(&self, now_ms: i64) -> PurgeBatch {
        // Smaller than usual: the size is measured between batches, so a batch is what may be deleted too much.
        PurgeBatch {
            limit: Self::MAX_ROWS_PER_BATCH / 8,
            ..self.new_purge(RetentionKind::Events, CompanyScope::AllExcept(Vec::new()), i64::MAX, now_ms)
        }
    }

    fn new_purge(&self, kind: RetentionKind, companies: CompanyScope, before_ms: i64, now_ms: i64) -> PurgeBatch {
        PurgeBatch {
            kind,
            company_scope: companies,
            before_ms,
            cursor: PurgeCursor::default(),
            limit: Self::MAX_ROWS_PER_BATCH,
            protecting_handlers: self.protecting_handlers.clone(),
            now_ms,
        }
    }
}

/// The rules for one kind of data: one for all companies with the general limit, and one for each limit that
/// companies set for themselves. Companies with the same limit share a rule, because each rule is a separate scan.
fn age_rules_for(settings: &Settings, kind: RetentionKind) -> Vec<RetentionRule> {
    let mut companies_by_days: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for company in &settings.companies {
        if let Some(days) = company.retention.as_ref().and_then(|days| days_for(days, kind)) {
            companies_by_days.entry(days).or_default().push(company.slug.to_string());
        }
    }
    let mut limits = Vec::new();
    if let Some(days) = days_for(&settings.retention.days(), kind) {
        let others = CompanyScope::AllExcept(companies_by_days.values().flatten().cloned().collect());
        limits.push((others, days));
    }
    limits.extend(companies_by_days.into_iter().map(|(days, slugs)| (CompanyScope::Only(slugs), days)));
    // 0 days means: keep without limit. Such a company is excluded from the general rule above and needs no rule.
    limits.retain(|(_, days)| *days > 0);
    limits.into_iter().map(|(companies, days)| RetentionRule { kind, companies, days }).collect()
}

fn days_for(days: &RetentionDays, kind: RetentionKind) -> Option<u32> {
    match kind {
        RetentionKind::Events => days.events_days,
        RetentionKind::Deliveries => days.deliveries_days,
        RetentionKind::Attempts => days.attempts_days,
        RetentionKind::Calls => days.calls_days,
        RetentionKind::Rejected => days.rejected_days,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CompanySettings;

    fn company_settings(slug: &str, events_days: Option<u32>) -> CompanySettings {
        CompanySettings {
            time_zone: None,
            slug: slug.parse().unwrap(),
            name: None,
            keys: Vec::new(),
            keys_file: None,
            api_key: None,
            api_key_file: None,
            agents: Vec::new(),
            retention: Some(RetentionDays { events_days, ..RetentionDays::default() }),
        }
    }

    #[test]
    fn default_settings_keep_everything() {
        let rules = RetentionRules::from_settings(&Settings::default());
        assert!(rules.age_rules.is_empty() && rules.max_bytes.is_none());
    }

    #[test]
    fn companies_can_have_separate_limits() {
        let mut settings = Settings::default();
        settings.retention.events_days = Some(90);
        settings.companies = vec![
            company_settings("acme", Some(30)),
            company_settings("beta", Some(0)),
            company_settings("city", None),
            company_settings("dent", Some(30)),
        ];
        let rules = RetentionRules::from_settings(&settings).age_rules;
        let slugs = |slugs: &[&str]| slugs.iter().map(|slug| (*slug).to_owned()).collect::<Vec<_>>();
        let expected = [
            (CompanyScope::AllExcept(slugs(&["beta", "acme", "dent"])), 90),
            (CompanyScope::Only(slugs(&["acme", "dent"])), 30),
        ];
        assert_eq!(
            rules,
            expected.map(|(companies, days)| RetentionRule { kind: RetentionKind::Events, companies, days })
        );
    }

    #[test]
    fn a_batch_has_a_row_limit_and_an_age_limit() {
        let rules = RetentionRules::default();
        let rule =
            RetentionRule { kind: RetentionKind::Calls, companies: CompanyScope::AllExcept(Vec::new()), days: 2 };
        let purge = rules.first_batch(&rule, 10 * DAY_MS);
        assert_eq!((purge.before_ms, purge.limit, purge.cursor), (8 * DAY_MS, 200, PurgeCursor::default()));
    }
}
