//! The state and the workers of a run, each of which simulates one call after another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio_util::sync::CancellationToken;

use super::appointment::SimulatedFunctions;
use super::call::SimulatedCall;
use super::scenario::{Scenario, ScenarioStep, StepSigning};
use super::sender::{EventSender, REQUEST_TIMEOUT};
use super::store_check::{self, SentEvent};
use super::{SimulationError, SimulationOptions, SimulationProgress};
use crate::config::DEFAULT_COMPANY_SLUG;
use crate::egress;
use crate::live::webhook_path;
use crate::view::SimulatedRequestView;

/// A simulated call in progress.
pub(super) struct CallProgress {
    pub(super) scenario: Scenario,
    /// Id of the call or chat.
    pub(super) id: Arc<str>,
    /// The last signature of every body that was sent, by the body's digest.
    pub(super) signatures_by_body: HashMap<store_check::SentBodyDigest, Option<String>>,
}

/// The state that all workers of a run share.
pub(super) struct SimulationRun {
    pub(super) sender: EventSender,
    pub(super) scenarios: Vec<Scenario>,
    pub(super) calls: u64,
    pub(super) seed: u64,
    pub(super) started_ms: i64,
    pub(super) started_at: Instant,
    /// Interval between the starts of two calls; `None` starts them as fast as they are answered.
    pub(super) call_interval: Option<Duration>,
    pub(super) next_call: AtomicU64,
    pub(super) completed_calls: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) sent_events: Mutex<Vec<SentEvent>>,
    /// The requests of all calls in the scenario `appointment`.
    pub(super) requests: Mutex<Vec<SimulatedRequestView>>,
    pub(super) functions: SimulatedFunctions,
    /// URL of inbound requests, and the deadline for their answers.
    pub(super) inbound_endpoint: (url::Url, Duration),
    /// Number of requests to custom functions.
    pub(super) function_calls: AtomicU64,
    /// Canceled on a signal: no further calls start, and calls in progress cancel what they booked.
    pub(super) stop: CancellationToken,
    /// Number of calls whose functions the receiver does not have.
    pub(super) calls_without_functions: AtomicU64,
    /// Latency of every acknowledged request, in microseconds.
    pub(super) latency: Mutex<Option<Histogram<u64>>>,
    pub(super) on_progress: Box<dyn Fn(SimulationProgress) + Send + Sync>,
}

impl SimulationRun {
    pub(super) fn new(
        options: &SimulationOptions<'_>,
        on_progress: Box<dyn Fn(SimulationProgress) + Send + Sync>,
    ) -> Result<Self, SimulationError> {
        let clock = options.clock.clone();
        let started_ms = clock.now_ms();
        let settings = options.settings;
        let url = options.request_url();
        let company = options.company.as_deref();
        let client = egress::build_client(REQUEST_TIMEOUT)?;
        Ok(Self {
            functions: SimulatedFunctions::new(settings, &url, company, started_ms)?,
            inbound_endpoint: (inbound_url(&url, company), settings.inbound.timeout),
            sender: EventSender::new(client, url, options.key.clone(), clock),
            scenarios: options.scenarios.clone(),
            calls: options.calls,
            seed: options.seed,
            started_ms,
            started_at: Instant::now(),
            call_interval: options.rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            next_call: AtomicU64::new(0),
            completed_calls: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            sent_events: Mutex::default(),
            requests: Mutex::default(),
            function_calls: AtomicU64::new(0),
            stop: options.stop.clone(),
            calls_without_functions: AtomicU64::new(0),
            latency: Mutex::new(Histogram::new_with_bounds(1, 60_000_000, 3).ok()),
            on_progress,
        })
    }

    /// Runs one call after another until all calls have started or the run is stopped.
    pub(super) async fn run_worker(&self) {
        loop {
            let number = self.next_call.fetch_add(1, Ordering::Relaxed);
            if number >= self.calls || self.stop.is_cancelled() {
                return;
            }
            if let Some(interval) = self.call_interval
                && self.sender.stop_reason().is_none()
            {
                let start_at = self.started_at + interval.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
                tokio::select! {
                    () = tokio::time::sleep_until(start_at.into()) => {}
                    () = self.stop.cancelled() => return,
                }
            }
            self.run_call(number).await;
            if self.stop.is_cancelled() {
                return;
            }
            self.completed_calls.fetch_add(1, Ordering::Relaxed);
            self.report_progress();
        }
    }

    async fn run_call(&self, number: u64) {
        let index = usize::try_from(number).unwrap_or(0) % self.scenarios.len();
        let scenario = self.scenarios[index];
        let new_call = || SimulatedCall::new(self.seed, number, self.started_ms);
        let (id, steps) = scenario.steps(new_call(), self.started_ms);
        let mut progress = CallProgress { scenario, id: id.into(), signatures_by_body: HashMap::new() };
        for step in steps {
            if self.stop.is_cancelled() {
                return;
            }
            self.send_step(&mut progress, step).await;
        }
        if scenario == Scenario::Appointment {
            let call = new_call().into_appointment_call(self.started_ms);
            self.run_appointment_call(&mut progress, number, call).await;
        }
    }

    pub(super) async fn send_step(&self, progress: &mut CallProgress, step: ScenarioStep) {
        let ScenarioStep { event, body, delay, signing, is_revision } = step;
        if self.sender.stop_reason().is_none() {
            tokio::time::sleep(delay).await;
        }
        let body_digest = store_check::body_digest(&body);
        let reused_signature = match signing {
            StepSigning::Reused => progress.signatures_by_body.get(&body_digest).cloned().flatten(),
            StepSigning::Fresh => None,
        };
        let url = event.is_inbound().then_some(&self.inbound_endpoint.0);
        let result = self.sender.send_with_retries(url, &body, reused_signature).await;
        self.retries.fetch_add(u64::from(result.attempts.saturating_sub(1)), Ordering::Relaxed);
        let outcome = result.outcome;
        if outcome.is_acknowledged() {
            self.record_latency(result.duration);
        }
        if progress.scenario == Scenario::Appointment {
            self.record_event_request(progress, event, &body, &result);
        }
        progress.signatures_by_body.insert(body_digest, result.signature);
        let id = Arc::clone(&progress.id);
        let sent = SentEvent { scenario: progress.scenario, event, id, body_digest, is_revision, outcome };
        self.sent_events.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        self.report_progress();
    }

    pub(super) fn take_sent_events(&self) -> Vec<SentEvent> {
        std::mem::take(&mut *self.sent_events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn report_progress(&self) {
        let requests = self.sent_events.lock().unwrap_or_else(PoisonError::into_inner).len();
        let completed_calls = self.completed_calls.load(Ordering::Relaxed);
        (self.on_progress)(SimulationProgress { completed_calls, requests });
    }
}

/// URL of inbound requests: the separate route of the receiver. With a custom path, inbound requests go to the same
/// URL as all events.
fn inbound_url(url: &url::Url, company: Option<&str>) -> url::Url {
    let mut url = url.clone();
    let default_path = webhook_path(company.filter(|slug| *slug != DEFAULT_COMPANY_SLUG));
    if url.path() == default_path {
        url.set_path(&format!("{default_path}/inbound"));
    }
    url
}
