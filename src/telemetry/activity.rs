//! Event counts per hour by company and agent, and the ages of recent signatures: the data of the alarms `silence` and
//! `clock_skew`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::base::id::CompanyId;

const HOUR_MS: i64 = 3_600_000;
/// Maximum number of agents per company with their own counts; events of further agents count for the company only.
const MAX_AGENTS_PER_COMPANY: usize = 200;
/// Number of remembered signature ages.
const MAX_SIGNATURE_AGES: usize = 16;

/// Hourly event counts and recent signature ages. Recording an event takes a short lock and allocates only for the
/// first event of an agent.
#[derive(Debug, Default)]
pub struct Activity(Mutex<ActivityInner>);

#[derive(Debug, Default)]
struct ActivityInner {
    companies: HashMap<CompanyId, CompanyActivity>,
    signature_ages: VecDeque<SignatureAge>,
}

#[derive(Debug, Default)]
struct CompanyActivity {
    total: ActivityCounter,
    agents: HashMap<String, ActivityCounter>,
}

#[derive(Debug, Default)]
struct ActivityCounter {
    history: ActivityHistory,
    /// Number of events by hour that are not stored yet.
    unstored_by_hour: BTreeMap<i64, u64>,
}

/// The recent activity of a company or an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivityHistory {
    /// The latest event, in milliseconds since the Unix epoch.
    pub last_event_at_ms: i64,
    /// Number of events by hour; hours are counted since the Unix epoch.
    pub events_by_hour: BTreeMap<i64, u64>,
}

/// The age of a valid signature at the time of its request; negative when the signature is from the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureAge {
    /// When the request was received, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The receiver's time minus the time in the signature, in milliseconds.
    pub age_ms: i64,
}

/// The number of events of a company, or of one of its agents, within one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourlyEventCount {
    /// The company's id in the store.
    pub company_id: CompanyId,
    /// The agent's id; `None` for the total of the company.
    pub agent_id: Option<String>,
    /// The hour, counted since the Unix epoch.
    pub hour: i64,
    /// Number of events received within the hour.
    pub event_count: u64,
    /// When the latest of these events was received, in milliseconds since the Unix epoch.
    pub last_event_at_ms: i64,
}

impl ActivityInner {
    fn counter(&mut self, company_id: CompanyId, agent_id: Option<String>) -> &mut ActivityCounter {
        let company = self.companies.entry(company_id).or_default();
        match agent_id {
            None => &mut company.total,
            Some(agent) => company.agents.entry(agent).or_default(),
        }
    }
}

impl ActivityCounter {
    fn record(&mut self, at_ms: i64) {
        let hour = at_ms.div_euclid(HOUR_MS);
        self.history.last_event_at_ms = self.history.last_event_at_ms.max(at_ms);
        *self.history.events_by_hour.entry(hour).or_default() += 1;
        *self.unstored_by_hour.entry(hour).or_default() += 1;
    }

    fn take_unstored(&mut self, company_id: CompanyId, agent_id: Option<&str>) -> Vec<HourlyEventCount> {
        let last_event_at_ms = self.history.last_event_at_ms;
        let count = |(hour, event_count)| HourlyEventCount {
            company_id,
            agent_id: agent_id.map(str::to_owned),
            hour,
            event_count,
            // The history has only the latest event of all hours, which bounds that of this hour.
            last_event_at_ms: last_event_at_ms.min((hour + 1) * HOUR_MS - 1),
        };
        std::mem::take(&mut self.unstored_by_hour).into_iter().map(count).collect()
    }
}

impl Activity {
    /// Records an event whose signature was verified.
    pub fn record_event(&self, company_id: CompanyId, agent_id: Option<&str>, at_ms: i64) {
        let mut inner = self.lock();
        let company = inner.companies.entry(company_id).or_default();
        company.total.record(at_ms);
        let Some(agent_id) = agent_id.filter(|agent| !agent.is_empty()) else { return };
        if let Some(agent) = company.agents.get_mut(agent_id) {
            agent.record(at_ms);
        } else if company.agents.len() < MAX_AGENTS_PER_COMPANY {
            company.agents.entry(agent_id.to_owned()).or_default().record(at_ms);
        }
    }

    /// Records the age of a valid signature.
    pub fn record_signature_age(&self, age: SignatureAge) {
        let mut inner = self.lock();
        if inner.signature_ages.len() == MAX_SIGNATURE_AGES {
            inner.signature_ages.pop_front();
        }
        inner.signature_ages.push_back(age);
    }

    /// Replaces what is known of the stored counts, which other processes may have written. Counts that were not stored yet
    /// are kept.
    pub fn load(&self, counts: Vec<HourlyEventCount>) {
        let mut inner = self.lock();
        for company in inner.companies.values_mut() {
            for counter in company.agents.values_mut().chain([&mut company.total]) {
                counter.history.events_by_hour.clone_from(&counter.unstored_by_hour);
            }
        }
        for count in counts {
            let history = &mut inner.counter(count.company_id, count.agent_id).history;
            history.last_event_at_ms = history.last_event_at_ms.max(count.last_event_at_ms);
            *history.events_by_hour.entry(count.hour).or_default() += count.event_count;
        }
    }

    /// Moves the times of events that were received while the clock was ahead to `now_ms`. Otherwise no silence would be
    /// noticed until the clock reaches them.
    pub fn correct_future_times(&self, now_ms: i64) {
        for company in self.lock().companies.values_mut() {
            for counter in company.agents.values_mut().chain([&mut company.total]) {
                counter.history.last_event_at_ms = counter.history.last_event_at_ms.min(now_ms);
            }
        }
    }

    /// Returns the numbers of events since the last call, for storing them. Give them to
    /// [`Activity::return_unstored`] if that fails.
    pub fn take_unstored(&self) -> Vec<HourlyEventCount> {
        let mut counts = Vec::new();
        for (id, company) in &mut self.lock().companies {
            counts.extend(company.total.take_unstored(*id, None));
            for (agent, counter) in &mut company.agents {
                counts.extend(counter.take_unstored(*id, Some(agent)));
            }
        }
        counts
    }

    /// Takes back numbers that could not be stored, so that the next [`Activity::take_unstored`] returns them.
    pub fn return_unstored(&self, counts: Vec<HourlyEventCount>) {
        let mut inner = self.lock();
        for count in counts {
            let counter = inner.counter(count.company_id, count.agent_id);
            *counter.unstored_by_hour.entry(count.hour).or_default() += count.event_count;
        }
    }

    /// Removes the counts of hours before `hour`, and companies and agents that had no event since.
    pub fn prune_before(&self, hour: i64) {
        let keep = |counter: &mut ActivityCounter| {
            counter.history.events_by_hour.retain(|known, _| *known >= hour);
            counter.unstored_by_hour.retain(|known, _| *known >= hour);
            !counter.history.events_by_hour.is_empty()
        };
        self.lock().companies.retain(|_, company| {
            company.agents.retain(|_, agent| keep(agent));
            keep(&mut company.total)
        });
    }

    /// The history of a company; `None` when it had no event within the kept hours.
    #[must_use]
    pub fn company_history(&self, company_id: CompanyId) -> Option<ActivityHistory> {
        self.lock().companies.get(&company_id).map(|company| company.total.history.clone())
    }

    /// When the latest event of a company was received, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn last_event_at_ms(&self, company_id: CompanyId) -> Option<i64> {
        self.lock().companies.get(&company_id).map(|company| company.total.history.last_event_at_ms)
    }

    /// The histories of the agents of a company, sorted by agent id.
    #[must_use]
    pub fn agent_histories(&self, company_id: CompanyId) -> Vec<(String, ActivityHistory)> {
        let inner = self.lock();
        let agents = inner.companies.get(&company_id).into_iter().flat_map(|company| &company.agents);
        let mut agents: Vec<_> = agents.map(|(id, counter)| (id.clone(), counter.history.clone())).collect();
        agents.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        agents
    }

    /// The ages of the latest valid signatures, oldest first.
    #[must_use]
    pub fn signature_ages(&self) -> Vec<SignatureAge> {
        self.lock().signature_ages.iter().copied().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ActivityInner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_counts_are_restored() {
        let before = Activity::default();
        before.record_event(CompanyId::new(1), Some("agent_a"), 10);
        before.record_event(CompanyId::new(1), Some(""), HOUR_MS + 5);
        before.record_event(CompanyId::new(2), None, 7);
        let mut counts = before.take_unstored();
        assert_eq!(before.take_unstored(), []);
        counts.sort_by_key(|count| (count.company_id, count.agent_id.clone(), count.hour));
        assert_eq!(counts.len(), 4);
        let after = Activity::default();
        after.load(counts);
        for company in [1, 2] {
            assert_eq!(after.company_history(CompanyId::new(company)), before.company_history(CompanyId::new(company)));
            assert_eq!(after.agent_histories(CompanyId::new(company)), before.agent_histories(CompanyId::new(company)));
        }
        assert_eq!(after.take_unstored(), [], "stored already");
    }

    #[test]
    fn an_event_is_not_later_than_now() {
        let activity = Activity::default();
        activity.record_event(CompanyId::new(1), Some("agent_a"), 50 * HOUR_MS);
        activity.correct_future_times(HOUR_MS);
        assert_eq!(activity.last_event_at_ms(CompanyId::new(1)), Some(HOUR_MS));
        assert_eq!(activity.agent_histories(CompanyId::new(1))[0].1.last_event_at_ms, HOUR_MS);
        activity.record_event(CompanyId::new(1), None, 2 * HOUR_MS);
        assert_eq!(activity.last_event_at_ms(CompanyId::new(1)), Some(2 * HOUR_MS));
    }

    #[test]
    fn only_events_since_the_last_stored_ones_are_taken() {
        let activity = Activity::default();
        let counts = |activity: &Activity| {
            activity.take_unstored().iter().map(|count| (count.hour, count.event_count)).collect::<Vec<_>>()
        };
        activity.record_event(CompanyId::new(1), None, 10);
        activity.record_event(CompanyId::new(1), None, 20);
        assert_eq!(counts(&activity), [(0, 2)]);
        activity.record_event(CompanyId::new(1), None, 30);
        let not_stored = activity.take_unstored();
        activity.record_event(CompanyId::new(1), None, HOUR_MS);
        activity.record_event(CompanyId::new(1), None, 40);
        activity.return_unstored(not_stored);
        assert_eq!(counts(&activity), [(0, 2), (1, 1)]);
    }

    #[test]
    fn stored_counts_are_loaded_again() {
        let activity = Activity::default();
        let company_id = CompanyId::new(1);
        activity.record_event(company_id, Some("agent_1"), 10);
        let mut stored = activity.take_unstored();
        activity.record_event(company_id, Some("agent_1"), 20);
        // Another process has added 5 events.
        for count in &mut stored {
            count.event_count += 5;
        }
        for _ in 0..2 {
            activity.load(stored.clone());
            let events = activity.company_history(company_id).unwrap().events_by_hour;
            assert_eq!(events, BTreeMap::from([(0, 7)]), "6 stored ones and one that is not");
            assert_eq!(activity.agent_histories(company_id)[0].1.events_by_hour, events);
        }
        assert_eq!(activity.take_unstored().len(), 2);
    }

    #[test]
    fn agents_are_limited_and_inactive_companies_are_pruned() {
        let activity = Activity::default();
        (0..300)
            .for_each(|number| activity.record_event(CompanyId::new(1), Some(&format!("agent_{number}")), 5 * HOUR_MS));
        assert_eq!(activity.agent_histories(CompanyId::new(1)).len(), MAX_AGENTS_PER_COMPANY);
        assert_eq!(activity.company_history(CompanyId::new(1)).unwrap().events_by_hour, BTreeMap::from([(5, 300)]));
        activity.record_event(CompanyId::new(2), None, 9 * HOUR_MS);
        activity.prune_before(6);
        assert_eq!(
            (activity.company_history(CompanyId::new(1)), activity.last_event_at_ms(CompanyId::new(2))),
            (None, Some(9 * HOUR_MS))
        );
    }
}
