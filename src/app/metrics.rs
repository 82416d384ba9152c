//! Every metric there is: its name, what it means, and where its value comes from. Labels are bounded: reasons and kinds
//! from fixed lists, handlers by their configured names, nothing from a request.

use super::alarms::{AlarmKind, AlarmStatus};
use crate::http::budget::InflightBudget;
use crate::http::company::CompanyDirectory;
use crate::storage::{BreakerState, DeliveryState, HandlerBacklog, StoreStats};
use crate::telemetry::deliveries::{DeliveryMetrics, SKIPPED};
use crate::telemetry::disk::DiskSpace;
use crate::telemetry::exposition::{Labels, Metric};
use crate::telemetry::functions::FunctionMetrics;
use crate::telemetry::inbound::InboundMetrics;
use crate::telemetry::logging::DroppedLines;
use crate::telemetry::process::ProcessStats;
use crate::telemetry::requests::{CounterGroup, RequestCounters};
use crate::telemetry::retention::RemovedCounts;

/// What the metrics are read from.
pub(super) struct MetricSources<'a> {
    pub(super) counters: &'a RequestCounters,
    pub(super) deliveries: &'a DeliveryMetrics,
    pub(super) functions: &'a FunctionMetrics,
    pub(super) inbound: &'a InboundMetrics,
    pub(super) removed_rows: &'a RemovedCounts,
    pub(super) inflight_budget: &'a InflightBudget,
    pub(super) dropped_lines: &'a DroppedLines,
    pub(super) alarm_status: &'a AlarmStatus,
    pub(super) companies: &'a CompanyDirectory,
    pub(super) disk: Option<DiskSpace>,
    pub(super) started_at_ms: i64,
    /// `None` while the store does not answer; its metrics are left out then.
    pub(super) store_stats: Option<StoreStats>,
    pub(super) process_stats: ProcessStats,
}

impl MetricSources<'_> {
    /// All metrics, read now.
    pub(super) fn collect(&self) -> Vec<Metric> {
        let mut metrics = vec![build_info(), self.start_time_metric()];
        metrics.extend(self.request_metrics());
        metrics.extend(self.inbound_metrics());
        metrics.extend(self.store_stats.iter().flat_map(store_metrics));
        metrics.extend(self.store_stats.iter().flat_map(|stats| self.backlog_metrics(stats)));
        metrics.extend(self.attempt_metrics());
        metrics.extend(self.function_metrics());
        metrics.extend(self.alarm_metrics());
        metrics.push(self.retention_metric());
        metrics.push(self.dropped_lines_metric());
        metrics.extend(process_metrics(self.process_stats));
        metrics
    }

    fn start_time_metric(&self) -> Metric {
        let seconds = to_f64(u64::try_from(self.started_at_ms).unwrap_or(0)) / 1000.0;
        Metric::gauge("process_start_time", "When the receiver started, since the Unix epoch.", unlabelled(seconds))
            .in_seconds()
    }

    fn request_metrics(&self) -> [Metric; 7] {
        let counters = self.counters;
        let events = counters.events_by_kind().map(|(outcome, kind, count)| {
            (vec![("outcome", outcome.to_owned()), ("event", kind.as_str().to_owned())], count)
        });
        let by_reason = |group| counters.by_group(group).map(|(reason, count)| (single_label("reason", reason), count));
        let (limit, free) = (self.inflight_budget.limit_bytes(), self.inflight_budget.available_bytes());
        [
            Metric::counter(
                "events",
                "Authenticated events by what became of them; not_stored was answered 503, or 200 when somebody was on the line.",
                events,
            ),
            Metric::counter(
                "requests_rejected",
                "Webhook requests answered 401, or 403 when not on the allowlist.",
                by_reason(CounterGroup::Rejected),
            ),
            Metric::counter(
                "requests_unreadable",
                "Webhook requests whose body could not be taken in.",
                by_reason(CounterGroup::Unreadable),
            ),
            Metric::histogram(
                "intake_duration",
                "From the head of an authenticated event's request to its answer.",
                counters.intake_duration_micros(),
                1e6,
            )
            .in_seconds(),
            Metric::histogram("body_size", "Bodies of authenticated events.", counters.body_size_bytes(), 1.0)
                .in_bytes(),
            Metric::gauge(
                "inflight_body",
                "Bodies held in memory.",
                unlabelled(to_f64(limit.saturating_sub(free) as u64)),
            )
            .in_bytes(),
            Metric::gauge("inflight_body_limit", "How much may be held at once.", unlabelled(to_f64(limit as u64)))
                .in_bytes(),
        ]
    }

    fn inbound_metrics(&self) -> [Metric; 2] {
        let counts = self.inbound.snapshot().map(|(outcome, count)| (single_label("outcome", outcome), count));
        [
            Metric::counter("inbound_answers", "Inbound calls and text messages by what they were answered.", counts),
            Metric::histogram(
                "inbound_answer_duration",
                "From the head of an inbound request to its answer.",
                self.inbound.answer_duration_micros(),
                1e6,
            )
            .in_seconds(),
        ]
    }

    fn backlog_metrics(&self, stats: &StoreStats) -> [Metric; 4] {
        // The store remembers handlers that are configured no more; they are behind for good.
        let known = self.deliveries.by_handler();
        let backlogs: Vec<_> = stats.backlogs.iter().filter(|backlog| known.contains_key(&backlog.handler)).collect();
        let each = |value: fn(&HandlerBacklog) -> f64| {
            backlogs.iter().map(move |backlog| (handler_labels(backlog), value(backlog)))
        };
        let deliveries = backlogs.iter().flat_map(|backlog| {
            let counts = [
                (DeliveryState::Pending, backlog.pending),
                (DeliveryState::Running, backlog.running),
                (DeliveryState::Scheduled, backlog.scheduled),
                (DeliveryState::Dead, backlog.dead),
            ];
            counts.map(|(state, count)| (handler_state_labels(backlog, state.as_str()), signed_to_f64(count)))
        });
        let breakers = backlogs.iter().flat_map(|backlog| {
            BreakerState::ALL.map(|state| {
                (handler_state_labels(backlog, state.as_str()), f64::from(u8::from(backlog.breaker_state == state)))
            })
        });
        [
            Metric::gauge(
                "handler_backlog_events",
                "Events a handler has not been given yet.",
                each(|backlog| signed_to_f64(backlog.behind)),
            ),
            Metric::gauge("handler_deliveries", "Deliveries by state, each counted up to 100000.", deliveries),
            Metric::gauge(
                "handler_oldest_undelivered_timestamp",
                "Since when the delivery that waits for longest waits, since the Unix epoch; 0 when none waits.",
                each(|backlog| signed_to_f64(backlog.oldest_waiting_since_ms.unwrap_or(0)) / 1000.0),
            )
            .in_seconds(),
            Metric::gauge("handler_breaker", "1 for the state of a handler's circuit breaker.", breakers),
        ]
    }

    fn attempt_metrics(&self) -> [Metric; 3] {
        let all = self.deliveries.by_handler();
        let (mut attempts, mut skipped) = (Vec::new(), Vec::new());
        for (handler, counts) in &all {
            for (outcome, count) in counts.snapshot() {
                if outcome == SKIPPED {
                    skipped.push((single_label("handler", handler), count));
                } else {
                    attempts.push((vec![("handler", handler.clone()), ("outcome", outcome.to_owned())], count));
                }
            }
        }
        let took =
            all.iter().map(|(handler, counts)| (single_label("handler", handler), counts.attempt_duration_millis()));
        [
            Metric::counter(
                "delivery_attempts",
                "Attempts by outcome: the delivery succeeded, is scheduled again, or is dead.",
                attempts,
            ),
            Metric::counter("deliveries_skipped", "Deliveries that ended without an attempt.", skipped),
            Metric::histograms("delivery_attempt_duration", "How long attempts of handlers took.", took, 1e3)
                .in_seconds(),
        ]
    }

    /// What the alarms look at, and which are on.
    fn alarm_metrics(&self) -> Vec<Metric> {
        let on = AlarmKind::ALL.map(|alarm| {
            (single_label("alarm", alarm.as_str()), f64::from(u8::from(self.alarm_status.is_raised(alarm))))
        });
        let activity = self.counters.activity();
        let last = self.companies.iter().map(|company| {
            let last_ms = activity.last_event_at_ms(company.id).unwrap_or(0);
            (single_label("company", &company.slug), signed_to_f64(last_ms) / 1000.0)
        });
        let age_ms = self.alarm_status.min_signature_age_ms();
        let clock = [("ahead", age_ms.max(0)), ("behind", age_ms.min(0).saturating_neg())];
        let clock = clock.map(|(direction, ms)| (single_label("direction", direction), signed_to_f64(ms) / 1000.0));
        let mut metrics = vec![
            Metric::gauge("alarm_raised", "1 for an alarm that is on.", on),
            Metric::gauge("last_event_timestamp", "When a company's latest event came, since the Unix epoch; 0: none yet.", last)
                .in_seconds(),
            Metric::gauge(
                "clock_skew",
                "Age of the freshest of the latest signatures: how far this machine's clock is ahead at most, or behind.",
                clock,
            )
            .in_seconds(),
        ];
        metrics.extend(self.disk.map(|disk| {
            Metric::gauge("disk_free", "Free on the disk under the store.", unlabelled(to_f64(disk.free_bytes)))
                .in_bytes()
        }));
        metrics.extend(self.disk.map(|disk| {
            Metric::gauge(
                "disk_size",
                "Of the disk under the store, without what is reserved.",
                unlabelled(to_f64(disk.total_bytes)),
            )
            .in_bytes()
        }));
        metrics
    }

    fn retention_metric(&self) -> Metric {
        let removed = self.removed_rows.snapshot().map(|(kind, count)| (single_label("kind", kind), count));
        Metric::counter("retention_removed", "Rows removed for their age or the size of the store.", removed)
    }

    fn function_metrics(&self) -> [Metric; 3] {
        let counts = self.functions.by_function().into_iter().flat_map(|(function, counts)| {
            let labels = |outcome: &str| vec![("function", function.clone()), ("outcome", outcome.to_owned())];
            counts.snapshot().map(|(outcome, count)| (labels(outcome), count)).collect::<Vec<_>>()
        });
        [
            Metric::counter(
                "function_requests",
                "Signed requests for custom functions by what became of them.",
                counts,
            ),
            Metric::counter(
                "function_requests_not_found",
                "Signed requests for functions there are not (404).",
                [(Vec::new(), self.functions.unknown_functions())],
            ),
            Metric::histogram(
                "function_request_duration",
                "From the head of a custom function's request to its answer.",
                self.functions.request_duration_micros(),
                1e6,
            )
            .in_seconds(),
        ]
    }

    fn dropped_lines_metric(&self) -> Metric {
        let dropped = self.dropped_lines.snapshot().map(|(to, count)| (single_label("output", to), count));
        Metric::counter("log_lines_dropped", "Log lines left out because they could not be written in time.", dropped)
    }
}

fn build_info() -> Metric {
    Metric::info("build", "The version at work.", single_label("version", env!("CARGO_PKG_VERSION")))
}

fn store_metrics(stats: &StoreStats) -> [Metric; 4] {
    let last_seq = u64::try_from(stats.last_seq).unwrap_or(0);
    [
        Metric::counter("store_commits", "Transactions committed, each with one fsync.", [(Vec::new(), stats.commits)]),
        Metric::histogram(
            "store_events_per_commit",
            "Events that shared a commit, for commits that held any.",
            stats.events_per_commit.clone(),
            1.0,
        ),
        Metric::gauge(
            "store_unindexed_keys",
            "Keys known from memory only, two an event; the index is written behind intake.",
            unlabelled(to_f64(stats.unindexed_keys)),
        ),
        Metric::gauge("journal_last_seq", "Number of the latest event in the journal.", unlabelled(to_f64(last_seq))),
    ]
}

fn process_metrics(used: ProcessStats) -> impl Iterator<Item = Metric> {
    let memory = used.resident_bytes.map(|bytes| {
        Metric::gauge("process_resident_memory", "Memory held by the process.", unlabelled(to_f64(bytes))).in_bytes()
    });
    let files = used.open_fds.map(|open| {
        Metric::gauge("process_open_fds", "Open files of the process, sockets included.", unlabelled(to_f64(open)))
    });
    memory.into_iter().chain(files)
}

fn handler_labels(backlog: &HandlerBacklog) -> Labels {
    single_label("handler", &backlog.handler)
}

fn handler_state_labels(backlog: &HandlerBacklog, state: &str) -> Labels {
    vec![("handler", backlog.handler.clone()), ("state", state.to_owned())]
}

fn single_label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn unlabelled(value: f64) -> [(Labels, f64); 1] {
    [(Vec::new(), value)]
}

fn signed_to_f64(value: i64) -> f64 {
    to_f64(u64::try_from(value).unwrap_or(0))
}

#[allow(clippy::cast_precision_loss, reason = "the format knows floating point only; exact up to 2^53")]
fn to_f64(value: u64) -> f64 {
    value as f64
}
