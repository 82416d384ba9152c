//! When events came: the latest and how many an hour, by company and agent, and how old their signatures were. What silence
//! and a wrong clock are told by.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

const HOUR_MS: i64 = 3_600_000;
/// Agents of a company that are told apart; further ones count for the company only.
const MOST_AGENTS: usize = 200;
/// The latest ages of signatures that are looked at.
const AGES: usize = 16;

/// What came in so far. Noting an event takes a short lock and no allocation, but for an agent's first event.
#[derive(Debug, Default)]
pub struct Activity(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    companies: HashMap<i64, Company>,
    ages: VecDeque<Age>,
}

#[derive(Debug, Default)]
struct Company {
    own: Counted,
    agents: HashMap<String, Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    seen: Seen,
    /// Hours whose counts have changed since they were written down.
    changed: BTreeSet<i64>,
}

/// What is known of a company or an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The latest event, in milliseconds since the Unix epoch.
    pub last_ms: i64,
    /// Events by hour since the Unix epoch.
    pub hours: BTreeMap<i64, u64>,
}

/// How old a right signature was when it came; negative: from the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Its age in milliseconds.
    pub age_ms: i64,
}

/// Events of one company, or of one of its agents, in one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourCount {
    /// The company's number.
    pub company_id: i64,
    /// The agent; `None` for the whole company.
    pub agent_id: Option<String>,
    /// Since the Unix epoch.
    pub hour: i64,
    /// How many.
    pub events: u64,
    /// When the latest came, in milliseconds since the Unix epoch.
    pub last_ms: i64,
}

impl Counted {
    fn note(&mut self, at_ms: i64) {
        let hour = at_ms.div_euclid(HOUR_MS);
        self.seen.last_ms = self.seen.last_ms.max(at_ms);
        *self.seen.hours.entry(hour).or_default() += 1;
        self.changed.insert(hour);
    }

    fn take_changed(&mut self, company_id: i64, agent_id: Option<&str>) -> Vec<HourCount> {
        let count = |hour| HourCount {
            company_id,
            agent_id: agent_id.map(str::to_owned),
            hour,
            events: self.seen.hours.get(&hour).copied().unwrap_or(0),
            last_ms: self.seen.last_ms.min((hour + 1) * HOUR_MS - 1),
        };
        let changed = self.changed.iter().copied().map(count).collect();
        self.changed.clear();
        changed
    }
}

impl Activity {
    /// An authentic event came.
    pub fn note(&self, company_id: i64, agent_id: Option<&str>, at_ms: i64) {
        let mut inner = self.lock();
        let company = inner.companies.entry(company_id).or_default();
        company.own.note(at_ms);
        let Some(agent_id) = agent_id.filter(|agent| !agent.is_empty()) else { return };
        if let Some(agent) = company.agents.get_mut(agent_id) {
            agent.note(at_ms);
        } else if company.agents.len() < MOST_AGENTS {
            company.agents.entry(agent_id.to_owned()).or_default().note(at_ms);
        }
    }

    /// A right signature had this age when it came.
    pub fn note_age(&self, age: Age) {
        let mut inner = self.lock();
        if inner.ages.len() == AGES {
            inner.ages.pop_front();
        }
        inner.ages.push_back(age);
    }

    /// Adds what was written down before a restart.
    pub fn load(&self, counts: Vec<HourCount>) {
        let mut inner = self.lock();
        for count in counts {
            let company = inner.companies.entry(count.company_id).or_default();
            let counted = match count.agent_id {
                None => &mut company.own,
                Some(agent) => company.agents.entry(agent).or_default(),
            };
            counted.seen.last_ms = counted.seen.last_ms.max(count.last_ms);
            *counted.seen.hours.entry(count.hour).or_default() += count.events;
        }
    }

    /// The counts that have changed since this was called last.
    pub fn take_changed(&self) -> Vec<HourCount> {
        let mut counts = Vec::new();
        for (id, company) in &mut self.lock().companies {
            counts.extend(company.own.take_changed(*id, None));
            for (agent, counted) in &mut company.agents {
                counts.extend(counted.take_changed(*id, Some(agent)));
            }
        }
        counts
    }

    /// Forgets hours before this one, and whoever had no event since.
    pub fn forget_before(&self, hour: i64) {
        let keep = |counted: &mut Counted| {
            counted.seen.hours.retain(|known, _| *known >= hour);
            !counted.seen.hours.is_empty()
        };
        self.lock().companies.retain(|_, company| {
            company.agents.retain(|_, agent| keep(agent));
            keep(&mut company.own)
        });
    }

    /// What is known of a company; `None` when it had no event in the last days.
    #[must_use]
    pub fn company(&self, company_id: i64) -> Option<Seen> {
        self.lock().companies.get(&company_id).map(|company| company.own.seen.clone())
    }

    /// When the latest event of a company came.
    #[must_use]
    pub fn last_ms(&self, company_id: i64) -> Option<i64> {
        self.lock().companies.get(&company_id).map(|company| company.own.seen.last_ms)
    }

    /// The agents of a company, by id.
    #[must_use]
    pub fn agents(&self, company_id: i64) -> Vec<(String, Seen)> {
        let inner = self.lock();
        let agents = inner.companies.get(&company_id).into_iter().flat_map(|company| &company.agents);
        let mut agents: Vec<_> = agents.map(|(id, counted)| (id.clone(), counted.seen.clone())).collect();
        agents.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        agents
    }

    /// The ages of the latest signatures that were right.
    #[must_use]
    pub fn ages(&self) -> Vec<Age> {
        self.lock().ages.iter().copied().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_comes_back() {
        let before = Activity::default();
        before.note(1, Some("agent_a"), 10);
        before.note(1, Some(""), HOUR_MS + 5);
        before.note(2, None, 7);
        let mut counts = before.take_changed();
        assert_eq!(before.take_changed(), []);
        counts.sort_by_key(|count| (count.company_id, count.agent_id.clone(), count.hour));
        assert_eq!(counts.len(), 4);
        let after = Activity::default();
        after.load(counts);
        for company in [1, 2] {
            assert_eq!(after.company(company), before.company(company));
            assert_eq!(after.agents(company), before.agents(company));
        }
        assert_eq!(after.take_changed(), [], "known already");
    }

    #[test]
    fn agents_are_bounded_and_the_silent_are_forgotten() {
        let activity = Activity::default();
        (0..300).for_each(|number| activity.note(1, Some(&format!("agent_{number}")), 5 * HOUR_MS));
        assert_eq!(activity.agents(1).len(), MOST_AGENTS);
        assert_eq!(activity.company(1).unwrap().hours, BTreeMap::from([(5, 300)]));
        activity.note(2, None, 9 * HOUR_MS);
        activity.forget_before(6);
        assert_eq!((activity.company(1), activity.last_ms(2)), (None, Some(9 * HOUR_MS)));
    }
}
