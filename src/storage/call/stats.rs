//! Figures over many calls: one pass over their rows, counted by several things at once.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use jiff::Timestamp;

use super::{CallKind, Cost};

const DAY_MS: i64 = 24 * 3_600_000;
/// Different values told apart in one grouping; what comes after them is counted together. Values come from bodies.
const MOST_GROUPS: usize = 10_000;
/// What is counted together.
const OTHERS: &str = "(others)";

/// Which calls are counted. Absent conditions let all through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsFilter {
    /// Calls or chats.
    pub kind: CallKind,
    /// Begun at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// Begun before this time.
    pub until_ms: Option<i64>,
    /// Slug of the company.
    pub company: Option<String>,
    /// Id of the agent.
    pub agent: Option<String>,
}

/// What calls are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
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
pub struct StatsRow<'a> {
    /// Its id.
    pub call_id: &'a str,
    /// When it began, or when its first event arrived.
    pub begun_at_ms: i64,
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
pub struct Totals {
    /// How many.
    pub calls: u64,
    /// Those with a known duration.
    pub timed: u64,
    /// Their durations together.
    pub duration_ms: i64,
    /// Costs together, of those with a known cost.
    pub cost_cents: Cost,
    /// Those of which it is known whether the agent reached its goal.
    pub judged: u64,
    /// Those in which it did.
    pub successful: u64,
}

impl Totals {
    fn add(&mut self, row: &StatsRow) {
        self.calls += 1;
        if let Some(duration_ms) = row.duration_ms.filter(|ms| *ms >= 0) {
            self.timed += 1;
            self.duration_ms = self.duration_ms.saturating_add(duration_ms);
        }
        if let Some(cost) = row.cost_cents {
            self.cost_cents.add(cost);
        }
        if let Some(successful) = row.call_successful {
            self.judged += 1;
            self.successful += u64::from(successful);
        }
    }

    /// Of those with a known duration.
    #[must_use]
    pub fn average_duration_ms(&self) -> Option<i64> {
        self.duration_ms.checked_div(i64::try_from(self.timed).ok()?)
    }

    /// From 0 to 1, of those that were judged.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        ratio(self.successful, self.judged)
    }

    /// From 0 to 1, of the calls in `all`.
    #[must_use]
    pub fn share(&self, all: &Self) -> Option<f64> {
        ratio(self.calls, all.calls)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a ratio is shown with a decimal or two")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Calls that have something in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What; `None` where it is not known.
    pub key: Option<String>,
    /// A name for it, where there is one: the agent's.
    pub name: Option<String>,
    /// Their figures.
    pub totals: Totals,
}

/// Figures over calls, in total and by each [`Grouping`].
#[derive(Debug, Default)]
pub struct CallStats {
    total: Totals,
    tests_left_out: u64,
    days: Tally<i64>,
    agents: Tally<String>,
    reasons: Tally<String>,
    sentiments: Tally<String>,
    successes: Tally<bool>,
    companies: Tally<String>,
}

impl CallStats {
    /// Counts one call; one of a test is only counted as left out.
    pub fn add(&mut self, kind: CallKind, row: &StatsRow) {
        if kind.is_test(row.call_id) {
            self.tests_left_out += 1;
            return;
        }
        self.total.add(row);
        self.days.add(Some(&row.begun_at_ms.div_euclid(DAY_MS)), row);
        self.agents.add_named(row.agent_id, row.agent_name, row);
        self.reasons.add(row.disconnection_reason, row);
        self.sentiments.add(row.user_sentiment, row);
        self.successes.add(row.call_successful.as_ref(), row);
        self.companies.add(Some(row.company), row);
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> &Totals {
        &self.total
    }

    /// Calls of tests, which nothing else here counts.
    #[must_use]
    pub fn tests_left_out(&self) -> u64 {
        self.tests_left_out
    }

    /// The largest group first; days in their order.
    #[must_use]
    pub fn groups(&self, by: Grouping) -> Vec<Group> {
        match by {
            Grouping::Day => {
                let days = self.days();
                days.into_iter().map(|(day, totals)| Group { key: Some(date(day)), name: None, totals }).collect()
            }
            Grouping::Agent => self.agents.sorted(String::clone),
            Grouping::Reason => self.reasons.sorted(String::clone),
            Grouping::Sentiment => self.sentiments.sorted(String::clone),
            Grouping::Success => self.successes.sorted(|well| if *well { "yes" } else { "no" }.to_owned()),
            Grouping::Company => self.companies.sorted(String::clone),
        }
    }

    /// Figures by day since the Unix epoch, for days on which there was a call.
    #[must_use]
    pub fn days(&self) -> Vec<(i64, Totals)> {
        let mut days: Vec<_> = self.days.known.iter().map(|(day, group)| (*day, group.totals)).collect();
        days.sort_unstable_by_key(|(day, _)| *day);
        days
    }
}

/// `2026-11-21`, for a day since the Unix epoch.
fn date(day: i64) -> String {
    let begins = day.checked_mul(DAY_MS).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    begins.map_or_else(|| format!("day {day}"), |time| time.strftime("%Y-%m-%d").to_string())
}

/// Groups by key.
#[derive(Debug)]
struct Tally<K> {
    known: HashMap<K, Group>,
    unknown: Totals,
    others: Totals,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { known: HashMap::new(), unknown: Totals::default(), others: Totals::default() }
    }
}

impl<K: Hash + Eq> Tally<K> {
    fn add<Q>(&mut self, key: Option<&Q>, row: &StatsRow)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.add_named(key, None, row);
    }

    fn add_named<Q>(&mut self, key: Option<&Q>, name: Option<&str>, row: &StatsRow)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Some(key) = key else { return self.unknown.add(row) };
        if let Some(group) = self.known.get_mut(key) {
            group.totals.add(row);
            if group.name.is_none() {
                group.name = name.map(str::to_owned);
            }
        } else if self.known.len() < MOST_GROUPS {
            let mut group = Group { key: None, name: name.map(str::to_owned), totals: Totals::default() };
            group.totals.add(row);
            self.known.insert(key.to_owned(), group);
        } else {
            self.others.add(row);
        }
    }

    fn sorted(&self, text: impl Fn(&K) -> String) -> Vec<Group> {
        let known = self.known.iter().map(|(key, group)| Group { key: Some(text(key)), ..group.clone() });
        let rest = [(None, self.unknown), (Some(OTHERS.to_owned()), self.others)];
        let rest = rest.into_iter().filter(|(_, totals)| totals.calls > 0);
        let mut groups: Vec<Group> = known.chain(rest.map(|(key, totals)| Group { key, name: None, totals })).collect();
        // Among equals what is not known comes last.
        let order = |group: &Group| (u64::MAX - group.totals.calls, group.key.is_none());
        groups.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.key.cmp(&b.key)));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(rows: &[StatsRow]) -> CallStats {
        let mut stats = CallStats::default();
        for row in rows {
            stats.add(CallKind::Call, row);
        }
        stats
    }

    #[test]
    fn groups_are_sorted_and_sum_up() {
        let row = StatsRow { call_id: "call_1", agent_id: Some("a"), duration_ms: Some(1000), ..StatsRow::default() };
        let named =
            StatsRow { agent_name: Some("Nora"), call_successful: Some(true), cost_cents: Cost::parse("0.3"), ..row };
        let other = StatsRow { agent_id: Some("b"), duration_ms: None, call_successful: Some(false), ..row };
        let unknown = StatsRow { agent_id: None, begun_at_ms: 86_400_000, duration_ms: Some(4000), ..named };
        let test = StatsRow { call_id: "call_test_1", ..named };
        let stats = stats(&[row, named, other, unknown, test]);
        assert_eq!((stats.total().calls, stats.tests_left_out()), (4, 1));
        assert_eq!(stats.total().average_duration_ms(), Some(2000));
        assert_eq!(stats.total().cost_cents.to_string(), "0.6");
        assert_eq!(stats.total().success_rate(), Some(2.0 / 3.0));
        let agents = stats.groups(Grouping::Agent);
        let counts: Vec<_> = agents.iter().map(|group| (group.key.as_deref(), group.totals.calls)).collect();
        assert_eq!(counts, [(Some("a"), 2), (Some("b"), 1), (None, 1)]);
        assert_eq!(agents[0].name.as_deref(), Some("Nora"));
        assert_eq!(agents[1].totals.average_duration_ms(), None);
        assert_eq!(agents[0].totals.share(stats.total()), Some(0.5));
        let days = stats.groups(Grouping::Day);
        assert_eq!(
            days.iter().map(|day| day.key.as_deref().unwrap()).collect::<Vec<_>>(),
            ["1970-01-01", "1970-01-02"]
        );
        let successes = stats.groups(Grouping::Success);
        assert_eq!(successes[0].key.as_deref(), Some("yes"));
    }

    #[test]
    fn different_values_are_bounded() {
        let keys: Vec<String> = (0..MOST_GROUPS + 5).map(|number| number.to_string()).collect();
        let rows: Vec<_> =
            keys.iter().map(|key| StatsRow { user_sentiment: Some(key), ..StatsRow::default() }).collect();
        let groups = stats(&rows).groups(Grouping::Sentiment);
        assert_eq!((groups.len(), groups[0].key.as_deref()), (MOST_GROUPS + 1, Some(OTHERS)));
        assert_eq!(groups[0].totals.calls, 5);
    }

    #[test]
    fn times_beyond_all_sense_have_a_day_too() {
        assert_eq!((date(20_778).as_str(), date(-1).as_str()), ("2026-11-21", "1969-12-31"));
        let days = stats(&[StatsRow { begun_at_ms: i64::MAX, ..StatsRow::default() }]).groups(Grouping::Day);
        assert!(days[0].key.as_deref().unwrap().starts_with("day "));
    }
}
