//! The alarm task: checks all conditions every `alarms.check_interval_ms` and reports raised and resolved alarms.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::evaluate::{AlarmInputs, CompanyHistory, MAX_COUNTED_DELIVERIES, evaluate};
use super::notify;
use super::raised::{AlarmNotification, RaisedAlarms};
use super::rate::MinuteRate;
use super::silence::HOUR_MS;
use super::status::AlarmStatus;
use crate::base::clock::{Clock, to_ms};
use crate::base::current::Current;
use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::config::AlarmSettings;
use crate::dispatch::Workers;
use crate::security::rejection_reason::RejectionReason;
use crate::storage::{
    ActivityRow, AlarmKind, AlarmRow, AlarmStore, DeliveryAdmin, DutyLeader, HandlerBacklog, Journal, Maintenance,
    NewEvent, StoreError, StoreErrorKind,
};
use crate::telemetry::activity::HourlyEventCount;
use crate::telemetry::disk::DiskSpace;
use crate::telemetry::requests::{IntakeOutcome, RequestCounters};
use crate::tenants::CurrentCompanyDirectory;

/// Time limit per store query; afterwards its result counts as unknown.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest term as the leader. It is extended in its second half, which costs a receiver without traffic one write every
/// two and a half minutes.
const MIN_TERM_MS: i64 = 300_000;
/// Retention of the hourly counts: seven days to compare with, and two days of silence on top of them.
const ACTIVITY_HOURS_KEPT: i64 = 9 * 24;
/// Maximum number of alarm events that wait for an unavailable store; above it the oldest are discarded.
const MAX_PENDING_EVENTS: usize = 100;

/// What the alarm checks read, and where they publish their results.
pub(crate) struct AlarmMonitorDeps {
    pub(crate) settings: Current<AlarmSettings>,
    /// Tells which handlers are running, and which of them select alarm events.
    pub(crate) workers: Workers,
    /// While another receiver leads, this one checks nothing and only stores its event counts.
    pub(crate) leader: DutyLeader,
    pub(crate) alarms: Arc<dyn AlarmStore>,
    pub(crate) store: Arc<dyn Maintenance>,
    pub(crate) deliveries: Arc<dyn DeliveryAdmin>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) counters: Arc<RequestCounters>,
    pub(crate) companies: CurrentCompanyDirectory,
    pub(crate) clock: Clock,
    pub(crate) store_folder: PathBuf,
    /// Receives the results for `/metrics`.
    pub(crate) status: AlarmStatus,
}

struct AlarmMonitor {
    deps: AlarmMonitorDeps,
    is_leader: bool,
    started_at_ms: i64,
    raised: RaisedAlarms,
    /// The raised alarms as last written to the store; `None` until they have been read from it. Nothing is written before
    /// that: alarms that this receiver does not know could not be resolved.
    stored_alarms: Option<BTreeMap<(AlarmKind, String), AlarmRow>>,
    /// Whether the counts of events contain those that other receivers have stored before this one became the leader.
    is_activity_loaded: bool,
    /// Errors about unknown values that have been logged.
    logged_damage: BTreeSet<String>,
    activity_write: Option<ActivityWrite>,
    rejected_rates: BTreeMap<RejectionReason, MinuteRate>,
    not_stored_rate: MinuteRate,
    pruned_before_hour: i64,
    event_ids: EventIdGenerator,
    pending_events: VecDeque<NewEvent>,
}

/// Event counts on their way into the store. Kept until the store has answered, however long that takes: whether they
/// have to be added again depends on the answer.
struct ActivityWrite {
    counts: Vec<HourlyEventCount>,
    prune_before: Option<i64>,
    result: BoxFuture<'static, Result<(), StoreError>>,
}

/// Starts the alarm task under `supervisor`.
pub(crate) fn start(deps: AlarmMonitorDeps, supervisor: &Supervisor) {
    let stop = supervisor.clone();
    supervisor.spawn("alarms", async move {
        let mut monitor = AlarmMonitor::new(deps);
        monitor.load_activity().await;
        while !stop.is_stopping() {
            let settings = monitor.deps.settings.get();
            monitor.check_as_leader(&settings).await;
            tokio::select! {
                () = stop.wait_for_stop() => {}
                () = tokio::time::sleep(settings.check_interval) => {}
            }
        }
        monitor.store_activity().await;
        monitor.deps.leader.resign().await;
    });
}

impl AlarmMonitor {
    fn new(deps: AlarmMonitorDeps) -> Self {
        Self {
            // Until the store says otherwise: an unavailable store is a reason for alarms.
            is_leader: true,
            started_at_ms: deps.clock.now_ms(),
            stored_alarms: None,
            is_activity_loaded: false,
            logged_damage: BTreeSet::new(),
            activity_write: None,
            raised: RaisedAlarms::default(),
            rejected_rates: BTreeMap::new(),
            not_stored_rate: MinuteRate::default(),
            pruned_before_hour: 0,
            event_ids: EventIdGenerator::default(),
            pending_events: VecDeque::new(),
            deps,
        }
    }

    async fn check_as_leader(&mut self, settings: &AlarmSettings) {
        let was_leader = self.is_leader;
        let interval_ms = to_ms(settings.check_interval);
        let term_ms = MIN_TERM_MS.max(interval_ms.saturating_mul(4));
        let now_ms = self.deps.clock.now_ms();
        if let Some(leads) = with_store_timeout(self.deps.leader.leads(term_ms, now_ms)).await {
            self.is_leader = leads;
        }
        if self.is_leader {
            self.load_alarms().await;
            self.load_activity().await;
            return self.check_all(settings).await;
        }
        if was_leader {
            self.forget_alarms();
        }
        // The totals are recorded all the time, or the first check as the leader would take hours for a minute.
        self.record_rates(now_ms);
        self.deps.status.update(BTreeSet::new(), &self.deps.counters.activity().signature_ages());
        self.store_activity().await;
        // Events of alarms that this receiver has stored as the leader: the new leader does not notify of them again.
        self.append_pending_events().await;
    }

    /// Leaves the alarms to the new leader. What it stores is read again when this receiver becomes the leader.
    fn forget_alarms(&mut self) {
        self.raised = RaisedAlarms::default();
        self.stored_alarms = None;
        self.is_activity_loaded = false;
    }

    /// Continues with the alarms that the previous process or leader has raised.
    async fn load_alarms(&mut self) {
        if self.stored_alarms.is_some() {
            return;
        }
        let Some(alarms) = with_store_timeout(self.deps.alarms.list_alarms()).await else { return };
        self.stored_alarms = Some(alarms.iter().map(|alarm| (alarm_key(alarm), alarm.clone())).collect());
        self.raised.restore(alarms);
    }

    /// Reads the event counts that other processes have stored.
    async fn load_activity(&mut self) {
        if self.is_activity_loaded {
            return;
        }
        // The own counts must be in the store or not: those of a write in progress would be lost or counted twice.
        self.store_activity().await;
        if self.activity_write.is_some() {
            return;
        }
        let Some(activity) = with_store_timeout(self.deps.alarms.list_activity()).await else { return };
        self.deps.counters.activity().load(activity.into_iter().map(from_activity_row).collect());
        self.is_activity_loaded = true;
    }

    async fn check_all(&mut self, settings: &AlarmSettings) {
        let inputs = self.collect_inputs(settings).await;
        let now_ms = inputs.now_ms;
        let rows = self.raised.to_rows();
        let raised_subjects = |alarm: AlarmKind| {
            let rows_of_kind = rows.iter().filter(|row| row.kind == alarm);
            rows_of_kind.map(|row| row.subject.clone()).collect()
        };
        let results = evaluate(&inputs, settings, &raised_subjects);
        let resolve_after_ms = to_ms(settings.resolve_after);
        let notifications = self.raised.apply(results, resolve_after_ms, now_ms);
        self.deps.status.update(self.raised.raised_kinds(), &inputs.signature_ages);
        // Logged before anything is stored: the log is the only channel that works while the store does not.
        for notification in &notifications {
            self.notify(notification, now_ms);
        }
        self.store_alarms().await;
        self.store_activity().await;
        self.append_pending_events().await;
    }

    async fn collect_inputs(&mut self, settings: &AlarmSettings) -> AlarmInputs {
        let now_ms = self.deps.clock.now_ms();
        self.deps.counters.activity().correct_future_times(now_ms);
        let (rejected_by_reason, not_stored) = self.record_rates(now_ms);
        let dead_window_ms = to_ms(settings.dead_deliveries_window);
        let dead_since_ms = now_ms.saturating_sub(dead_window_ms);
        let query = self.deps.deliveries.list_backlogs(MAX_COUNTED_DELIVERIES, dead_since_ms);
        let backlogs = with_store_timeout(query).await;
        self.log_damage(backlogs.iter().flatten());
        let deps = &self.deps;
        // The store also has backlogs of handlers that were removed from the settings. Those raise no alarm.
        let running_handlers = deps.workers.running_handlers();
        let is_running = |backlog: &HandlerBacklog| running_handlers.contains(&backlog.handler);
        AlarmInputs {
            now_ms,
            started_at_ms: self.started_at_ms,
            backlogs: backlogs.map(|backlogs| backlogs.into_iter().filter(is_running).collect()),
            companies: company_histories(deps),
            rejected_by_reason,
            not_stored,
            disk: DiskSpace::of_filesystem(&deps.store_folder),
            signature_ages: deps.counters.activity().signature_ages(),
            file_difference: deps.store.file_difference(),
        }
    }

    /// Returns the rejected requests by reason and the events that were not stored, within the last minute.
    fn record_rates(&mut self, now_ms: i64) -> (Vec<(RejectionReason, u64)>, u64) {
        let counters = &self.deps.counters;
        let rejected = counters.rejected().map(|(reason, total)| {
            (reason, self.rejected_rates.entry(reason).or_default().record_total(total, now_ms))
        });
        let not_stored_total = counters.events(IntakeOutcome::NotStored);
        (rejected.collect(), self.not_stored_rate.record_total(not_stored_total, now_ms))
    }

    /// Logs each unknown value once.
    fn log_damage<'a>(&mut self, backlogs: impl Iterator<Item = &'a HandlerBacklog>) {
        for backlog in backlogs {
            if let Some(damage) = &backlog.damage
                && self.logged_damage.insert(damage.to_string())
            {
                tracing::warn!(handler = %backlog.handler, error = %damage, "row with unknown value in a backlog");
            }
        }
    }

    fn notify(&mut self, notification: &AlarmNotification, now_ms: i64) {
        notify::log_notification(notification, now_ms);
        // An event is stored only if a handler selects it: without one it would stay in the journal unread.
        if self.deps.workers.is_event_selected_by_name(notify::event_name(notification)) {
            if self.pending_events.len() >= MAX_PENDING_EVENTS {
                self.pending_events.pop_front();
            }
            let event = notify::notification_event(notification, now_ms);
            self.pending_events.push_back(event.into_new_event(self.event_ids.next_id(now_ms)));
        }
    }

    /// Appends the pending events in order. After a failure the rest waits for the next check.
    async fn append_pending_events(&mut self) {
        while let Some(event) = self.pending_events.front() {
            if with_store_timeout(self.deps.journal.append(event.clone())).await.is_none() {
                return;
            }
            self.pending_events.pop_front();
        }
    }

    /// Stores the alarms that changed and removes those that were resolved. After a failure the rest waits for the next
    /// check.
    async fn store_alarms(&mut self) {
        let Some(stored_alarms) = &mut self.stored_alarms else { return };
        let rows = self.raised.to_rows();
        let raised: BTreeSet<_> = rows.iter().map(alarm_key).collect();
        for alarm in rows {
            let key = alarm_key(&alarm);
            if stored_alarms.get(&key) == Some(&alarm) {
                continue;
            }
            if with_store_timeout(self.deps.alarms.raise_alarm(alarm.clone())).await.is_none() {
                return;
            }
            stored_alarms.insert(key, alarm);
        }
        let resolved: Vec<_> = stored_alarms.keys().filter(|key| !raised.contains(*key)).cloned().collect();
        for key in resolved {
            if with_store_timeout(self.deps.alarms.resolve_alarm(key.0, key.1.clone())).await.is_none() {
                return;
            }
            stored_alarms.remove(&key);
        }
    }

    /// Adds the events since the last time to the stored hourly counts, and deletes hours that are past their
    /// retention. Counts that could not be stored are added the next time.
    async fn store_activity(&mut self) {
        if !self.finish_activity_write().await {
            return;
        }
        let activity = self.deps.counters.activity();
        let counts = activity.take_unstored();
        let first_kept_hour = self.deps.clock.now_ms().div_euclid(HOUR_MS) - ACTIVITY_HOURS_KEPT;
        let prune_before = (first_kept_hour > self.pruned_before_hour).then_some(first_kept_hour);
        if prune_before.is_some() {
            activity.prune_before(first_kept_hour);
        }
        if prune_before.is_none() && counts.is_empty() {
            return;
        }
        let rows = counts.iter().cloned().map(to_activity_row).collect();
        let store = Arc::clone(&self.deps.alarms);
        let result = async move { store.add_activity(rows, prune_before).await }.boxed();
        self.activity_write = Some(ActivityWrite { counts, prune_before, result });
        self.finish_activity_write().await;
    }

    /// Waits for the latest write of event counts. Returns `false` when it is still in progress after
    /// [`STORE_TIMEOUT`].
    async fn finish_activity_write(&mut self) -> bool {
        let Some(mut write) = self.activity_write.take() else { return true };
        match timeout(STORE_TIMEOUT, &mut write.result).await {
            Err(_) => {
                self.activity_write = Some(write);
                return false;
            }
            Ok(Ok(())) => self.pruned_before_hour = write.prune_before.unwrap_or(self.pruned_before_hour),
            Ok(Err(error)) => {
                tracing::debug!(%error, "alarm store query failed");
                self.deps.counters.activity().return_unstored(write.counts);
            }
        }
        true
    }
}

fn alarm_key(alarm: &AlarmRow) -> (AlarmKind, String) {
    (alarm.kind, alarm.subject.clone())
}

/// The result of a store query; `None` when it fails or exceeds [`STORE_TIMEOUT`].
async fn with_store_timeout<T>(query: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    match timeout(STORE_TIMEOUT, query).await {
        Ok(Ok(result)) => Some(result),
        // An unavailable store is reported by the writer and by alarms; a damaged row is reported nowhere else.
        Ok(Err(error)) if error.kind() == StoreErrorKind::CorruptRow => {
            tracing::warn!(%error, "alarm store query failed");
            None
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "alarm store query failed");
            None
        }
        Err(_) => None,
    }
}

/// The configured companies that sent at least one event within the kept hours.
fn company_histories(deps: &AlarmMonitorDeps) -> Vec<CompanyHistory> {
    let activity = deps.counters.activity();
    let companies = deps.companies.get();
    let histories = companies.iter().filter_map(|company| {
        let history = activity.company_history(company.id)?;
        Some(CompanyHistory { slug: company.slug.to_string(), history, agents: activity.agent_histories(company.id) })
    });
    histories.collect()
}

fn to_activity_row(count: HourlyEventCount) -> ActivityRow {
    let HourlyEventCount { company_id, agent_id, hour, event_count: events, last_event_at_ms: last_ms } = count;
    ActivityRow { company_id, agent_id, hour, event_count: events, last_event_at_ms: last_ms }
}

fn from_activity_row(row: ActivityRow) -> HourlyEventCount {
    let ActivityRow { company_id, agent_id, hour, event_count: events, last_event_at_ms: last_ms } = row;
    HourlyEventCount { company_id, agent_id, hour, event_count: events, last_event_at_ms: last_ms }
}
