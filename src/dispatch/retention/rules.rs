//! From the settings to what is removed. Pure.

use std::collections::BTreeMap;

use crate::config::{RetentionDays, Settings};
use crate::storage::{CompanyScope, PurgeBatch, PurgeCursor, RetentionKind};

const DAY_MS: i64 = 86_400_000;

/// What is removed, and how far at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RetentionRules {
    /// By age.
    pub age_rules: Vec<RetentionRule>,
    /// Of the whole store.
    pub max_bytes: Option<u64>,
    /// Handlers whose unfinished deliveries protect their events; `None`: all that the store knows.
    pub protecting_handlers: Option<Vec<String>>,
}

/// One kind of data of some companies is kept for so many days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetentionRule {
    /// What.
    pub kind: RetentionKind,
    /// Whose.
    pub companies: CompanyScope,
    /// How long, at least 1.
    pub days: u32,
}

impl RetentionRules {
    /// The rules of these settings.
    #[must_use]
    pub(crate) fn from_settings(settings: &Settings) -> Self {
        let ages = RetentionKind::ALL.into_iter().flat_map(|kept| age_rules_for(settings, kept)).collect();
        Self { age_rules: ages, max_bytes: settings.retention.max_bytes, protecting_handlers: None }
    }

    /// Whether everything is kept for ever.
    #[must_use]
    pub(crate) fn keeps_everything(&self) -> bool {
        self.age_rules.is_empty() && self.max_bytes.is_none()
    }

    /// The first batch of a rule.
    #[must_use]
    pub(crate) fn first_batch(&self, rule: &RetentionRule, now_ms: i64) -> PurgeBatch {
        let before_ms = now_ms.saturating_sub(i64::from(rule.days) * DAY_MS);
        self.new_purge(rule.kind, rule.companies.clone(), before_ms, now_ms)
    }

    /// The first batch of the oldest events, whosever they are.
    #[must_use]
    pub(crate) fn oldest_events_batch(&self, now_ms: i64) -> PurgeBatch {
        // Few at once: no more than has to go.
        PurgeBatch {
            limit: Self::MAX_ROWS_PER_BATCH / 8,
            ..self.new_purge(RetentionKind::Events, CompanyScope::AllExcept(Vec::new()), i64::MAX, now_ms)
        }
    }

    fn new_purge(&self, kept: RetentionKind, companies: CompanyScope, before_ms: i64, now_ms: i64) -> PurgeBatch {
        let handlers = self.protecting_handlers.clone();
        PurgeBatch {
            kind: kept,
            company_scope: companies,
            before_ms,
            cursor: PurgeCursor::default(),
            limit: Self::MAX_ROWS_PER_BATCH,
            protecting_handlers: handlers,
            now_ms,
        }
    }

    /// Rows looked at in one transaction.
    const MAX_ROWS_PER_BATCH: usize = 200;
}

/// The rules about one kind: that of most companies, and those of companies with settings of their own.
fn age_rules_for(settings: &Settings, kept: RetentionKind) -> Vec<RetentionRule> {
    let mut own: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for company in &settings.companies {
        if let Some(days) = company.retention.as_ref().and_then(|days| days_for(days, kept)) {
            own.entry(days).or_default().push(company.slug.clone());
        }
    }
    let all_but = CompanyScope::AllExcept(own.values().flatten().cloned().collect());
    let most = days_for(&settings.retention.days(), kept).map(|days| (all_but, days));
    let own = own.into_iter().map(|(days, slugs)| (CompanyScope::Only(slugs), days));
    let kept_for_a_time = most.into_iter().chain(own).filter(|(_, days)| *days > 0);
    kept_for_a_time.map(|(companies, days)| RetentionRule { kind: kept, companies, days }).collect()
}

fn days_for(days: &RetentionDays, kept: RetentionKind) -> Option<u32> {
    match kept {
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
            slug: slug.into(),
            name: None,
            keys: Vec::new(),
            agents: Vec::new(),
            retention: Some(RetentionDays { events_days, ..RetentionDays::default() }),
        }
    }

    #[test]
    fn nothing_is_removed_unless_settings_say_so() {
        assert!(RetentionRules::from_settings(&Settings::default()).keeps_everything());
    }

    #[test]
    fn companies_have_their_own_days() {
        let mut settings = Settings::default();
        settings.retention.events_days = Some(90);
        settings.companies = vec![
            company_settings("a", Some(30)),
            company_settings("b", Some(0)),
            company_settings("c", None),
            company_settings("d", Some(30)),
        ];
        let rules = RetentionRules::from_settings(&settings).age_rules;
        let slugs = |slugs: &[&str]| slugs.iter().map(|slug| (*slug).to_owned()).collect::<Vec<_>>();
        let expected =
            [(CompanyScope::AllExcept(slugs(&["b", "a", "d"])), 90), (CompanyScope::Only(slugs(&["a", "d"])), 30)];
        assert_eq!(
            rules,
            expected.map(|(companies, days)| RetentionRule { kind: RetentionKind::Events, companies, days })
        );
    }

    #[test]
    fn a_batch_is_bounded_and_counts_from_now() {
        let rules = RetentionRules::default();
        let rule =
            RetentionRule { kind: RetentionKind::Calls, companies: CompanyScope::AllExcept(Vec::new()), days: 2 };
        let purge = rules.first_batch(&rule, 10 * DAY_MS);
        assert_eq!((purge.before_ms, purge.limit, purge.cursor), (8 * DAY_MS, 200, PurgeCursor::default()));
    }
}
