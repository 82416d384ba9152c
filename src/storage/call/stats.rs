//! Figures over many calls: one pass over their rows, counted by several things at once.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use jiff::Timestamp;

use super::{CallKind, Cost};

const DAY_MS: i64 = 24 * 3_600_000;
/// Different values told apart in one grouping; what comes after them is counted together. Values come from bodies.
const MAX_GROUPS: usize = 10_000;
/// What is counted together.
const OTHER_GROUPS_KEY: &str = "(others)";

/// Which calls are counted. Absent conditions let all through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallStatsFilter {
    /// Calls or chats.
    pub kind: CallKind,
    /// Begun at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// Begun before this time.
    pub until_ms: Option<i64>,
    /// Slug of the company.
    pub company: Option<String>,
    /// Id of the agent.
    pub agent_id: Option<String>,
}

/// What calls are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallGrouping {
    /// The day it began, in UTC.
    Day,
    /// The agent's id.
    Agent,
    /// The disconnection reason.
    Reason,
    /// The user's sentiment.
    Sentiment,
    /// Whether the agent reached its goal.
    Success,
    /// The company's slug.
    Company,
}

/// What one row says.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallStatsRow<'a> {
    /// Its id.
    pub call_id: &'a str,
    /// When it began, or when its first event arrived.
    pub started_at_ms: i64,
    /// The company's slug.
    pub company: &'a str,
    /// The agent's id.
    pub agent_id: Option<&'a str>,
    /// The agent's name.
    pub agent_name: Option<&'a str>,
    /// Why it ended.
    pub disconnection_reason: Option<&'a str>,
    /// The user's sentiment.
    pub user_sentiment: Option<&'a str>,
    /// Whether the agent reached its goal.
    pub call_successful: Option<bool>,
    /// How long it took.
    pub duration_ms: Option<i64>,
    /// What it cost.
    pub cost_cents: Option<Cost>,
}

/// Sums over calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTotals {
    /// How many.
    pub calls: u64,
    /// Those with a known duration.
    pub calls_with_duration: u64,
    /// Their durations together.
    pub total_duration_ms: i64,
    /// Costs together, of those with a known cost.
    pub total_cost_cents: Cost,
    /// Those of which it is known whether the agent reached its goal.
    pub calls_with_success_known: u64,
    /// Those in which it did.
    pub successful_calls: u64,
}

impl CallTotals {
    fn add(&mut self, row: &CallStatsRow) {
        self.calls += 1;
        if let Some(duration_ms) = row.duration_ms.filter(|ms| *ms >= 0) {
            self.calls_with_duration += 1;
            self.total_duration_ms = self.total_duration_ms.saturating_add(duration_ms);
        }
        if let Some(cost) = row.cost_cents {
            self.total_cost_cents.add(cost);
        }
        if let Some(successful) = row.call_successful {
            self.calls_with_success_known += 1;
            self.successful_calls += u64::from(successful);
        }
    }

    /// Of those with a known duration.
    #[must_use]
    pub fn average_duration_ms(&self) -> Option<i64> {
        self.total_duration_ms.checked_div(i64::try_from(self.calls_with_duration).ok()?)
    }

    /// From 0 to 1, of those that were judged.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        ratio(self.successful_calls, self.calls_with_success_known)
    }

    /// From 0 to 1, of the calls in `all`.
    #[must_use]
    pub fn share_of(&self, all: &Self) -> Option<f64> {
        ratio(self.calls, all.calls)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a ratio is shown with a decimal or two")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Calls that have something in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallGroup {
    /// What; `None` where it is not known.
    pub key: Option<String>,
    /// A name for it, where there is one: the agent's.
    pub name: Option<String>,
    /// Their figures.
    pub totals: CallTotals,
}

/// Figures over calls, in total and by each [`CallGrouping`].
#[derive(Debug, Default)]
pub struct CallStats {
    total: CallTotals,
    excluded_tests: u64,
    days: GroupTotals<i64>,
    agents: GroupTotals<String>,
    disconnection_reasons: GroupTotals<String>,
    sentiments: GroupTotals<String>,
    successes: GroupTotals<bool>,
    companies: GroupTotals<String>,
}

impl CallStats {
    /// Counts one call; one of a test is only counted as left out.
    pub fn add(&mut self, kind: CallKind, row: &CallStatsRow) {
        if kind.is_test(row.call_id) {
            self.excluded_tests += 1;
            return;
        }
        self.total.add(row);
        self.days.add(Some(&row.started_at_ms.div_euclid(DAY_MS)), row);
        self.agents.add_named(row.agent_id, row.agent_name, row);
        self.disconnection_reasons.add(row.disconnection_reason, row);
        self.sentiments.add(row.user_sentiment, row);
        self.successes.add(row.call_successful.as_ref(), row);
        self.companies.add(Some(row.company), row);
    }

    /// All together.
    #[must_use]
    pub fn totals(&self) -> &CallTotals {
        &self.total
    }

    /// Calls of tests, which nothing else here counts.
    #[must_use]
    pub fn excluded_tests(&self) -> u64 {
        self.excluded_tests
    }

    /// The largest group first; days in their order.
    #[must_use]
    pub fn groups(&self, by: CallGrouping) -> Vec<CallGroup> {
        match by {
            CallGrouping::Day => {
                let days = self.days();
                days.into_iter()
                    .map(|(day, totals)| CallGroup { key: Some(format_day(day)), name: None, totals })
                    .collect()
            }
            CallGrouping::Agent => self.agents.sorted_groups(String::clone),
            CallGrouping::Reason => self.disconnection_reasons.sorted_groups(String::clone),
            CallGrouping::Sentiment => self.sentiments.sorted_groups(String::clone),
            CallGrouping::Success => self.successes.sorted_groups(|well| if *well { "yes" } else { "no" }.to_owned()),
            CallGrouping::Company => self.companies.sorted_groups(String::clone),
        }
    }

    /// Figures by day since the Unix epoch, for days on which there was a call.
    #[must_use]
    pub fn days(&self) -> Vec<(i64, CallTotals)> {
        let mut days: Vec<_> = self.days.groups.iter().map(|(day, group)| (*day, group.totals)).collect();
        days.sort_unstable_by_key(|(day, _)| *day);
        days
    }
}

/// `2026-11-21`, for a day since the Unix epoch.
fn format_day(day: i64) -> String {
    let begins = day.checked_mul(DAY_MS).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    begins.map_or_else(|| format!("day {day}"), |time| time.strftime("%Y-%m-%d").to_string())
}

/// Groups by key.
#[derive(Debug)]
struct GroupTotals<K> {
    groups: HashMap<K, CallGroup>,
    unknown: CallTotals,
    others: CallTotals,
}

impl<K> Default for GroupTotals<K> {
    fn default() -> Self {
        Self { groups: HashMap::new(), unknown: CallTotals::default(), others: CallTotals::default() }
    }
}

impl<K: Hash + Eq> GroupTotals<K> {
    fn add<Q>(&mut self, key: Option<&Q>, row: &CallStatsRow)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.add_named(key, None, row);
    }

    fn add_named<Q>(&mut self, key: Option<&Q>, name: Option<&str>, row: &CallStatsRow)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Some(key) = key else { return self.unknown.add(row) };
        if let Some(group) = self.groups.get_mut(key) {
            group.totals.add(row);
            if group.name.is_none() {
                group.name = name.map(str::to_owned);
            }
        } else if self.groups.len() < MAX_GROUPS {
            let mut group = CallGroup { key: None, name: name.map(str::to_owned), totals: CallTotals::default() };
            group.totals.add(row);
            self.groups.insert(key.to_owned(), group);
        } else {
            self.others.add(row);
        }
    }

    fn sorted_groups(&self, text: impl Fn(&K) -> String) -> Vec<CallGroup> {
        let known = self.groups.iter().map(|(key, group)| CallGroup { key: Some(text(key)), ..group.clone() });
        let rest = [(None, self.unknown), (Some(OTHER_GROUPS_KEY.to_owned()), self.others)];
        let rest = rest.into_iter().filter(|(_, totals)| totals.calls > 0);
        let mut groups: Vec<CallGroup> =
            known.chain(rest.map(|(key, totals)| CallGroup { key, name: None, totals })).collect();
        // Among equals what is not known comes last.
        let order = |group: &CallGroup| (u64::MAX - group.totals.calls, group.key.is_none());
        groups.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.key.cmp(&b.key)));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(rows: &[CallStatsRow]) -> CallStats {
        let mut stats = CallStats::default();
        for row in rows {
            stats.add(CallKind::Call, row);
        }
        stats
    }

    #[test]
    fn groups_are_sorted_and_sum_up() {
        let row =
            CallStatsRow { call_id: "call_1", agent_id: Some("a"), duration_ms: Some(1000), ..CallStatsRow::default() };
        let named = CallStatsRow {
            agent_name: Some("Nora"),
            call_successful: Some(true),
            cost_cents: Cost::parse("0.3"),
            ..row
        };
        let other = CallStatsRow { agent_id: Some("b"), duration_ms: None, call_successful: Some(false), ..row };
        let unknown = CallStatsRow { agent_id: None, started_at_ms: 86_400_000, duration_ms: Some(4000), ..named };
        let test = CallStatsRow { call_id: "call_test_1", ..named };
        let stats = stats(&[row, named, other, unknown, test]);
        assert_eq!((stats.totals().calls, stats.excluded_tests()), (4, 1));
        assert_eq!(stats.totals().average_duration_ms(), Some(2000));
        assert_eq!(stats.totals().total_cost_cents.to_string(), "0.6");
        assert_eq!(stats.totals().success_rate(), Some(2.0 / 3.0));
        let agents = stats.groups(CallGrouping::Agent);
        let counts: Vec<_> = agents.iter().map(|group| (group.key.as_deref(), group.totals.calls)).collect();
        assert_eq!(counts, [(Some("a"), 2), (Some("b"), 1), (None, 1)]);
        assert_eq!(agents[0].name.as_deref(), Some("Nora"));
        assert_eq!(agents[1].totals.average_duration_ms(), None);
        assert_eq!(agents[0].totals.share_of(stats.totals()), Some(0.5));
        let days = stats.groups(CallGrouping::Day);
        assert_eq!(
            days.iter().map(|day| day.key.as_deref().unwrap()).collect::<Vec<_>>(),
            ["1970-01-01", "1970-01-02"]
        );
        let successes = stats.groups(CallGrouping::Success);
        assert_eq!(successes[0].key.as_deref(), Some("yes"));
    }

    #[test]
    fn different_values_are_bounded() {
        let keys: Vec<String> = (0..MAX_GROUPS + 5).map(|number| number.to_string()).collect();
        let rows: Vec<_> =
            keys.iter().map(|key| CallStatsRow { user_sentiment: Some(key), ..CallStatsRow::default() }).collect();
        let groups = stats(&rows).groups(CallGrouping::Sentiment);
        assert_eq!((groups.len(), groups[0].key.as_deref()), (MAX_GROUPS + 1, Some(OTHER_GROUPS_KEY)));
        assert_eq!(groups[0].totals.calls, 5);
    }

    #[test]
    fn times_beyond_all_sense_have_a_day_too() {
        assert_eq!((format_day(20_778).as_str(), format_day(-1).as_str()), ("2026-11-21", "1969-12-31"));
        let days =
            stats(&[CallStatsRow { started_at_ms: i64::MAX, ..CallStatsRow::default() }]).groups(CallGrouping::Day);
        assert!(days[0].key.as_deref().unwrap().starts_with("day "));
    }
}
