//! Statistics of calls, summed up from totals and from single calls.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

use jiff::Timestamp;

use super::{CallDimension, CallKind, CallTotals, CountedCall};

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
    /// The agent and its version.
    Version,
    Reason,
    Sentiment,
    /// Whether the agent reached its goal.
    Success,
    /// The slug of the company.
    Company,
}

impl CallGrouping {
    const ALL: [Self; 7] =
        [Self::Day, Self::Agent, Self::Version, Self::Reason, Self::Sentiment, Self::Success, Self::Company];

    /// The name in `--by` and `--json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Agent => "agent",
            Self::Version => "version",
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
    excluded_tests: i64,
    days: GroupTotals<i64>,
    agents: GroupTotals<String>,
    agent_versions: GroupTotals<(String, String)>,
    disconnection_reasons: GroupTotals<String>,
    sentiments: GroupTotals<String>,
    successes: GroupTotals<String>,
    companies: GroupTotals<String>,
    agent_names: HashMap<String, String>,
}

impl CallStats {
    /// Adds one call of the company with this slug.
    pub fn add_call(&mut self, call: &CountedCall, company: &str) {
        let totals = call.totals();
        let day = call.started_at_ms.div_euclid(DAY_MS);
        for (dimension, value) in call.values() {
            self.add_value(day, dimension, &value, &totals);
            match (dimension, call.agent_id) {
                (CallDimension::Success, agent) => {
                    self.add_to_company(company, &totals);
                    if let Some(agent) = agent {
                        self.add_to_agent(agent, &totals);
                    }
                }
                (CallDimension::AgentVersion, Some(agent)) => self.add_to_agent_version(agent, &value, &totals),
                _ => {}
            }
        }
    }

    /// Adds calls that began on `day` (days since the Unix epoch) and have this value.
    pub fn add_value(&mut self, day: i64, dimension: CallDimension, value: &str, totals: &CallTotals) {
        match dimension {
            CallDimension::Success => {
                self.total += totals;
                self.days.add(&day, totals);
                // Calls without the value are in no group: `groups` subtracts the groups from the total.
                if !value.is_empty() {
                    self.successes.add(value, totals);
                }
            }
            CallDimension::DisconnectionReason => self.disconnection_reasons.add(value, totals),
            CallDimension::Sentiment => self.sentiments.add(value, totals),
            CallDimension::AgentVersion => {}
            CallDimension::Test => self.excluded_tests += totals.calls,
        }
    }

    pub fn add_to_company(&mut self, company: &str, totals: &CallTotals) {
        self.companies.add(company, totals);
    }

    pub fn add_to_agent(&mut self, agent_id: &str, totals: &CallTotals) {
        self.agents.add(agent_id, totals);
    }

    pub fn add_to_agent_version(&mut self, agent_id: &str, version: &str, totals: &CallTotals) {
        self.agent_versions.add(&(agent_id.to_owned(), version.to_owned()), totals);
    }

    /// Ids of the agents that have a group.
    pub fn agent_ids(&self) -> Vec<String> {
        self.agents.groups.keys().cloned().collect()
    }

    pub fn name_agent(&mut self, agent_id: &str, name: String) {
        self.agent_names.insert(agent_id.to_owned(), name);
    }

    /// The totals over all calls.
    #[must_use]
    pub fn totals(&self) -> &CallTotals {
        &self.total
    }

    /// Number of test calls, which no other figure includes.
    #[must_use]
    pub fn excluded_tests(&self) -> i64 {
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
            CallGrouping::Agent => {
                let mut groups = self.agents.sorted_groups(&self.total, String::clone);
                for group in &mut groups {
                    group.name = group.key.as_ref().and_then(|agent| self.agent_names.get(agent).cloned());
                }
                groups
            }
            CallGrouping::Version => {
                self.agent_versions.sorted_groups(&self.total, |(agent, version)| format!("{agent} v{version}"))
            }
            CallGrouping::Reason => self.disconnection_reasons.sorted_groups(&self.total, String::clone),
            CallGrouping::Sentiment => self.sentiments.sorted_groups(&self.total, String::clone),
            CallGrouping::Success => self.successes.sorted_groups(&self.total, String::clone),
            CallGrouping::Company => self.companies.sorted_groups(&self.total, String::clone),
        }
    }

    /// Totals by day (days since the Unix epoch), for days with at least one call.
    #[must_use]
    pub fn days(&self) -> Vec<(i64, CallTotals)> {
        let mut days: Vec<_> = self.days.groups.iter().map(|(day, totals)| (*day, *totals)).collect();
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
    groups: HashMap<K, CallTotals>,
    /// Calls with values above [`MAX_GROUPS`].
    others: CallTotals,
}

impl<K> Default for GroupTotals<K> {
    fn default() -> Self {
        Self { groups: HashMap::new(), others: CallTotals::default() }
    }
}

impl<K: Hash + Eq> GroupTotals<K> {
    fn add<Q>(&mut self, key: &Q, totals: &CallTotals)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        // A borrowed key, because nearly all totals belong to a known group and need no allocation.
        if let Some(group) = self.groups.get_mut(key) {
            *group += totals;
        } else if self.groups.len() < MAX_GROUPS {
            self.groups.insert(key.to_owned(), *totals);
        } else {
            self.others += totals;
        }
    }

    /// The groups, largest first. The calls of `all` that are in no group are those without the value.
    fn sorted_groups(&self, all: &CallTotals, text: impl Fn(&K) -> String) -> Vec<CallGroup> {
        let mut unknown = *all;
        for totals in self.groups.values().chain([&self.others]) {
            unknown += &-*totals;
        }
        let known = self.groups.iter().map(|(key, totals)| (Some(text(key)), *totals));
        let rest = [(None, unknown), (Some(OTHER_GROUPS_KEY.to_owned()), self.others)];
        let all = known.chain(rest).filter(|(_, totals)| totals.calls != 0);
        let mut groups: Vec<_> = all.map(|(key, totals)| CallGroup { key, name: None, totals }).collect();
        // Among groups of the same size the unknown one comes last.
        groups.sort_by(|a, b| {
            let order = |group: &CallGroup| (Reverse(group.totals.calls), group.key.is_none());
            order(a).cmp(&order(b)).then_with(|| a.key.cmp(&b.key))
        });
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::CompanyId;
    use crate::calls::Cost;

    const CALL: CountedCall = CountedCall {
        company_id: CompanyId::new(1),
        is_test: false,
        started_at_ms: 0,
        agent_id: None,
        agent_version: None,
        disconnection_reason: None,
        user_sentiment: None,
        call_successful: None,
        duration_ms: None,
        cost_cents: None,
    };

    fn stats(calls: &[CountedCall]) -> CallStats {
        let mut stats = CallStats::default();
        for call in calls {
            stats.add_call(call, "default");
        }
        stats
    }

    #[test]
    fn groups_are_sorted_and_sum_up() {
        let call = CountedCall { agent_id: Some("a"), duration_ms: Some(1000), ..CALL };
        let successful =
            CountedCall { agent_version: Some(4), call_successful: Some(true), cost_cents: Cost::parse("0.3"), ..call };
        let other = CountedCall { agent_id: Some("b"), duration_ms: None, call_successful: Some(false), ..call };
        let unknown = CountedCall { agent_id: None, started_at_ms: 86_400_000, duration_ms: Some(4000), ..successful };
        let test = CountedCall { is_test: true, ..successful };
        let mut stats = stats(&[call, successful, other, unknown, test]);
        stats.name_agent("a", "Nora".into());
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
        let versions = stats.groups(CallGrouping::Version);
        let counts: Vec<_> = versions.iter().map(|group| (group.key.as_deref(), group.totals.calls)).collect();
        assert_eq!(counts, [(None, 3), (Some("a v4"), 1)]);
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
        let calls: Vec<_> = keys.iter().map(|key| CountedCall { user_sentiment: Some(key), ..CALL }).collect();
        let groups = stats(&calls).groups(CallGrouping::Sentiment);
        assert_eq!((groups.len(), groups[0].key.as_deref()), (MAX_GROUPS + 1, Some(OTHER_GROUPS_KEY)));
        assert_eq!(groups[0].totals.calls, 5);
    }

    #[test]
    fn a_time_outside_the_range_of_dates_has_a_day() {
        assert_eq!((format_day(20_778).as_str(), format_day(-1).as_str()), ("2026-11-21", "1969-12-31"));
        let days = stats(&[CountedCall { started_at_ms: i64::MAX, ..CALL }]).groups(CallGrouping::Day);
        assert!(days[0].key.as_deref().unwrap().starts_with("day "));
    }
}
