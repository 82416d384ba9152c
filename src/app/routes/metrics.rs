//! All metrics: name, meaning and source of each value. The number of label values is bounded: reasons, outcomes and
//! kinds come from fixed lists; handlers, functions and companies from the configuration. No label comes from a
//! request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::metric_values::{signed_to_f64, single_label, to_f64, unlabelled};
use crate::alarms::AlarmStatus;
use crate::dispatch::RemovedCounts;
use crate::http::budget::InflightBudget;
use crate::storage::{AlarmKind, BreakerState, DeliveryState, HandlerBacklog, StoreStats};
use crate::telemetry::connections::ConnectionCounters;
use crate::telemetry::deliveries::DeliveryMetrics;
use crate::telemetry::disk::DiskSpace;
use crate::telemetry::exposition::{Labels, Metric};
use crate::telemetry::functions::FunctionMetrics;
use crate::telemetry::inbound::InboundMetrics;
use crate::telemetry::logging::DroppedLines;
use crate::telemetry::process::ProcessStats;
use crate::telemetry::requests::RequestCounters;
use crate::tenants::CompanyDirectory;

/// What the components count while the receiver runs. Clones share their counts.
#[derive(Clone)]
pub(crate) struct ReceiverMetrics {
    pub(crate) counters: Arc<RequestCounters>,
    pub(crate) connections: Arc<ConnectionCounters>,
    pub(crate) deliveries: DeliveryMetrics,
    pub(crate) functions: FunctionMetrics,
    pub(crate) inbound: Arc<InboundMetrics>,
    pub(crate) removed_rows: RemovedCounts,
    pub(crate) inflight_budget: InflightBudget,
    pub(crate) dropped_lines: DroppedLines,
    /// The result of the latest alarm check.
    pub(crate) alarm_status: AlarmStatus,
    pub(crate) started_at_ms: i64,
}

impl ReceiverMetrics {
    pub(crate) fn new(inflight_budget: InflightBudget, dropped_lines: DroppedLines, started_at_ms: i64) -> Self {
        Self {
            counters: Arc::default(),
            connections: Arc::default(),
            deliveries: DeliveryMetrics::default(),
            functions: FunctionMetrics::default(),
            inbound: Arc::default(),
            removed_rows: RemovedCounts::default(),
            inflight_budget,
            dropped_lines,
            alarm_status: AlarmStatus::default(),
            started_at_ms,
        }
    }
}

/// The sources of the metrics at the moment of a request.
pub(super) struct MetricSources<'a> {
    pub(super) counted: &'a ReceiverMetrics,
    pub(super) companies: &'a CompanyDirectory,
    pub(super) disk: Option<DiskSpace>,
    /// `None` while the store does not answer; `/metrics` then leaves its metrics out.
    pub(super) store_stats: Option<StoreStats>,
    pub(super) process_stats: ProcessStats,
}

impl MetricSources<'_> {
    pub(super) fn collect(&self) -> Vec<Metric> {
        let mut metrics = vec![build_info(), self.start_time_metric()];
        metrics.extend(self.request_metrics());
        metrics.extend(self.connection_metrics());
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
        let seconds = to_f64(u64::try_from(self.counted.started_at_ms).unwrap_or(0)) / 1000.0;
        Metric::gauge(
            "process_start_time",
            "Start time of the receiver, in seconds since the Unix epoch.",
            unlabelled(seconds),
        )
        .in_seconds()
    }

    fn request_metrics(&self) -> [Metric; 8] {
        let counters = &self.counted.counters;
        let events = counters.events_by_kind().map(|(outcome, kind, count)| {
            (vec![("outcome", outcome.as_str().to_owned()), ("event", kind.as_str().to_owned())], count)
        });
        let limit_bytes = self.counted.inflight_budget.limit_bytes();
        let held_bytes = limit_bytes.saturating_sub(self.counted.inflight_budget.available_bytes());
        let rejected = counters.rejected().map(|(reason, count)| (single_label("reason", reason.as_str()), count));
        let unrouted = counters.unrouted().map(|(reason, count)| (single_label("reason", reason.as_str()), count));
        let unreadable = counters.unreadable().map(|(reason, count)| (single_label("reason", reason.as_str()), count));
        [
            Metric::counter(
                "events",
                "Authenticated events by outcome; not_stored was answered 503, or 200 for live requests.",
                events,
            ),
            Metric::counter(
                "requests_rejected",
                "Rejected webhook requests by reason: answered 401, or 403 for not_on_allowlist.",
                rejected,
            ),
            Metric::counter(
                "requests_unreadable",
                "Webhook requests whose body could not be read, by reason.",
                unreadable,
            ),
            Metric::counter(
                "requests_unrouted",
                "Requests that no route takes, by reason: answered 404 or 405.",
                unrouted,
            ),
            Metric::histogram(
                "intake_duration",
                "Time from the request head of an authenticated event to its response.",
                counters.intake_duration_micros(),
                1e6,
            )
            .in_seconds(),
            Metric::histogram("body_size", "Body sizes of authenticated events.", counters.body_size_bytes(), 1.0)
                .in_bytes(),
            Metric::gauge("inflight_body", "Memory held by request bodies.", unlabelled(to_f64(held_bytes as u64)))
                .in_bytes(),
            Metric::gauge(
                "inflight_body_limit",
                "Maximum memory held by request bodies.",
                unlabelled(to_f64(limit_bytes as u64)),
            )
            .in_bytes(),
        ]
    }

    fn connection_metrics(&self) -> [Metric; 3] {
        let connections = &self.counted.connections;
        [
            Metric::gauge("connections", "Open connections.", unlabelled(to_f64(connections.open() as u64))),
            Metric::gauge(
                "connections_limit",
                "Maximum number of open connections; 0 when an application serves the routes.",
                unlabelled(to_f64(connections.limit() as u64)),
            ),
            Metric::counter(
                "connections_closed_at_limit",
                "Connections without a complete request that were closed to make room for others.",
                [(Vec::new(), connections.closed_at_limit())],
            ),
        ]
    }

    fn inbound_metrics(&self) -> [Metric; 2] {
        let counts = self.counted.inbound.snapshot();
        let counts = counts.map(|(outcome, count)| (single_label("outcome", outcome.as_str()), count));
        [
            Metric::counter("inbound_answers", "Answers to inbound calls and text messages by outcome.", counts),
            Metric::histogram(
                "inbound_answer_duration",
                "Time from the head of an inbound request to its answer.",
                self.counted.inbound.answer_duration_micros(),
                1e6,
            )
            .in_seconds(),
        ]
    }

    fn backlog_metrics(&self, stats: &StoreStats) -> [Metric; 4] {
        // The store also has handlers that are no longer configured. Their backlog only grows, so they are left out.
        let started = self.counted.deliveries.by_handler();
        let backlogs: Vec<_> = stats.backlogs.iter().filter(|backlog| started.contains_key(&backlog.handler)).collect();
        let per_handler = |value: fn(&HandlerBacklog) -> f64| {
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
                "Events that have not reached a handler yet.",
                per_handler(|backlog| signed_to_f64(backlog.behind)),
            ),
            Metric::gauge("handler_deliveries", "Deliveries by state; each state is counted up to 10000.", deliveries),
            Metric::gauge(
                "handler_oldest_undelivered_timestamp",
                "When the oldest undelivered event was queued, in seconds since the Unix epoch; 0 when none waits.",
                per_handler(|backlog| signed_to_f64(backlog.oldest_waiting_since_ms.unwrap_or(0)) / 1000.0),
            )
            .in_seconds(),
            Metric::gauge(
                "handler_breaker",
                "1 for the current state of the circuit breaker of a handler, 0 for the other states.",
                breakers,
            ),
        ]
    }

    fn attempt_metrics(&self) -> [Metric; 4] {
        let all = self.counted.deliveries.by_handler();
        let mut attempts = Vec::new();
        let mut skipped = Vec::new();
        let mut late = Vec::new();
        for (handler, counts) in &all {
            late.push((single_label("handler", handler), counts.late_settlements.load(Ordering::Relaxed)));
            skipped.push((single_label("handler", handler), counts.skipped.load(Ordering::Relaxed)));
            let labels = |outcome: &str| vec![("handler", handler.clone()), ("outcome", outcome.to_owned())];
            attempts.extend(counts.attempts().map(|(outcome, count)| (labels(outcome), count)));
        }
        let durations =
            all.iter().map(|(handler, counts)| (single_label("handler", handler), counts.attempt_duration_millis()));
        [
            Metric::counter(
                "delivery_attempts",
                "Delivery attempts by outcome: succeeded, scheduled (for a retry) or dead (given up).",
                attempts,
            ),
            Metric::counter(
                "deliveries_skipped",
                "Deliveries that were skipped: no attempt was made, or it found nothing to do.",
                skipped,
            ),
            Metric::counter(
                "late_settlements",
                "Results of attempts that were not applied, because the lease had been lost during the attempt.",
                late,
            ),
            Metric::histograms("delivery_attempt_duration", "Duration of delivery attempts.", durations, 1e3)
                .in_seconds(),
        ]
    }

    fn alarm_metrics(&self) -> Vec<Metric> {
        let raised = AlarmKind::ALL.map(|alarm| {
            (single_label("alarm", alarm.as_str()), f64::from(u8::from(self.counted.alarm_status.is_raised(alarm))))
        });
        let activity = self.counted.counters.activity();
        let last_events = self.companies.iter().map(|company| {
            let last_ms = activity.last_event_at_ms(company.id).unwrap_or(0);
            (single_label("company", &company.slug), signed_to_f64(last_ms) / 1000.0)
        });
        let age_ms = self.counted.alarm_status.min_signature_age_ms();
        let skews = [("ahead", age_ms.max(0)), ("behind", age_ms.min(0).saturating_neg())];
        let skews = skews.map(|(direction, ms)| (single_label("direction", direction), signed_to_f64(ms) / 1000.0));
        let mut metrics = vec![
            Metric::gauge("alarm_raised", "1 for a kind of alarm of which at least one is raised, else 0.", raised),
            Metric::gauge(
                "last_event_timestamp",
                "When the latest event of a company was received, in seconds since the Unix epoch; 0 for none.",
                last_events,
            )
            .in_seconds(),
            Metric::gauge(
                "clock_skew",
                "Smallest age of the latest signatures: how far the clock of this machine is ahead at most, or behind.",
                skews,
            )
            .in_seconds(),
        ];
        metrics.extend(self.disk.map(|disk| {
            Metric::gauge("disk_free", "Free space on the disk under the store.", unlabelled(to_f64(disk.free_bytes)))
                .in_bytes()
        }));
        metrics.extend(self.disk.map(|disk| {
            Metric::gauge(
                "disk_size",
                "Size of the disk under the store, without the space reserved for root.",
                unlabelled(to_f64(disk.total_bytes)),
            )
            .in_bytes()
        }));
        metrics
    }

    fn retention_metric(&self) -> Metric {
        let removed = self.counted.removed_rows.iter();
        let removed = removed.map(|(kind, count)| (single_label("kind", kind.as_str()), count.load(Ordering::Relaxed)));
        Metric::counter(
            "retention_removed",
            "Rows that retention removed because of their age or the size of the store.",
            removed,
        )
    }

    fn function_metrics(&self) -> [Metric; 3] {
        let counts = self.counted.functions.by_function().into_iter().flat_map(|(function, counts)| {
            let labels = |outcome: &str| vec![("function", function.clone()), ("outcome", outcome.to_owned())];
            counts.snapshot().map(|(outcome, count)| (labels(outcome.as_str()), count)).collect::<Vec<_>>()
        });
        [
            Metric::counter("function_requests", "Signed requests for custom functions by outcome.", counts),
            Metric::counter(
                "function_requests_not_found",
                "Signed requests for custom functions that do not exist (404).",
                [(Vec::new(), self.counted.functions.unknown_functions())],
            ),
            Metric::histogram(
                "function_request_duration",
                "Time from the head of a custom function request to its response.",
                self.counted.functions.request_duration_micros(),
                1e6,
            )
            .in_seconds(),
        ]
    }

    fn dropped_lines_metric(&self) -> Metric {
        let dropped =
            self.counted.dropped_lines.snapshot().map(|(output, count)| (single_label("output", output), count));
        Metric::counter(
            "log_lines_dropped",
            "Log lines that were dropped because the output did not keep up or could not be written.",
            dropped,
        )
    }
}

fn build_info() -> Metric {
    Metric::info("build", "Version of the receiver.", single_label("version", env!("CARGO_PKG_VERSION")))
}

fn store_metrics(stats: &StoreStats) -> [Metric; 4] {
    let last_seq = u64::try_from(stats.last_seq).unwrap_or(0);
    [
        Metric::counter(
            "store_commits",
            "Committed transactions; each costs one fsync.",
            [(Vec::new(), stats.commits)],
        ),
        Metric::histogram(
            "store_events_per_commit",
            "Events per commit, for commits with at least one event.",
            stats.events_per_commit.clone(),
            1.0,
        ),
        Metric::gauge(
            "store_unindexed_keys",
            "Identity keys that are not in the index yet, two per event; the index is written behind intake.",
            unlabelled(to_f64(stats.unindexed_keys)),
        ),
        Metric::gauge(
            "journal_last_seq",
            "Sequence number of the latest event in the journal.",
            unlabelled(to_f64(last_seq)),
        ),
    ]
}

fn process_metrics(stats: ProcessStats) -> impl Iterator<Item = Metric> {
    let memory = stats.resident_bytes.map(|bytes| {
        Metric::gauge("process_resident_memory", "Resident memory of the process.", unlabelled(to_f64(bytes)))
            .in_bytes()
    });
    let files = stats.open_fds.map(|open| {
        Metric::gauge("process_open_fds", "Open files of the process, including sockets.", unlabelled(to_f64(open)))
    });
    memory.into_iter().chain(files)
}

fn handler_labels(backlog: &HandlerBacklog) -> Labels {
    single_label("handler", &backlog.handler)
}

fn handler_state_labels(backlog: &HandlerBacklog, state: &str) -> Labels {
    vec![("handler", backlog.handler.clone()), ("state", state.to_owned())]
}
