//! The circuit breaker under simulated traffic: the real worker on the real store, with a clock that jumps from one
//! event to the next. Attempts take no time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::clock::{Clock, to_ms};
use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::config::StorageUrl;
use crate::dispatch::DispatchDeps;
use crate::dispatch::budget::PrefetchBudget;
use crate::dispatch::worker::Worker;
use crate::handlers::{AttemptResult, Context, DestinationHealth, EventHandler, Filter, Outcome, RegisteredHandler};
use crate::storage::{self, BreakerState, DEFAULT_COMPANY_ID, EventSummary, HandlerRow, NewEvent, Role, Store};
use crate::telemetry::deliveries::DeliveryMetrics;

const START_MS: i64 = 1_790_000_000_000;
/// Deliveries are simulated for this long after the last event.
const AFTER_TRAFFIC_MS: i64 = 600_000;

/// Traffic, and how the destination responds to it. Times are milliseconds since the start.
#[derive(Clone, Debug)]
struct Scenario {
    events: i64,
    interval_ms: i64,
    /// Share of the events that the destination never accepts.
    bad_percent: u64,
    /// What it shows about itself when it does not accept one.
    bad_health: DestinationHealth,
    /// From and until when it is down.
    outage_ms: (i64, i64),
    retry_schedule: Option<Vec<Duration>>,
    /// Whether all bad events belong to one call.
    one_bad_call: bool,
    ordered: bool,
}

impl Scenario {
    fn new(events_per_second: f64, events: i64) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "a few seconds")]
        let interval_ms = (1_000.0 / events_per_second) as i64;
        Self {
            events,
            interval_ms,
            bad_percent: 0,
            bad_health: DestinationHealth::Down,
            outage_ms: (0, 0),
            retry_schedule: None,
            one_bad_call: false,
            ordered: true,
        }
    }

    fn is_down(&self, now_ms: i64) -> bool {
        (self.outage_ms.0..self.outage_ms.1).contains(&(now_ms - START_MS))
    }

    /// The same share of a fixed random sequence in every simulation.
    fn is_bad(&self, number: i64) -> bool {
        let mut random = fastrand::Rng::with_seed(7);
        (0..=number).map(|_| random.u64(..100)).last().is_some_and(|drawn| drawn < self.bad_percent)
    }

    fn call_id(&self, number: i64) -> String {
        match self.is_bad(number) {
            true if self.one_bad_call => "bad".to_owned(),
            true => format!("bad_{number}"),
            false => format!("good_{number}"),
        }
    }
}

/// What happened to the events.
#[derive(Debug, Default)]
struct Report {
    requests: usize,
    outage_requests: usize,
    /// Longest time from receipt to delivery of an event that the destination accepts.
    max_lag_ms: i64,
    /// Such events that are not delivered.
    undelivered: usize,
    opened_count: usize,
}

struct SimulatedDestination {
    scenario: Scenario,
    now_ms: Arc<AtomicI64>,
    /// Call and time of each request, and whether it was accepted.
    requests: Mutex<Vec<(String, i64, bool)>>,
}

#[async_trait]
impl EventHandler for SimulatedDestination {
    async fn deliver(&self, event: &EventSummary, _: &Bytes, _: &Context) -> AttemptResult {
        let call_id = event.call_id.clone().unwrap();
        let now_ms = self.now_ms.load(Ordering::Relaxed);
        let is_down = self.scenario.is_down(now_ms);
        let accepts = !is_down && !call_id.starts_with("bad");
        self.requests.lock().unwrap().push((call_id, now_ms, accepts));
        if accepts {
            return Outcome::Done.into();
        }
        let health = if is_down { DestinationHealth::Down } else { self.scenario.bad_health };
        AttemptResult { health, ..Outcome::retry("refused").into() }
    }

    fn has_external_effects(&self) -> bool {
        true
    }
}

struct Simulation {
    scenario: Scenario,
    store: Arc<dyn Store>,
    worker: Worker,
    destination: Arc<SimulatedDestination>,
    now_ms: Arc<AtomicI64>,
    ids: EventIdGenerator,
    appended: i64,
    last_state: BreakerState,
    opened_count: usize,
}

impl Simulation {
    async fn new(folder: &Path, scenario: Scenario) -> Self {
        // The jitter of retries comes from this generator.
        fastrand::seed(1);
        let supervisor = Supervisor::default();
        let store = storage::open(&StorageUrl::file(folder.join("store.db")), Role::Receiver, &supervisor).unwrap();
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let clock = Arc::clone(&now_ms);
        let destination = Arc::new(SimulatedDestination {
            scenario: scenario.clone(),
            now_ms: Arc::clone(&now_ms),
            requests: Mutex::default(),
        });
        let mut registered = RegisteredHandler::new("crm", Filter::all(), destination.clone());
        if let Some(schedule) = &scenario.retry_schedule {
            registered.delivery.retry_schedule.clone_from(schedule);
        }
        let ordering_timeout_ms = to_ms(registered.delivery.ordering_timeout);
        let row = HandlerRow { name: "crm".into(), ordered: scenario.ordered, ordering_timeout_ms };
        let id = store.register_handler(row).await.unwrap();
        let deps = DispatchDeps {
            queue: store.clone(),
            journal: store.clone(),
            clock: Clock::from_fn(move || clock.load(Ordering::Relaxed)),
            supervisor,
            delivery_metrics: DeliveryMetrics::default(),
            is_only_receiver: true,
        };
        let worker = Worker::new(deps, PrefetchBudget::default(), registered, id);
        let ids = EventIdGenerator::default();
        let last_state = BreakerState::Closed;
        Self { scenario, store, worker, destination, now_ms, ids, appended: 0, last_state, opened_count: 0 }
    }

    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn arrival_ms(&self, number: i64) -> i64 {
        START_MS + number * self.scenario.interval_ms
    }

    async fn run(mut self) -> Report {
        while self.appended < self.scenario.events {
            self.step_until(self.arrival_ms(self.appended)).await;
            self.append_next().await;
        }
        self.step_until(self.now_ms() + AFTER_TRAFFIC_MS).await;
        self.report()
    }

    /// Lets the worker do what is due until then.
    async fn step_until(&mut self, until_ms: i64) {
        loop {
            self.worker.run_until_idle().await;
            let state = self.worker.breaker.state(self.now_ms());
            self.opened_count += usize::from(state == BreakerState::Open && self.last_state == BreakerState::Closed);
            self.last_state = state;
            if self.now_ms() >= until_ms {
                return;
            }
            let wake_ms = self.now_ms() + to_ms(self.worker.idle_limit);
            self.now_ms.store(wake_ms.min(until_ms), Ordering::Relaxed);
        }
    }

    async fn append_next(&mut self) {
        let now_ms = self.now_ms();
        let event = NewEvent {
            kind: Some("call_ended".into()),
            call_id: Some(self.scenario.call_id(self.appended)),
            ..NewEvent::new(self.ids.next_id(now_ms), DEFAULT_COMPANY_ID, now_ms, self.appended.to_string())
        };
        self.store.append(event).await.unwrap();
        self.appended += 1;
    }

    fn report(&self) -> Report {
        let mut report = Report { opened_count: self.opened_count, ..Report::default() };
        let requests = self.destination.requests.lock().unwrap();
        report.requests = requests.len();
        report.outage_requests = requests.iter().filter(|(_, at_ms, _)| self.scenario.is_down(*at_ms)).count();
        let accepted = requests.iter().filter(|(_, _, accepted)| *accepted);
        let delivered: BTreeMap<&str, i64> = accepted.map(|(call_id, at_ms, _)| (call_id.as_str(), *at_ms)).collect();
        for number in 0..self.appended {
            let call_id = self.scenario.call_id(number);
            match delivered.get(call_id.as_str()) {
                Some(at_ms) => report.max_lag_ms = report.max_lag_ms.max(at_ms - self.arrival_ms(number)),
                None => report.undelivered += usize::from(!call_id.starts_with("bad")),
            }
        }
        report
    }
}

fn simulate(scenario: &Scenario) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let simulation = Simulation::new(folder.path(), scenario.clone()).await;
        let store = Arc::clone(&simulation.store);
        let report = simulation.run().await;
        store.close().await.unwrap();
        report
    })
}

fn short_schedule() -> Vec<Duration> {
    [1, 2, 5, 10, 30].map(Duration::from_secs).into()
}

/// The longest lag of an event that the destination accepts, by share of bad events, with the default and with a short
/// retry schedule.
fn max_lags(events_per_second: f64, events: i64, bad_health: DestinationHealth) -> Vec<(u64, i64)> {
    let mut lags = Vec::new();
    for bad_percent in [0, 5, 20, 50] {
        let mut max_lag_ms = 0;
        for retry_schedule in [None, Some(short_schedule())] {
            let scenario =
                Scenario { bad_percent, bad_health, retry_schedule, ..Scenario::new(events_per_second, events) };
            let report = simulate(&scenario);
            assert_eq!(report.undelivered, 0, "{scenario:?}: {report:?}");
            max_lag_ms = max_lag_ms.max(report.max_lag_ms);
        }
        lags.push((bad_percent, max_lag_ms));
    }
    lags
}

#[test]
fn failing_events_delay_no_others_at_ten_per_second() {
    assert_eq!(max_lags(10.0, 300, DestinationHealth::Down), [(0, 0), (5, 0), (20, 0), (50, 0)]);
}

#[test]
fn failing_events_delay_no_others_at_two_per_second() {
    assert_eq!(max_lags(2.0, 200, DestinationHealth::Down), [(0, 0), (5, 0), (20, 0), (50, 0)]);
}

#[test]
fn failing_events_delay_others_by_seconds_at_one_in_five_seconds() {
    let lags = max_lags(0.2, 200, DestinationHealth::Down);
    assert_eq!(lags[..3], [(0, 0), (5, 0), (20, 0)]);
    // Five bad events in a row are an outage for all that the receiver knows; one of the first probes ends it.
    assert!((1..=20_000).contains(&lags[3].1), "{lags:?}");
}

#[test]
fn refused_events_never_open_the_breaker() {
    for bad_percent in [20, 50, 100] {
        let bad_health = DestinationHealth::RefusedEvent;
        let report = simulate(&Scenario { bad_percent, bad_health, ..Scenario::new(0.2, 40) });
        assert_eq!(
            (report.max_lag_ms, report.undelivered, report.opened_count),
            (0, 0, 0),
            "{bad_percent}: {report:?}"
        );
    }
}

/// An outage after ten seconds of success. Returns the number of requests in its first ten minutes.
fn outage_requests(events_per_second: f64) -> usize {
    let outage_ms = (10_000, 610_000);
    #[allow(clippy::cast_possible_truncation, reason = "a few thousand events")]
    let events = (events_per_second * 120.0) as i64;
    let report = simulate(&Scenario { outage_ms, ..Scenario::new(events_per_second, events) });
    assert_eq!((report.undelivered, report.opened_count), (0, 1), "{report:?}");
    // The first event of the outage waits for all of it, and at most for one open period more.
    assert!(report.max_lag_ms <= 600_000 + 300_000, "{report:?}");
    report.outage_requests
}

#[test]
fn a_dead_destination_gets_few_requests() {
    // At ten per second 50 in the five seconds after the last success, and three per open period.
    let requests = [10.0, 2.0, 0.2].map(outage_requests);
    assert!(requests[0] <= 75 && requests[1] <= 30 && requests[2] <= 25, "{requests:?}");
}

#[test]
fn bad_events_do_not_prolong_an_outage() {
    for (one_bad_call, ordered) in [(false, true), (true, true), (true, false)] {
        let outage = Scenario { outage_ms: (0, 60_000), ordered, ..Scenario::new(2.0, 200) };
        let without = simulate(&outage);
        let with = simulate(&Scenario { bad_percent: 20, one_bad_call, ..outage.clone() });
        assert_eq!((with.undelivered, without.undelivered), (0, 0), "{with:?} {without:?}");
        assert!(with.max_lag_ms <= without.max_lag_ms, "{one_bad_call}, {ordered}: {with:?} {without:?}");
    }
}
