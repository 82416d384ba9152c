//! Looks at everything every few seconds, and says what begins and what is over.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::evaluate::{AlarmInputs, CompanyHistory, MAX_COUNTED_DELIVERIES, evaluate};
use super::raised::{AlarmNotification, RaisedAlarms};
use super::rate::MinuteRate;
use super::silence::HOUR_MS;
use super::status::AlarmStatus;
use super::{kind::AlarmKind, notify};
use crate::app::ReloadHandle;
use crate::base::clock::Clock;
use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::config::AlarmSettings;
use crate::http::company::CurrentCompanyDirectory;
use crate::storage::{ActivityRow, AlarmRow, HandlerBacklog, NewEvent, Store, StoreError};
use crate::telemetry::activity::HourlyEventCount;
use crate::telemetry::disk::DiskSpace;
use crate::telemetry::requests::{CounterGroup, RequestCounters};

/// How long the store may take; what it does not say by then is not known.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// Counts of hours are kept for so long: a week to compare with, and how long somebody may be silent meanwhile.
const ACTIVITY_HOURS_KEPT: i64 = 9 * 24;
/// Events that wait for a store that is away; the oldest go first when there are more.
const MAX_PENDING_EVENTS: usize = 100;

/// What is looked at, and where it is said.
pub(in crate::app) struct AlarmMonitorDeps {
    /// For the settings of the moment, and the handlers at work.
    pub(in crate::app) reload: ReloadHandle,
    pub(in crate::app) store: Arc<dyn Store>,
    pub(in crate::app) counters: Arc<RequestCounters>,
    pub(in crate::app) companies: CurrentCompanyDirectory,
    pub(in crate::app) clock: Clock,
    /// The store's folder.
    pub(in crate::app) store_folder: PathBuf,
    /// For the metrics.
    pub(in crate::app) status: AlarmStatus,
}

struct AlarmMonitor {
    deps: AlarmMonitorDeps,
    started_at_ms: i64,
    raised: RaisedAlarms,
    /// As it is in the store.
    stored_rows: Vec<AlarmRow>,
    rejected_rates: BTreeMap<&'static str, MinuteRate>,
    not_stored_rate: MinuteRate,
    pruned_before_hour: i64,
    event_ids: EventIdGenerator,
    pending_events: VecDeque<NewEvent>,
}

/// Starts watching.
pub(in crate::app) fn start(parts: AlarmMonitorDeps, supervisor: &Supervisor) {
    let stop = supervisor.clone();
    supervisor.spawn("alarms", async move {
        let mut watch = AlarmMonitor::load(parts).await;
        while !stop.is_stopping() {
            let settings = watch.deps.reload.alarm_settings().await;
            watch.check_all(&settings).await;
            tokio::select! {
                () = stop.wait_for_stop() => {}
                () = tokio::time::sleep(Duration::from_millis(settings.check_interval_ms)) => {}
            }
        }
        watch.store_activity().await;
    });
}

impl AlarmMonitor {
    /// Goes on where the process before this one stopped.
    async fn load(parts: AlarmMonitorDeps) -> Self {
        let alarms = with_store_timeout(parts.store.list_alarms()).await.unwrap_or_default();
        let activity = with_store_timeout(parts.store.list_activity()).await.unwrap_or_default();
        parts.counters.activity().load(activity.into_iter().map(from_activity_row).collect());
        Self {
            started_at_ms: parts.clock.now_ms(),
            stored_rows: alarms.clone(),
            raised: RaisedAlarms::from_rows(alarms),
            rejected_rates: BTreeMap::new(),
            not_stored_rate: MinuteRate::default(),
            pruned_before_hour: 0,
            event_ids: EventIdGenerator::default(),
            pending_events: VecDeque::new(),
            deps: parts,
        }
    }

    async fn check_all(&mut self, settings: &AlarmSettings) {
        let figures = self.collect_inputs(settings).await;
        let (now_ms, rows) = (figures.now_ms, self.raised.to_rows());
        let on = |alarm: AlarmKind| {
            let subjects = rows.iter().filter(|row| row.kind == alarm.as_str());
            subjects.map(|row| row.subject.clone()).collect()
        };
        let judged = evaluate(&figures, settings, &on);
        let said = self.raised.apply(judged, i64::try_from(settings.resolve_after_ms).unwrap_or(i64::MAX), now_ms);
        self.deps.status.update(self.raised.raised_kinds(), &figures.signature_ages);
        for said in &said {
            self.notify(said, now_ms);
        }
        self.store_alarms().await;
        self.store_activity().await;
        self.append_pending_events().await;
    }

    async fn collect_inputs(&mut self, settings: &AlarmSettings) -> AlarmInputs {
        let parts = &self.deps;
        let (now_ms, counters) = (parts.clock.now_ms(), &parts.counters);
        let dead_since_ms =
            now_ms.saturating_sub(i64::try_from(settings.dead_deliveries_window_ms).unwrap_or(i64::MAX));
        let at_work = parts.reload.workers().running_handlers();
        let handlers = with_store_timeout(parts.store.list_backlogs(MAX_COUNTED_DELIVERIES, dead_since_ms)).await;
        let is_at_work = |backlog: &HandlerBacklog| at_work.contains(&backlog.handler);
        let refused = counters.by_group(CounterGroup::Rejected).map(|(reason, total)| {
            (reason, self.rejected_rates.entry(reason).or_default().record_total(total, now_ms))
        });
        AlarmInputs {
            now_ms,
            started_at_ms: self.started_at_ms,
            backlogs: handlers.map(|handlers| handlers.into_iter().filter(is_at_work).collect()),
            companies: company_histories(parts),
            rejected_by_reason: refused.collect(),
            not_stored: self
                .not_stored_rate
                .record_total(counters.snapshot().get("not_stored").copied().unwrap_or(0), now_ms),
            disk: DiskSpace::of_filesystem(&parts.store_folder),
            signature_ages: counters.activity().signature_ages(),
        }
    }

    fn notify(&mut self, said: &AlarmNotification, now_ms: i64) {
        notify::log_notification(said, now_ms);
        // The journal is for what somebody wants to have.
        if self.deps.reload.workers().is_event_selected_by_name(notify::event_name(said)) {
            if self.pending_events.len() >= MAX_PENDING_EVENTS {
                self.pending_events.pop_front();
            }
            self.pending_events
                .push_back(notify::notification_event(said, now_ms).into_new_event(self.event_ids.next_id(now_ms)));
        }
    }

    /// Appends what waits; what cannot be stored waits until the next look.
    async fn append_pending_events(&mut self) {
        while let Some(event) = self.pending_events.front() {
            if with_store_timeout(self.deps.store.append(event.clone())).await.is_none() {
                return;
            }
            self.pending_events.pop_front();
        }
    }

    async fn store_alarms(&mut self) {
        let rows = self.raised.to_rows();
        if rows != self.stored_rows && with_store_timeout(self.deps.store.replace_alarms(rows.clone())).await.is_some()
        {
            self.stored_rows = rows;
        }
    }

    /// Writes down which hours had how many events. What could not be written is, with the hour's next event.
    async fn store_activity(&mut self) {
        let activity = self.deps.counters.activity();
        let rows: Vec<_> = activity.take_changed().into_iter().map(to_activity_row).collect();
        let before = self.deps.clock.now_ms().div_euclid(HOUR_MS) - ACTIVITY_HOURS_KEPT;
        let forget = (before > self.pruned_before_hour).then_some(before);
        if forget.is_some() {
            activity.prune_before(before);
        }
        if (forget.is_some() || !rows.is_empty())
            && with_store_timeout(self.deps.store.upsert_activity(rows, forget)).await.is_some()
        {
            self.pruned_before_hour = before;
        }
    }
}

/// The answer, unless the store takes too long or fails.
async fn with_store_timeout<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    match timeout(STORE_TIMEOUT, asked).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(%error, "watching: the store does not answer");
            None
        }
        Err(_) => None,
    }
}

/// The companies of the settings that sent something in the last days.
fn company_histories(parts: &AlarmMonitorDeps) -> Vec<CompanyHistory> {
    let activity = parts.counters.activity();
    let companies = parts.companies.get();
    let seen = companies.iter().filter_map(|company| {
        let seen = activity.company_history(company.id)?;
        Some(CompanyHistory {
            slug: company.slug.to_string(),
            history: seen,
            agents: activity.agent_histories(company.id),
        })
    });
    seen.collect()
}

fn to_activity_row(count: HourlyEventCount) -> ActivityRow {
    let HourlyEventCount { company_id, agent_id, hour, event_count: events, last_event_at_ms: last_ms } = count;
    ActivityRow { company_id, agent_id, hour, event_count: events, last_event_at_ms: last_ms }
}

fn from_activity_row(row: ActivityRow) -> HourlyEventCount {
    let ActivityRow { company_id, agent_id, hour, event_count: events, last_event_at_ms: last_ms } = row;
    HourlyEventCount { company_id, agent_id, hour, event_count: events, last_event_at_ms: last_ms }
}
