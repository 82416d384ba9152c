//! Statistics of calls: one pass over their rows fills all groupings.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use jiff::Timestamp;

use super::{CallKind, Cost};

const DAY_MS: i64 = 24 * 3_600_000;
/// Groups per grouping; calls with further values are counted in one group. The values come from bodies, so without a
/// limit a sender could exhaust the memory.
const MAX_GROUPS: usize = 10_000;
/// Key of the group of the calls above [`MAX_GROUPS`].
const OTHER_GROUPS_KEY: &str = "(others)";

/// Selects the calls to count; all set conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallStatsFilter {
    pub kind: CallKind,
    /// Earliest start, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// The start must be before this time.
    pub until_ms: Option<i64>,
    /// The slug of the company.
    pub company: Option<String>,
    pub agent_id: Option<String>,
}

/// The value by which calls are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallGrouping {
    /// The day in UTC on which the call began.
    Day,
    Agent,
    Reason,
    Sentiment,
    /// Whether the agent reached its goal.
    Success,
    /// The slug of the company.
    Company,
}

impl CallGrouping {
    const ALL: [Self; 6] = [Self::Day, Self::Agent, Self::Reason, Self::Sentiment, Self::Success, Self::Company];

    /// The name in `--by` and `--json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Agent => "agent",
            Self::Reason => "reason",
            Self::Sentiment => "sentiment",
            Self::Success => "success",
            Self::Company => "company",
        }
    }

    /// The groupings of a kind: chats have no disconnection reason.
    pub fn for_kind(kind: CallKind) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |grouping| kind == CallKind::Call || *grouping != Self::Reason)
    }
}

/// The values of one call that statistics use.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallStatsRow<'a> {
    pub call_id: &'a str,
    /// Start of the call, or the arrival of its first event if the start is unknown.
    pub started_at_ms: i64,
    /// The slug of the company.
    pub company: &'a str,
    pub agent_id: Option<&'a str>,
    pub agent_name: Option<&'a str>,
    pub disconnection_reason: Option<&'a str>,
    pub user_sentiment: Option<&'a str>,
    pub call_successful: Option<bool>,
    pub duration_ms: Option<i64>,
    pub cost_cents: Option<Cost>,
}

/// Totals of a set of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTotals {
    pub calls: u64,
    /// Number of calls with a known duration.
    pub calls_with_duration: u64,
    pub total_duration_ms: i64,
    /// Sum of the known costs.
    pub total_cost_cents: Cost,
    /// Number of calls of which it is known whether the agent reached its goal.
    pub calls_with_success_known: u64,
    /// Number of calls in which the agent reached its goal.
    pub successful_calls: u64,
}

impl CallTotals {
    fn add(&mut self, row: &CallStatsRow) {
        self.calls += 1;
        // A negative duration is an error of the sender, and would make averages wrong.
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

    /// Average of the known durations.
    #[must_use]
    pub fn average_duration_ms(&self) -> Option<i64> {
        self.total_duration_ms.checked_div(i64::try_from(self.calls_with_duration).ok()?)
    }

    /// Share of successful calls among those whose success is known, from 0 to 1.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        ratio(self.successful_calls, self.calls_with_success_known)
    }

    /// Share of these calls among those in `all`, from 0 to 1.
    #[must_use]
    pub fn share_of(&self, all: &Self) -> Option<f64> {
        ratio(self.calls, all.calls)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a ratio is shown with one or two decimals")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The totals of the calls with one value of a [`CallGrouping`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallGroup {
    /// The value; `None` for calls of which it is not known.
    pub key: Option<String>,
    /// The name of the agent in a grouping by agent.
    pub name: Option<String>,
    pub totals: CallTotals,
}

/// Totals of calls, over all and by every [`CallGrouping`].
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
    /// Adds one call. A test call is only counted as excluded.
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

    /// The totals over all calls.
    #[must_use]
    pub fn totals(&self) -> &CallTotals {
        &self.total
    }

    /// Number of test calls, which no other figure includes.
    #[must_use]
    pub fn excluded_tests(&self) -> u64 {
        self.excluded_tests
    }

    /// The groups by number of calls, largest first; days in the order of time.
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

    /// Totals by day (days since the Unix epoch), for days with at least one call.
    #[must_use]
    pub fn days(&self) -> Vec<(i64, CallTotals)> {
        let mut days: Vec<_> = self.days.groups.iter().map(|(day, group)| (*day, group.totals)).collect();
        days.sort_unstable_by_key(|(day, _)| *day);
        days
    }
}

/// Formats a day since the Unix epoch like `2026-11-21`.
fn format_day(day: i64) -> String {
    // Times come from bodies and may lie outside the range of dates.
    let start = day.checked_mul(DAY_MS).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    start.map_or_else(|| format!("day {day}"), |time| time.strftime("%Y-%m-%d").to_string())
}

/// Totals of calls by the values of one grouping.
#[derive(Debug)]
struct GroupTotals<K> {
    groups: HashMap<K, CallGroup>,
    /// Calls of which the value is not known.
    unknown: CallTotals,
    /// Calls with values above [`MAX_GROUPS`].
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
        // A borrowed key, because nearly every call belongs to a known group and needs no allocation.
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
        let mut groups: Vec<CallGroup> = known.collect();
        for (key, totals) in [(None, self.unknown), (Some(OTHER_GROUPS_KEY.to_owned()), self.others)] {
            if totals.calls > 0 {
                groups.push(CallGroup { key, name: None, totals });
            }
        }
        // Among groups of the same size the unknown one comes last.
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
    fn the_number_of_groups_is_limited() {
        let keys: Vec<String> = (0..MAX_GROUPS + 5).map(|number| number.to_string()).collect();
        let rows: Vec<_> =
            keys.iter().map(|key| CallStatsRow { user_sentiment: Some(key), ..CallStatsRow::default() }).collect();
        let groups = stats(&rows).groups(CallGrouping::Sentiment);
        assert_eq!((groups.len(), groups[0].key.as_deref()), (MAX_GROUPS + 1, Some(OTHER_GROUPS_KEY)));
        assert_eq!(groups[0].totals.calls, 5);
    }

    #[test]
    fn a_time_outside_the_range_of_dates_has_a_day() {
        assert_eq!((format_day(20_778).as_str(), format_day(-1).as_str()), ("2026-11-21", "1969-12-31"));
        let days =
            stats(&[CallStatsRow { started_at_ms: i64::MAX, ..CallStatsRow::default() }]).groups(CallGrouping::Day);
        assert!(days[0].key.as_deref().unwrap().starts_with("day "));
    }
}
