//! `simulate`: sends the events of simulated calls as Retell would: signed, in order within a call, retried until
//! they are acknowledged. Afterwards it checks that the store holds every acknowledged event.

mod appointment;
mod appointment_slots;
mod business;
mod call;
mod live_answer;
mod random;
mod report;
mod request_report;
mod scenario;
mod sender;
mod store_check;
mod transcript;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::appointment::SimulatedFunctions;
use self::call::SimulatedCall;
use self::report::{SimulationReport, StoreCheck};
use self::request_report::RequestReport;
use self::scenario::{Scenario, ScenarioStep, StepSigning};
use self::sender::{EventSender, REQUEST_TIMEOUT};
use self::store_check::SentEvent;
use super::output::{self, CliError, CliResult};
use super::receiver_url::{self, ReceiverProbe};
use super::{context, health, keys};
use crate::app::shutdown_signal;
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::base::supervise::TaskGroup;
use crate::config::{DEFAULT_COMPANY_SLUG, Settings};
use crate::egress;
use crate::live::webhook_path;

/// Number of simulated calls at the same time. Each has at most one request in flight.
const MAX_CONCURRENT_CALLS: u64 = 16;
/// Limit of calls to another machine without the two confirming options. It is enough to test a tunnel.
const MAX_REMOTE_CALLS: u64 = 20;
const INTERRUPTED_MESSAGE: &str =
    "interrupted: the remaining requests were not sent, and the booked appointments were canceled";
/// Time that is added to the duration implied by `--rate` before the run is aborted.
const RUN_GRACE: Duration = Duration::from_secs(24 * 3_600);

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct SimulateArgs {
    /// Scenarios of the calls, as `--list` shows them; several alternate [default: all, `appointment` only if
    /// appointments are enabled]
    #[arg(value_enum, value_name = "SCENARIO", hide_possible_values = true)]
    scenarios: Vec<Scenario>,
    /// Number of calls to simulate
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    calls: u64,
    /// Number of calls to start per second, such as 0.5 [default: as fast as they are answered, at most 16 at the
    /// same time]
    #[arg(long, value_name = "CALLS_PER_SECOND", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Seed of the generated people and conversations; ids and times differ in every run [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Let handlers with external effects process these calls, which they skip as tests by default (adds
    /// `?effects=true`); the internal events `appointment_*` remain tests
    #[arg(long)]
    effects: bool,
    /// URL of the receiver; without a path the webhook's path is added [default: the receiver on this machine, by
    /// server.host and server.port]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Send to the route of this company, signed with its first key
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    /// List the scenarios and send nothing
    #[arg(long)]
    list: bool,
    /// Required with `--i-own-this-server` to send more than 20 calls to another machine
    #[arg(long)]
    yes_really: bool,
    /// Required with `--yes-really` to send more than 20 calls to another machine
    #[arg(long)]
    i_own_this_server: bool,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=1_000.0).contains(&rate) => Ok(rate),
        _ => Err("not a number of calls per second (0.01 to 1000)".to_owned()),
    }
}

/// A simulated call in progress.
struct CallProgress {
    scenario: Scenario,
    /// Id of the call or chat.
    id: Arc<str>,
    /// The last signature of every body that was sent, by the body's digest.
    signatures_by_body: HashMap<store_check::SentBodyDigest, Option<String>>,
}

/// The state that all workers of a run share.
struct SimulationRun {
    sender: EventSender,
    scenarios: Vec<Scenario>,
    calls: u64,
    seed: u64,
    started_ms: i64,
    started_at: Instant,
    /// Interval between the starts of two calls; `None` without `--rate`.
    call_interval: Option<Duration>,
    next_call: AtomicU64,
    completed_calls: AtomicU64,
    retries: AtomicU64,
    sent_events: Mutex<Vec<SentEvent>>,
    /// The requests of all calls in the scenario `appointment`.
    requests: Mutex<Vec<RequestReport>>,
    functions: SimulatedFunctions,
    /// URL of inbound requests, and the deadline for their answers.
    inbound_endpoint: (url::Url, Duration),
    /// Number of requests to custom functions.
    function_calls: AtomicU64,
    /// Canceled on a signal: no further calls start, and calls in progress cancel what they booked.
    stop: CancellationToken,
    /// Number of calls whose functions the receiver does not have.
    calls_without_functions: AtomicU64,
    /// Latency of every acknowledged request, in microseconds.
    latency: Mutex<Option<Histogram<u64>>>,
    progress_bar: ProgressBar,
}

impl SimulateArgs {
    pub(super) async fn run(self) -> CliResult {
        if self.list {
            return self.print_scenarios();
        }
        let settings = context::load_settings()?;
        let url = self.webhook_url(&settings)?;
        let probe = receiver_url::probe_receiver(&url.origin().ascii_serialization()).await?;
        if let ReceiverProbe::NoResponse(reason) = probe {
            return Err(CliError::Message(format!(
                "{url}: {reason}; nothing was sent; is the receiver running on that port?"
            )));
        }
        let run = Arc::new(self.new_run(&settings, &url)?);
        eprintln!("retell-webhook: simulating {} calls to {url}, seed {}", self.calls, run.seed);
        let mut workers = TaskGroup::default();
        for _ in 0..self.calls.min(MAX_CONCURRENT_CALLS) {
            let run = Arc::clone(&run);
            workers.spawn(async move { run.run_worker().await });
        }
        let calls = u32::try_from(self.calls).unwrap_or(u32::MAX);
        let max_duration = RUN_GRACE.saturating_add(run.call_interval.unwrap_or_default().saturating_mul(calls));
        wait_for_calls(&run.stop, workers.shutdown(max_duration)).await?;
        run.progress_bar.finish_and_clear();
        let duration = run.started_at.elapsed();
        let sent_events = std::mem::take(&mut *run.sent_events.lock().unwrap_or_else(PoisonError::into_inner));
        let store_check = self.check_store(&settings, &url, probe, &sent_events, run.started_ms).await?;
        self.print_report(&run, &url, duration, &sent_events, store_check)
    }

    fn print_report(
        &self,
        run: &SimulationRun,
        url: &url::Url,
        duration: Duration,
        sent_events: &[SentEvent],
        store_check: StoreCheck,
    ) -> CliResult {
        let latency = run.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = run.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let report = SimulationReport {
            requests: &requests,
            function_calls: run.function_calls.load(Ordering::Relaxed),
            calls_without_functions: run.calls_without_functions.load(Ordering::Relaxed),
            functions_required: self.scenarios.contains(&Scenario::Appointment),
            seed: run.seed,
            calls: run.calls,
            unfinished_calls: run.calls - run.completed_calls.load(Ordering::Relaxed),
            url: url.as_str(),
            effects: self.effects,
            duration,
            sent_events,
            latency: latency.as_ref(),
            retries: run.retries.load(Ordering::Relaxed),
            store_check,
            stop_reason: run.sender.stop_reason().or(run.stop.is_cancelled().then_some(INTERRUPTED_MESSAGE)),
        };
        if self.json { report.print_json() } else { report.print_text() }?;
        if report.is_clean() { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }

    fn print_scenarios(&self) -> CliResult {
        let scenarios = Scenario::value_variants().iter();
        if self.json {
            let items =
                scenarios.map(|scenario| json!({ "name": scenario.name(), "description": scenario.description() }));
            return output::print_json(&items.collect::<Vec<_>>());
        }
        let rows = scenarios.map(|scenario| vec![scenario.name(), scenario.description()]);
        output::print_table(&["SCENARIO", "DESCRIPTION"], rows.collect(), "none")
    }

    fn webhook_url(&self, settings: &Settings) -> Result<url::Url, CliError> {
        let text = self.to.clone().unwrap_or_else(|| health::local_base_url(settings));
        let mut url = receiver_url::parse_webhook_url(&text, self.company.as_deref())?;
        let is_confirmed = self.yes_really && self.i_own_this_server;
        if !receiver_url::is_loopback(&url) && self.calls > MAX_REMOTE_CALLS && !is_confirmed {
            return Err(CliError::Message(format!(
                "{url} is on another machine, and {} calls are more than {MAX_REMOTE_CALLS}; if it is yours, add \
                 --yes-really --i-own-this-server",
                self.calls
            )));
        }
        if self.effects {
            url.query_pairs_mut().append_pair("effects", "true");
        }
        Ok(url)
    }

    /// URL of inbound requests: the separate route of the receiver. With a custom path, inbound requests go to the
    /// same URL as all events.
    fn inbound_url(&self, url: &url::Url) -> url::Url {
        let mut url = url.clone();
        let default_path = webhook_path(self.company.as_deref().filter(|slug| *slug != DEFAULT_COMPANY_SLUG));
        if url.path() == default_path {
            url.set_path(&format!("{default_path}/inbound"));
        }
        url
    }

    fn new_run(&self, settings: &Settings, url: &url::Url) -> Result<SimulationRun, CliError> {
        // Without verification no key is required, and none may be configured.
        let needs_key = settings.security.verify || !settings.security.keys.is_empty();
        let key = if needs_key { Some(keys::signing_key(settings, self.company.as_deref())?) } else { None };
        let clock = Clock::system();
        let started_ms = clock.now_ms();
        let scenarios = if self.scenarios.is_empty() {
            Scenario::default_scenarios(settings.appointments.enabled)
        } else {
            self.scenarios.clone()
        };
        // 32 bits: short enough to be typed, and exact as a JSON number.
        let random_seed = || u64::from_str_radix(&random_hex()[..8], 16).unwrap_or(0);
        let progress_bar = ProgressBar::new(self.calls);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} calls, {msg} requests, {elapsed}") {
            progress_bar.set_style(style);
        }
        Ok(SimulationRun {
            sender: EventSender::new(egress::build_client(REQUEST_TIMEOUT)?, url.clone(), key, clock),
            scenarios,
            calls: self.calls,
            seed: self.seed.unwrap_or_else(random_seed),
            started_ms,
            started_at: Instant::now(),
            call_interval: self.rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            next_call: AtomicU64::new(0),
            completed_calls: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            sent_events: Mutex::default(),
            requests: Mutex::default(),
            functions: SimulatedFunctions::new(settings, url, self.company.as_deref(), started_ms)?,
            inbound_endpoint: (self.inbound_url(url), Duration::from_millis(settings.inbound.timeout_ms)),
            function_calls: AtomicU64::new(0),
            stop: CancellationToken::new(),
            calls_without_functions: AtomicU64::new(0),
            latency: Mutex::new(Histogram::new_with_bounds(1, 60_000_000, 3).ok()),
            progress_bar,
        })
    }

    /// Compares the sent events with the store, if the events went to the receiver whose store the settings name.
    async fn check_store(
        &self,
        settings: &Settings,
        url: &url::Url,
        probe: ReceiverProbe,
        sent_events: &[SentEvent],
        since_ms: i64,
    ) -> Result<StoreCheck, CliError> {
        if !receiver_url::is_loopback(url) && !is_local_receiver(settings, &probe).await? {
            return Ok(StoreCheck::Skipped("the receiver is not on this machine".to_owned()));
        }
        let store = match context::open_store() {
            Ok(store) => store,
            Err(CliError::Message(reason)) => return Ok(StoreCheck::Skipped(reason)),
            Err(error) => return Err(error),
        };
        let company = self.company.as_deref().unwrap_or(DEFAULT_COMPANY_SLUG);
        let stored = store_check::find_stored(&*store, sent_events, company, since_ms).await?;
        Ok(StoreCheck::Compared(store_check::compare(sent_events, &stored)))
    }
}

/// Waits until all workers have ended. On the first signal, calls in progress only cancel what they booked; on the
/// second one the run is aborted.
async fn wait_for_calls(stop: &CancellationToken, all_workers: impl Future<Output = usize>) -> CliResult {
    let mut all_workers = std::pin::pin!(all_workers);
    tokio::select! {
        _ = &mut all_workers => return Ok(()),
        () = shutdown_signal()? => stop.cancel(),
    }
    eprintln!("retell-webhook: stopping after the booked appointments are canceled; a second signal stops immediately");
    tokio::select! {
        _ = all_workers => Ok(()),
        () = shutdown_signal()? => {
            Err(CliError::Message("stopped immediately; bookings remain, see `appointments list`".to_owned()))
        }
    }
}

/// Whether the process that answered at a remote URL, through a tunnel or a proxy, is the receiver on this machine.
async fn is_local_receiver(settings: &Settings, remote: &ReceiverProbe) -> Result<bool, CliError> {
    let local = receiver_url::probe_receiver(&health::local_base_url(settings)).await?;
    Ok(matches!((remote, &local), (ReceiverProbe::Receiver(remote), ReceiverProbe::Receiver(local)) if remote == local))
}

impl SimulationRun {
    /// Runs one call after another until all calls have started or the run is stopped.
    async fn run_worker(&self) {
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
            self.progress_bar.inc(1);
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

    async fn send_step(&self, progress: &mut CallProgress, step: ScenarioStep) {
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
        let mut sent_events = self.sent_events.lock().unwrap_or_else(PoisonError::into_inner);
        sent_events.push(sent);
        self.progress_bar.set_message(sent_events.len().to_string());
    }
}
