//! `simulate`: calls that never were, sent as Retell would send them: signed, in order within a call, repeated when nobody
//! took them. Then the store is asked whether it has everything that was acknowledged.

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
use super::{context, health, keys, signals};
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::base::supervise::TaskGroup;
use crate::config::{DEFAULT_COMPANY_SLUG, Settings};
use crate::egress;
use crate::intake::webhook_path;

/// Calls under way at once; each has one request under way.
const MAX_CONCURRENT_CALLS: u64 = 16;
/// Another machine gets no more calls than this unless asked for twice: enough to try one's own tunnel.
const MAX_REMOTE_CALLS: u64 = 20;
const INTERRUPTED_MESSAGE: &str = "stopped when asked to, so the rest was not sent; what was booked was given back";
/// Past what the rate asks for, nothing is waited for longer.
const RUN_GRACE: Duration = Duration::from_secs(24 * 3_600);

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct SimulateArgs {
    /// What the calls are like, as `--list` names it; several take turns [default: all, `appointment` only
    /// where appointments are enabled]
    #[arg(value_enum, value_name = "SCENARIO", hide_possible_values = true)]
    scenarios: Vec<Scenario>,
    /// How many calls
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    calls: u64,
    /// Start so many calls a second, such as 0.5 [default: as fast as they are answered, 16 at once at most]
    #[arg(long, value_name = "CALLS_PER_SECOND", value_parser = parse_rate)]
    rate: Option<f64>,
    /// The same number makes the same people say the same; ids and times are those of the run [default: a random one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Let handlers with outside effects act on these calls, which they skip as tests otherwise (adds `?effects=true`);
    /// the events `appointment_*` that the receiver makes itself stay tests
    #[arg(long)]
    effects: bool,
    /// The receiver; without a path the webhook's is added [default: the one on this machine, by server.host and
    /// server.port]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Send to this company's route, signed with its first key
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print the scenarios and send nothing
    #[arg(long)]
    list: bool,
    /// Needed with `--i-own-this-server` to send more than 20 calls to another machine
    #[arg(long)]
    yes_really: bool,
    /// Needed with `--yes-really` to send more than 20 calls to another machine
    #[arg(long)]
    i_own_this_server: bool,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=1_000.0).contains(rate));
    rate.ok_or_else(|| "give calls a second, from 0.01 to 1000".to_owned())
}

/// A call under way.
struct CallProgress {
    scenario: Scenario,
    /// Of the call or chat.
    id: Arc<str>,
    /// By the bodies they went out with.
    signatures_by_body: HashMap<store_check::SentBodyDigest, Option<String>>,
}

/// What all calls share.
struct SimulationRun {
    sender: EventSender,
    scenarios: Vec<Scenario>,
    calls: u64,
    seed: u64,
    started_ms: i64,
    started_at: Instant,
    /// Time between the starts of two calls.
    call_interval: Option<Duration>,
    /// The number of the next call.
    next_call: AtomicU64,
    completed_calls: AtomicU64,
    retries: AtomicU64,
    sent_events: Mutex<Vec<SentEvent>>,
    /// The requests of calls about appointments.
    requests: Mutex<Vec<RequestReport>>,
    functions: SimulatedFunctions,
    /// Where inbound requests go, and until when they must be answered.
    inbound_endpoint: (url::Url, Duration),
    /// Requests for functions.
    function_calls: AtomicU64,
    /// No further calls, and what was booked is given back.
    stop: CancellationToken,
    /// Calls whose functions the receiver does not have.
    calls_without_functions: AtomicU64,
    /// Microseconds of every acknowledged request.
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
        let answer = receiver_url::probe_receiver(&url.origin().ascii_serialization()).await?;
        if let ReceiverProbe::NoResponse(why) = answer {
            return Err(CliError::Message(format!(
                "{url}: {why}; is the receiver running, and on that port? Nothing was sent"
            )));
        }
        let run = Arc::new(self.new_run(&settings, &url)?);
        eprintln!("retell-webhook: playing {} calls to {url}, seed {}", self.calls, run.seed);
        let mut crowd = TaskGroup::default();
        for _ in 0..self.calls.min(MAX_CONCURRENT_CALLS) {
            let run = Arc::clone(&run);
            crowd.spawn(async move { run.run_worker().await });
        }
        let calls = u32::try_from(self.calls).unwrap_or(u32::MAX);
        let longest = RUN_GRACE.saturating_add(run.call_interval.unwrap_or_default().saturating_mul(calls));
        wait_for_calls(&run.stop, crowd.shutdown(longest)).await?;
        run.progress_bar.finish_and_clear();
        let took = run.started_at.elapsed();
        let sent = std::mem::take(&mut *run.sent_events.lock().unwrap_or_else(PoisonError::into_inner));
        let checked = self.check_store(&settings, &url, answer, &sent, run.started_ms).await?;
        self.print_report(&run, &url, took, &sent, checked)
    }

    fn print_report(
        &self,
        run: &SimulationRun,
        url: &url::Url,
        took: Duration,
        sent: &[SentEvent],
        checked: StoreCheck,
    ) -> CliResult {
        let latency = run.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = run.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let report = SimulationReport {
            requests: &lines,
            function_calls: run.function_calls.load(Ordering::Relaxed),
            calls_without_functions: run.calls_without_functions.load(Ordering::Relaxed),
            functions_required: self.scenarios.contains(&Scenario::Appointment),
            seed: run.seed,
            calls: run.calls,
            unfinished_calls: run.calls - run.completed_calls.load(Ordering::Relaxed),
            url: url.as_str(),
            effects: self.effects,
            duration: took,
            sent_events: sent,
            latency: latency.as_ref(),
            retries: run.retries.load(Ordering::Relaxed),
            store_check: checked,
            stop_reason: run.sender.stop_reason().or(run.stop.is_cancelled().then_some(INTERRUPTED_MESSAGE)),
        };
        if self.json { report.print_json() } else { report.print_text() }?;
        if report.is_clean() { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }

    fn print_scenarios(&self) -> CliResult {
        let all = Scenario::value_variants().iter();
        if self.json {
            let all = all.map(|scenario| json!({ "name": scenario.name(), "meaning": scenario.description() }));
            return output::print_json(&all.collect::<Vec<_>>());
        }
        let rows = all.map(|scenario| vec![scenario.name(), scenario.description()]);
        output::print_table(&["SCENARIO", "WHAT HAPPENS"], rows.collect(), "none")
    }

    fn webhook_url(&self, settings: &Settings) -> Result<url::Url, CliError> {
        let text = self.to.clone().unwrap_or_else(|| health::local_base_url(settings));
        let mut url = receiver_url::parse_webhook_url(&text, self.company.as_deref())?;
        let asked_twice = self.yes_really && self.i_own_this_server;
        if !receiver_url::is_loopback(&url) && self.calls > MAX_REMOTE_CALLS && !asked_twice {
            return Err(CliError::Message(format!(
                "more than {MAX_REMOTE_CALLS} calls to another machine; if it is yours, say so: --yes-really \
                 --i-own-this-server"
            )));
        }
        if self.effects {
            url.query_pairs_mut().append_pair("effects", "true");
        }
        Ok(url)
    }

    /// The inbound webhook's own address beside the usual one; at another address it arrives like all events.
    fn inbound_url(&self, url: &url::Url) -> url::Url {
        let mut url = url.clone();
        let usual = webhook_path(self.company.as_deref().filter(|slug| *slug != DEFAULT_COMPANY_SLUG));
        if url.path() == usual {
            url.set_path(&format!("{usual}/inbound"));
        }
        url
    }

    fn new_run(&self, settings: &Settings, url: &url::Url) -> Result<SimulationRun, CliError> {
        // With verification off there may be no key, and none is needed.
        let needs_key = settings.security.verify || !settings.security.keys.is_empty();
        let key = if needs_key { Some(keys::signing_key(settings, self.company.as_deref())?) } else { None };
        let clock = Clock::system();
        let started_ms = clock.now_ms();
        let scenarios = if self.scenarios.is_empty() {
            Scenario::default_scenarios(settings.appointments.enabled)
        } else {
            self.scenarios.clone()
        };
        // Short enough to be typed, and for a JSON number.
        let random = || u64::from_str_radix(&random_hex()[..8], 16).unwrap_or(0);
        let bar = ProgressBar::new(self.calls);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} calls, {msg} requests, {elapsed}") {
            bar.set_style(style);
        }
        Ok(SimulationRun {
            sender: EventSender::new(egress::build_client(REQUEST_TIMEOUT)?, url.clone(), key, clock),
            scenarios,
            calls: self.calls,
            seed: self.seed.unwrap_or_else(random),
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
            progress_bar: bar,
        })
    }

    /// Compares with the store, if the receiver that was sent to is the one whose store the settings name.
    async fn check_store(
        &self,
        settings: &Settings,
        url: &url::Url,
        there: ReceiverProbe,
        sent: &[SentEvent],
        since_ms: i64,
    ) -> Result<StoreCheck, CliError> {
        if !receiver_url::is_loopback(url) && !is_local_receiver(settings, &there).await? {
            return Ok(StoreCheck::Skipped("the receiver is not on this machine".to_owned()));
        }
        let store = match context::open_store() {
            Ok(store) => store,
            Err(CliError::Message(why)) => return Ok(StoreCheck::Skipped(why)),
            Err(said) => return Err(said),
        };
        let company = self.company.as_deref().unwrap_or(DEFAULT_COMPANY_SLUG);
        let kept = store_check::find_stored(&store, sent, company, since_ms).await?;
        Ok(StoreCheck::Compared(store_check::compare(sent, &kept)))
    }
}

/// Until everybody is done. When asked to stop, calls under way only give back what they booked.
async fn wait_for_calls(stop: &CancellationToken, everybody: impl Future<Output = usize>) -> CliResult {
    let mut everybody = std::pin::pin!(everybody);
    tokio::select! {
        _ = &mut everybody => return Ok(()),
        () = signals::shutdown_signal()? => stop.cancel(),
    }
    eprintln!("retell-webhook: stopping; what was booked is given back first. Once more stops at once");
    tokio::select! {
        _ = everybody => Ok(()),
        () = signals::shutdown_signal()? => {
            Err(CliError::Message("stopped at once; what was booked stays: see `appointments list`".to_owned()))
        }
    }
}

/// Whether the process that answered from afar, through a tunnel or a proxy, is the one that listens here.
async fn is_local_receiver(settings: &Settings, there: &ReceiverProbe) -> Result<bool, CliError> {
    let here = receiver_url::probe_receiver(&health::local_base_url(settings)).await?;
    Ok(matches!((there, &here), (ReceiverProbe::Receiver(there), ReceiverProbe::Receiver(here)) if there == here))
}

impl SimulationRun {
    /// Plays one call after the other.
    async fn run_worker(&self) {
        loop {
            let number = self.next_call.fetch_add(1, Ordering::Relaxed);
            if number >= self.calls || self.stop.is_cancelled() {
                return;
            }
            if let Some(every) = self.call_interval.filter(|_| self.sender.stop_reason().is_none()) {
                let due = self.started_at + every.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
                tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => {}
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
        let turn = usize::try_from(number).unwrap_or(0) % self.scenarios.len();
        let scenario = self.scenarios[turn];
        let call = || SimulatedCall::new(self.seed, number, self.started_ms);
        let (id, steps) = scenario.steps(call(), self.started_ms);
        let mut playing = CallProgress { scenario, id: id.into(), signatures_by_body: HashMap::new() };
        for step in steps {
            if self.stop.is_cancelled() {
                return;
            }
            self.send_step(&mut playing, step).await;
        }
        if scenario == Scenario::Appointment {
            let call = call().into_appointment_call(self.started_ms);
            self.run_appointment_call(&mut playing, number, call).await;
        }
    }

    async fn send_step(&self, playing: &mut CallProgress, step: ScenarioStep) {
        let ScenarioStep { event, body, delay: wait, signing: signed, is_revision: revises } = step;
        if self.sender.stop_reason().is_none() {
            tokio::time::sleep(wait).await;
        }
        let digest = store_check::body_digest(&body);
        let earlier =
            playing.signatures_by_body.get(&digest).cloned().filter(|_| signed == StepSigning::Reused).flatten();
        let url = event.is_inbound().then_some(&self.inbound_endpoint.0);
        let delivered = self.sender.send_with_retries(url, &body, earlier).await;
        self.retries.fetch_add(u64::from(delivered.attempts.saturating_sub(1)), Ordering::Relaxed);
        let outcome = delivered.outcome;
        if outcome.is_acknowledged() {
            self.record_latency(delivered.duration);
        }
        if playing.scenario == Scenario::Appointment {
            self.record_event_request(playing, (event, &body), &delivered);
        }
        playing.signatures_by_body.insert(digest, delivered.signature);
        let (scenario, id) = (playing.scenario, Arc::clone(&playing.id));
        let sent = SentEvent { scenario, event, id, body_digest: digest, is_revision: revises, outcome };
        let mut all = self.sent_events.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(sent);
        self.progress_bar.set_message(all.len().to_string());
    }
}
