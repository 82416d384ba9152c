//! Every metric there is: its name, what it means, and where its value comes from. Labels are bounded: reasons and kinds
//! from fixed lists, handlers by their configured names, nothing from a request.

use super::alarms::{Alarm, Shown};
use crate::http::budget::InflightBudget;
use crate::http::company::Companies;
use crate::storage::{Backlog, BreakerState, DeliveryState, StoreStats};
use crate::telemetry::counters::{Counters, Group};
use crate::telemetry::deliveries::Deliveries;
use crate::telemetry::disk::DiskSpace;
use crate::telemetry::exposition::{Labels, Metric};
use crate::telemetry::functions::FunctionMetrics;
use crate::telemetry::inbound::InboundCounts;
use crate::telemetry::logging::DroppedLines;
use crate::telemetry::process::ProcessUse;
use crate::telemetry::retention::RemovedCounts;

/// What the metrics are read from.
pub(super) struct Figures<'a> {
    pub(super) counters: &'a Counters,
    pub(super) deliveries: &'a Deliveries,
    pub(super) functions: &'a FunctionMetrics,
    pub(super) inbound: &'a InboundCounts,
    pub(super) removed: &'a RemovedCounts,
    pub(super) inflight: &'a InflightBudget,
    pub(super) dropped_lines: &'a DroppedLines,
    pub(super) shown: &'a Shown,
    pub(super) companies: &'a Companies,
    pub(super) disk: Option<DiskSpace>,
    pub(super) started_at_ms: i64,
    /// `None` while the store does not answer; its metrics are left out then.
    pub(super) store: Option<StoreStats>,
    pub(super) process: ProcessUse,
}

impl Figures<'_> {
    /// All metrics, read now.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        let mut metrics = vec![build(), self.start_time()];
        metrics.extend(self.requests());
        metrics.extend(self.inbound());
        metrics.extend(self.store.iter().flat_map(store));
        metrics.extend(self.store.iter().flat_map(|stats| self.backlogs(stats)));
        metrics.extend(self.attempts());
        metrics.extend(self.function_calls());
        metrics.extend(self.watched());
        metrics.push(self.removed());
        metrics.push(self.dropped_lines());
        metrics.extend(process(self.process));
        metrics
    }

    fn start_time(&self) -> Metric {
        let seconds = float(u64::try_from(self.started_at_ms).unwrap_or(0)) / 1000.0;
        Metric::gauge("start_time", "When the receiver started, since the Unix epoch.", single(seconds)).in_seconds()
    }

    fn requests(&self) -> [Metric; 7] {
        let counters = self.counters;
        let events = counters.events().map(|(outcome, kind, count)| {
            (vec![("outcome", outcome.to_owned()), ("event", kind.as_str().to_owned())], count)
        });
        let by_reason = |group| counters.of(group).map(|(reason, count)| (one("reason", reason), count));
        let (limit, free) = (self.inflight.limit_bytes(), self.inflight.available_bytes());
        [
            Metric::counter(
                "events",
                "Authenticated events by what became of them; not_stored was answered 503, or 200 when somebody was on the line.",
                events,
            ),
            Metric::counter(
                "requests_refused",
                "Webhook requests answered 401, or 403 when not on the allowlist.",
                by_reason(Group::Refused),
            ),
            Metric::counter(
                "requests_not_read",
                "Webhook requests whose body could not be taken in.",
                by_reason(Group::NotRead),
            ),
            Metric::histogram(
                "intake_duration",
                "From the head of an authenticated event's request to its answer.",
                counters.intake_micros(),
                1e6,
            )
            .in_seconds(),
            Metric::histogram("body_size", "Bodies of authenticated events.", counters.body_bytes(), 1.0).in_bytes(),
            Metric::gauge("inflight_body", "Bodies held in memory.", single(float(limit.saturating_sub(free) as u64)))
                .in_bytes(),
            Metric::gauge("inflight_body_limit", "How much may be held at once.", single(float(limit as u64)))
                .in_bytes(),
        ]
    }

    fn inbound(&self) -> [Metric; 2] {
        let counts = self.inbound.read().map(|(outcome, count)| (one("outcome", outcome), count));
        [
            Metric::counter("inbound_answers", "Inbound calls and text messages by what they were answered.", counts),
            Metric::histogram(
                "inbound_answer_duration",
                "From the head of an inbound request to its answer.",
                self.inbound.micros(),
                1e6,
            )
            .in_seconds(),
        ]
    }

    fn backlogs(&self, stats: &StoreStats) -> [Metric; 4] {
        // The store remembers handlers that are configured no more; they are behind for good.
        let known = self.deliveries.all();
        let backlogs: Vec<_> = stats.backlogs.iter().filter(|backlog| known.contains_key(&backlog.handler)).collect();
        let each = |value: fn(&Backlog) -> f64| backlogs.iter().map(move |backlog| (of(backlog), value(backlog)));
        let deliveries = backlogs.iter().flat_map(|backlog| {
            let counts = [
                (DeliveryState::Pending, backlog.pending),
                (DeliveryState::Running, backlog.running),
                (DeliveryState::Scheduled, backlog.scheduled),
                (DeliveryState::Dead, backlog.dead),
            ];
            counts.map(|(state, count)| (with_state(backlog, state.as_str()), whole(count)))
        });
        let breakers = backlogs.iter().flat_map(|backlog| {
            BreakerState::ALL
                .map(|state| (with_state(backlog, state.as_str()), f64::from(u8::from(backlog.breaker == state))))
        });
        [
            Metric::gauge(
                "handler_backlog_events",
                "Events a handler has not been given yet.",
                each(|backlog| whole(backlog.behind)),
            ),
            Metric::gauge("handler_deliveries", "Deliveries by state, each counted up to 100000.", deliveries),
            Metric::gauge(
                "handler_oldest_undelivered_time",
                "Since when the delivery that waits for longest waits, since the Unix epoch; 0 when none waits.",
                each(|backlog| whole(backlog.oldest_ms.unwrap_or(0)) / 1000.0),
            )
            .in_seconds(),
            Metric::gauge("handler_breaker", "1 for the state of a handler's circuit breaker.", breakers),
        ]
    }

    fn attempts(&self) -> [Metric; 2] {
        let all = self.deliveries.all();
        let counts = all.iter().flat_map(|(handler, counts)| {
            let labels = |outcome: &str| vec![("handler", handler.clone()), ("outcome", outcome.to_owned())];
            counts.read().map(|(outcome, count)| (labels(outcome), count))
        });
        let took = all.iter().map(|(handler, counts)| (one("handler", handler), counts.attempt_millis()));
        [
            Metric::counter(
                "deliveries",
                "Attempts of handlers by outcome: succeeded, scheduled again, dead; deliveries skipped.",
                counts,
            ),
            Metric::histograms("attempt_duration", "How long attempts of handlers took.", took, 1e3).in_seconds(),
        ]
    }

    /// What the alarms look at, and which are on.
    fn watched(&self) -> Vec<Metric> {
        let on = Alarm::ALL.map(|alarm| (one("alarm", alarm.as_str()), f64::from(u8::from(self.shown.is_on(alarm)))));
        let activity = self.counters.activity();
        let last = self.companies.iter().map(|company| {
            let last_ms = activity.last_ms(company.id).unwrap_or(0);
            (one("company", &company.slug), whole(last_ms) / 1000.0)
        });
        let age_ms = self.shown.freshest_ms();
        let clock = [("ahead", age_ms.max(0)), ("behind", age_ms.min(0).saturating_neg())];
        let clock = clock.map(|(direction, ms)| (one("direction", direction), whole(ms) / 1000.0));
        let mut metrics = vec![
            Metric::gauge("alarm", "1 for an alarm that is on.", on),
            Metric::gauge("last_event_time", "When a company's latest event came, since the Unix epoch; 0: none yet.", last)
                .in_seconds(),
            Metric::gauge(
                "clock_skew",
                "Age of the freshest of the latest signatures: how far this machine's clock is ahead at most, or behind.",
                clock,
            )
            .in_seconds(),
        ];
        metrics.extend(self.disk.map(|disk| {
            Metric::gauge("disk_free", "Free on the disk under the store.", single(float(disk.free_bytes))).in_bytes()
        }));
        metrics.extend(self.disk.map(|disk| {
            Metric::gauge(
                "disk_size",
                "Of the disk under the store, without what is reserved.",
                single(float(disk.total_bytes)),
            )
            .in_bytes()
        }));
        metrics
    }

    fn removed(&self) -> Metric {
        let removed = self.removed.read().map(|(kind, count)| (one("kind", kind), count));
        Metric::counter("retention_removed", "Rows removed for their age or the size of the store.", removed)
    }

    fn function_calls(&self) -> [Metric; 3] {
        let counts = self.functions.all().into_iter().flat_map(|(function, counts)| {
            let labels = |outcome: &str| vec![("function", function.clone()), ("outcome", outcome.to_owned())];
            counts.read().map(|(outcome, count)| (labels(outcome), count)).collect::<Vec<_>>()
        });
        [
            Metric::counter(
                "function_requests",
                "Signed requests for custom functions by what became of them.",
                counts,
            ),
            Metric::counter(
                "function_requests_unknown",
                "Signed requests for functions there are not (404).",
                [(Vec::new(), self.functions.unknown())],
            ),
            Metric::histogram(
                "function_duration",
                "From the head of a custom function's request to its answer.",
                self.functions.micros(),
                1e6,
            )
            .in_seconds(),
        ]
    }

    fn dropped_lines(&self) -> Metric {
        let dropped = self.dropped_lines.read().map(|(to, count)| (one("to", to), count));
        Metric::counter("log_lines_dropped", "Log lines left out because they could not be written in time.", dropped)
    }
}

fn build() -> Metric {
    Metric::info("build", "The version at work.", one("version", env!("CARGO_PKG_VERSION")))
}

fn store(stats: &StoreStats) -> [Metric; 4] {
    let last_seq = u64::try_from(stats.last_seq).unwrap_or(0);
    [
        Metric::counter("store_commits", "Transactions committed, each with one fsync.", [(Vec::new(), stats.commits)]),
        Metric::histogram(
            "store_commit_events",
            "Events that shared a commit, for commits that held any.",
            stats.events_per_commit.clone(),
            1.0,
        ),
        Metric::gauge(
            "store_unindexed_keys",
            "Keys known from memory only, two an event; the index is written behind intake.",
            single(float(stats.unindexed_keys)),
        ),
        Metric::gauge("journal_last_seq", "Number of the latest event in the journal.", single(float(last_seq))),
    ]
}

fn process(used: ProcessUse) -> impl Iterator<Item = Metric> {
    let memory = used.resident_bytes.map(|bytes| {
        Metric::gauge("process_resident_memory", "Memory held by the process.", single(float(bytes))).in_bytes()
    });
    let files = used.open_fds.map(|open| {
        Metric::gauge("process_open_fds", "Open files of the process, sockets included.", single(float(open)))
    });
    memory.into_iter().chain(files)
}

fn of(backlog: &Backlog) -> Labels {
    one("handler", &backlog.handler)
}

fn with_state(backlog: &Backlog, state: &str) -> Labels {
    vec![("handler", backlog.handler.clone()), ("state", state.to_owned())]
}

fn one(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn single(value: f64) -> [(Labels, f64); 1] {
    [(Vec::new(), value)]
}

fn whole(value: i64) -> f64 {
    float(u64::try_from(value).unwrap_or(0))
}

#[allow(clippy::cast_precision_loss, reason = "the format knows floating point only; exact up to 2^53")]
fn float(value: u64) -> f64 {
    value as f64
}
