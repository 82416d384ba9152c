//! From the settings to what is removed. Pure.

use std::collections::BTreeMap;

use crate::config::{KeptDays, Settings};
use crate::storage::{Companies, Kept, Purge, PurgeCursor};

const DAY_MS: i64 = 86_400_000;

/// What is removed, and how far at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// By age.
    pub ages: Vec<Rule>,
    /// Of the whole store.
    pub max_bytes: Option<u64>,
    /// Handlers whose unfinished deliveries protect their events; `None`: all that the store knows.
    pub handlers: Option<Vec<String>>,
}

/// One kind of data of some companies is kept for so many days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What.
    pub kept: Kept,
    /// Whose.
    pub companies: Companies,
    /// How long, at least 1.
    pub days: u32,
}

impl Rules {
    /// The rules of these settings.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let ages = Kept::ALL.into_iter().flat_map(|kept| ages(settings, kept)).collect();
        Self { ages, max_bytes: settings.retention.max_bytes, handlers: None }
    }

    /// Whether everything is kept for ever.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ages.is_empty() && self.max_bytes.is_none()
    }

    /// The first batch of a rule.
    #[must_use]
    pub fn purge(&self, rule: &Rule, now_ms: i64) -> Purge {
        let before_ms = now_ms.saturating_sub(i64::from(rule.days) * DAY_MS);
        self.batch(rule.kept, rule.companies.clone(), before_ms, now_ms)
    }

    /// The first batch of the oldest events, whosever they are.
    #[must_use]
    pub fn oldest(&self, now_ms: i64) -> Purge {
        // Few at once: no more than has to go.
        Purge { limit: Self::BATCH / 8, ..self.batch(Kept::Events, Companies::AllBut(Vec::new()), i64::MAX, now_ms) }
    }

    fn batch(&self, kept: Kept, companies: Companies, before_ms: i64, now_ms: i64) -> Purge {
        let handlers = self.handlers.clone();
        Purge { kept, companies, before_ms, after: PurgeCursor::default(), limit: Self::BATCH, handlers, now_ms }
    }

    /// Rows looked at in one transaction.
    const BATCH: usize = 200;
}

/// The rules about one kind: that of most companies, and those of companies with settings of their own.
fn ages(settings: &Settings, kept: Kept) -> Vec<Rule> {
    let mut own: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for company in &settings.companies {
        if let Some(days) = company.retention.as_ref().and_then(|days| days_of(days, kept)) {
            own.entry(days).or_default().push(company.slug.clone());
        }
    }
    let all_but = Companies::AllBut(own.values().flatten().cloned().collect());
    let most = days_of(&settings.retention.days(), kept).map(|days| (all_but, days));
    let own = own.into_iter().map(|(days, slugs)| (Companies::Only(slugs), days));
    let kept_for_a_time = most.into_iter().chain(own).filter(|(_, days)| *days > 0);
    kept_for_a_time.map(|(companies, days)| Rule { kept, companies, days }).collect()
}

fn days_of(days: &KeptDays, kept: Kept) -> Option<u32> {
    match kept {
        Kept::Events => days.events_days,
        Kept::Deliveries => days.deliveries_days,
        Kept::Attempts => days.attempts_days,
        Kept::Calls => days.calls_days,
        Kept::Rejected => days.rejected_days,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CompanySettings;

    fn company(slug: &str, events_days: Option<u32>) -> CompanySettings {
        CompanySettings {
            time_zone: None,
            slug: slug.into(),
            name: None,
            keys: Vec::new(),
            agents: Vec::new(),
            retention: Some(KeptDays { events_days, ..KeptDays::default() }),
        }
    }

    #[test]
    fn nothing_is_removed_unless_settings_say_so() {
        assert!(Rules::of(&Settings::default()).is_empty());
    }

    #[test]
    fn companies_have_their_own_days() {
        let mut settings = Settings::default();
        settings.retention.events_days = Some(90);
        settings.companies =
            vec![company("a", Some(30)), company("b", Some(0)), company("c", None), company("d", Some(30))];
        let rules = Rules::of(&settings).ages;
        let slugs = |slugs: &[&str]| slugs.iter().map(|slug| (*slug).to_owned()).collect::<Vec<_>>();
        let expected = [(Companies::AllBut(slugs(&["b", "a", "d"])), 90), (Companies::Only(slugs(&["a", "d"])), 30)];
        assert_eq!(rules, expected.map(|(companies, days)| Rule { kept: Kept::Events, companies, days }));
    }

    #[test]
    fn a_batch_is_bounded_and_counts_from_now() {
        let rules = Rules::default();
        let rule = Rule { kept: Kept::Calls, companies: Companies::AllBut(Vec::new()), days: 2 };
        let purge = rules.purge(&rule, 10 * DAY_MS);
        assert_eq!((purge.before_ms, purge.limit, purge.after), (8 * DAY_MS, 200, PurgeCursor::default()));
    }
}
