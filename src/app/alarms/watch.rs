//! Looks at everything every few seconds, and says what begins and what is over.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::judge::{COUNTED, Figures, Watched, judge};
use super::rate::Rate;
use super::shown::Shown;
use super::silence::HOUR_MS;
use super::state::{Alarms, Said};
use super::{kind::Alarm, tell};
use crate::app::Reload;
use crate::base::clock::Clock;
use crate::base::id::EventIds;
use crate::base::supervise::Supervisor;
use crate::config::AlarmSettings;
use crate::http::company::CurrentCompanies;
use crate::storage::{ActivityRow, AlarmRow, Backlog, NewEvent, Store, StoreError};
use crate::telemetry::activity::HourCount;
use crate::telemetry::counters::{Counters, Group};
use crate::telemetry::disk::DiskSpace;

/// How long the store may take; what it does not say by then is not known.
const STORE: Duration = Duration::from_secs(5);
/// Counts of hours are kept for so long: a week to compare with, and how long somebody may be silent meanwhile.
const KEPT_HOURS: i64 = 9 * 24;
/// Events that wait for a store that is away; the oldest go first when there are more.
const UNSENT: usize = 100;

/// What is looked at, and where it is said.
pub(in crate::app) struct Parts {
    /// For the settings of the moment, and the handlers at work.
    pub(in crate::app) reload: Reload,
    pub(in crate::app) store: Arc<dyn Store>,
    pub(in crate::app) counters: Arc<Counters>,
    pub(in crate::app) companies: CurrentCompanies,
    pub(in crate::app) clock: Clock,
    /// The store's folder.
    pub(in crate::app) folder: PathBuf,
    /// For the metrics.
    pub(in crate::app) shown: Shown,
}

struct Watch {
    parts: Parts,
    started_at_ms: i64,
    alarms: Alarms,
    /// As it is in the store.
    written: Vec<AlarmRow>,
    refused: BTreeMap<&'static str, Rate>,
    not_stored: Rate,
    forgot_before: i64,
    ids: EventIds,
    unsent: VecDeque<NewEvent>,
}

/// Starts watching.
pub(in crate::app) fn start(parts: Parts, supervisor: &Supervisor) {
    let stop = supervisor.clone();
    supervisor.spawn("alarms", async move {
        let mut watch = Watch::load(parts).await;
        while !stop.is_stopping() {
            let settings = watch.parts.reload.alarm_settings().await;
            watch.look(&settings).await;
            tokio::select! {
                () = stop.stopping() => {}
                () = tokio::time::sleep(Duration::from_millis(settings.look_ms)) => {}
            }
        }
        watch.write_activity().await;
    });
}

impl Watch {
    /// Goes on where the process before this one stopped.
    async fn load(parts: Parts) -> Self {
        let alarms = in_time(parts.store.alarms()).await.unwrap_or_default();
        let activity = in_time(parts.store.activity()).await.unwrap_or_default();
        parts.counters.activity().load(activity.into_iter().map(count).collect());
        Self {
            started_at_ms: parts.clock.now_ms(),
            written: alarms.clone(),
            alarms: Alarms::of(alarms),
            refused: BTreeMap::new(),
            not_stored: Rate::default(),
            forgot_before: 0,
            ids: EventIds::default(),
            unsent: VecDeque::new(),
            parts,
        }
    }

    async fn look(&mut self, settings: &AlarmSettings) {
        let figures = self.figures(settings).await;
        let (now_ms, rows) = (figures.now_ms, self.alarms.rows());
        let on = |alarm: Alarm| {
            let subjects = rows.iter().filter(|row| row.alarm == alarm.as_str());
            subjects.map(|row| row.subject.clone()).collect()
        };
        let judged = judge(&figures, settings, &on);
        let said = self.alarms.look(judged, i64::try_from(settings.calm_ms).unwrap_or(i64::MAX), now_ms);
        self.parts.shown.set(self.alarms.kinds(), &figures.ages);
        for said in &said {
            self.say(said, now_ms);
        }
        self.write_alarms().await;
        self.write_activity().await;
        self.send().await;
    }

    async fn figures(&mut self, settings: &AlarmSettings) -> Figures {
        let parts = &self.parts;
        let (now_ms, counters) = (parts.clock.now_ms(), &parts.counters);
        let dead_since_ms = now_ms.saturating_sub(i64::try_from(settings.dead_window_ms).unwrap_or(i64::MAX));
        let at_work = parts.reload.workers().at_work();
        let handlers = in_time(parts.store.backlogs(COUNTED, dead_since_ms)).await;
        let is_at_work = |backlog: &Backlog| at_work.contains(&backlog.handler);
        let refused = counters
            .of(Group::Refused)
            .map(|(reason, total)| (reason, self.refused.entry(reason).or_default().look(total, now_ms)));
        Figures {
            now_ms,
            started_at_ms: self.started_at_ms,
            handlers: handlers.map(|handlers| handlers.into_iter().filter(is_at_work).collect()),
            companies: watched(parts),
            refused: refused.collect(),
            not_stored: self.not_stored.look(counters.snapshot().get("not_stored").copied().unwrap_or(0), now_ms),
            disk: DiskSpace::under(&parts.folder),
            ages: counters.activity().ages(),
        }
    }

    fn say(&mut self, said: &Said, now_ms: i64) {
        tell::log(said, now_ms);
        // The journal is for what somebody wants to have.
        if self.parts.reload.workers().is_named(tell::event_name(said)) {
            if self.unsent.len() >= UNSENT {
                self.unsent.pop_front();
            }
            self.unsent.push_back(tell::event(said, now_ms).into_event(self.ids.next(now_ms)));
        }
    }

    /// Appends what waits; what cannot be stored waits until the next look.
    async fn send(&mut self) {
        while let Some(event) = self.unsent.front() {
            if in_time(self.parts.store.append(event.clone())).await.is_none() {
                return;
            }
            self.unsent.pop_front();
        }
    }

    async fn write_alarms(&mut self) {
        let rows = self.alarms.rows();
        if rows != self.written && in_time(self.parts.store.note_alarms(rows.clone())).await.is_some() {
            self.written = rows;
        }
    }

    /// Writes down which hours had how many events. What could not be written is, with the hour's next event.
    async fn write_activity(&mut self) {
        let activity = self.parts.counters.activity();
        let rows: Vec<_> = activity.take_changed().into_iter().map(row).collect();
        let before = self.parts.clock.now_ms().div_euclid(HOUR_MS) - KEPT_HOURS;
        let forget = (before > self.forgot_before).then_some(before);
        if forget.is_some() {
            activity.forget_before(before);
        }
        if (forget.is_some() || !rows.is_empty())
            && in_time(self.parts.store.note_activity(rows, forget)).await.is_some()
        {
            self.forgot_before = before;
        }
    }
}

/// The answer, unless the store takes too long or fails.
async fn in_time<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    match timeout(STORE, asked).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(%error, "watching: the store does not answer");
            None
        }
        Err(_) => None,
    }
}

/// The companies of the settings that sent something in the last days.
fn watched(parts: &Parts) -> Vec<Watched> {
    let activity = parts.counters.activity();
    let companies = parts.companies.get();
    let seen = companies.iter().filter_map(|company| {
        let seen = activity.company(company.id)?;
        Some(Watched { slug: company.slug.to_string(), seen, agents: activity.agents(company.id) })
    });
    seen.collect()
}

fn row(count: HourCount) -> ActivityRow {
    let HourCount { company_id, agent_id, hour, events, last_ms } = count;
    ActivityRow { company_id, agent_id, hour, events, last_ms }
}

fn count(row: ActivityRow) -> HourCount {
    let ActivityRow { company_id, agent_id, hour, events, last_ms } = row;
    HourCount { company_id, agent_id, hour, events, last_ms }
}
