//! `simulate`: calls that never were, sent as Retell would send them: signed, in order within a call, repeated when nobody
//! took them. Then the store is asked whether it has everything that was acknowledged.

mod appointment;
mod asked;
mod call;
mod cast;
mod check;
mod courier;
mod dice;
mod lines;
mod report;
mod scenario;
mod slot;
mod talk;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::appointment::Desk;
use self::call::Call;
use self::check::Sent;
use self::courier::{Courier, TIMEOUT};
use self::lines::Line;
use self::report::{Checked, Report};
use self::scenario::{Scenario, Signed, Step};
use super::output::{self, Done, Failure};
use super::target::{self, Answer};
use super::{health, keys, signals, stores};
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::base::supervise::Crowd;
use crate::config::{DEFAULT_SLUG, Settings};
use crate::egress;
use crate::intake::webhook_path;

/// Calls under way at once; each has one request under way.
const AT_ONCE: u64 = 16;
/// Another machine gets no more calls than this unless asked for twice: enough to try one's own tunnel.
const MOST_ELSEWHERE: u64 = 20;
const INTERRUPTED: &str = "stopped when asked to, so the rest was not sent; what was booked was given back";
/// Past what the rate asks for, nothing is waited for longer.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct Simulate {
    /// What the calls are like, as `--list` names it; several take turns [default: all, `appointment` only
    /// where appointments are enabled]
    #[arg(value_enum, value_name = "SCENARIO", hide_possible_values = true)]
    scenarios: Vec<Scenario>,
    /// How many calls
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    calls: u64,
    /// Start so many calls a second, such as 0.5 [default: as fast as they are answered, 16 at once at most]
    #[arg(long, value_name = "CALLS_PER_SECOND", value_parser = rate)]
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

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=1_000.0).contains(rate));
    rate.ok_or_else(|| "give calls a second, from 0.01 to 1000".to_owned())
}

/// A call under way.
struct Playing {
    scenario: Scenario,
    /// Of the call or chat.
    id: Arc<str>,
    /// By the bodies they went out with.
    signatures: HashMap<check::Digest, Option<String>>,
}

/// What all calls share.
struct Run {
    courier: Courier,
    scenarios: Vec<Scenario>,
    calls: u64,
    seed: u64,
    started_ms: i64,
    begun: Instant,
    /// Time between the starts of two calls.
    every: Option<Duration>,
    /// The number of the next call.
    next: AtomicU64,
    played: AtomicU64,
    retries: AtomicU64,
    sent: Mutex<Vec<Sent>>,
    /// The requests of calls about appointments.
    lines: Mutex<Vec<Line>>,
    desk: Desk,
    /// Where inbound requests go, and until when they must be answered.
    inbound: (url::Url, Duration),
    /// Requests for functions.
    function_calls: AtomicU64,
    /// No further calls, and what was booked is given back.
    stop: CancellationToken,
    /// Calls whose functions the receiver does not have.
    without_functions: AtomicU64,
    /// Microseconds of every acknowledged request.
    latency: Mutex<Option<Histogram<u64>>>,
    bar: ProgressBar,
}

impl Simulate {
    pub(super) async fn run(self) -> Done {
        if self.list {
            return self.print_scenarios();
        }
        let settings = stores::settings()?;
        let url = self.target(&settings)?;
        let answer = target::ask(&url.origin().ascii_serialization()).await?;
        if let Answer::None(why) = answer {
            return Err(Failure::Because(format!(
                "{url}: {why}; is the receiver running, and on that port? Nothing was sent"
            )));
        }
        let run = Arc::new(self.prepare(&settings, &url)?);
        eprintln!("retell-webhook: playing {} calls to {url}, seed {}", self.calls, run.seed);
        let mut crowd = Crowd::default();
        for _ in 0..self.calls.min(AT_ONCE) {
            let run = Arc::clone(&run);
            crowd.spawn(async move { run.work().await });
        }
        let calls = u32::try_from(self.calls).unwrap_or(u32::MAX);
        let longest = LONGEST.saturating_add(run.every.unwrap_or_default().saturating_mul(calls));
        finish(&run.stop, crowd.finish(longest)).await?;
        run.bar.finish_and_clear();
        let took = run.begun.elapsed();
        let sent = std::mem::take(&mut *run.sent.lock().unwrap_or_else(PoisonError::into_inner));
        let checked = self.check(&settings, &url, answer, &sent, run.started_ms).await?;
        self.report(&run, &url, took, &sent, checked)
    }

    fn report(&self, run: &Run, url: &url::Url, took: Duration, sent: &[Sent], checked: Checked) -> Done {
        let latency = run.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = run.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let report = Report {
            lines: &lines,
            function_calls: run.function_calls.load(Ordering::Relaxed),
            not_run: run.without_functions.load(Ordering::Relaxed),
            not_run_is_wrong: self.scenarios.contains(&Scenario::Appointment),
            seed: run.seed,
            calls: run.calls,
            unfinished: run.calls - run.played.load(Ordering::Relaxed),
            url: url.as_str(),
            effects: self.effects,
            took,
            sent,
            latency: latency.as_ref(),
            retries: run.retries.load(Ordering::Relaxed),
            checked,
            stopped: run.courier.stopped().or(run.stop.is_cancelled().then_some(INTERRUPTED)),
        };
        if self.json { report.json() } else { report.text() }?;
        if report.is_clean() { Ok(()) } else { Err(Failure::Said) }
    }

    fn print_scenarios(&self) -> Done {
        let all = Scenario::value_variants().iter();
        if self.json {
            let all = all.map(|scenario| json!({ "name": scenario.name(), "meaning": scenario.meaning() }));
            return output::json(&all.collect::<Vec<_>>());
        }
        let rows = all.map(|scenario| vec![scenario.name(), scenario.meaning()]);
        output::table(&["SCENARIO", "WHAT HAPPENS"], rows.collect(), "none")
    }

    fn target(&self, settings: &Settings) -> Result<url::Url, Failure> {
        let text = self.to.clone().unwrap_or_else(|| health::local(settings));
        let mut url = target::webhook(&text, self.company.as_deref())?;
        let asked_twice = self.yes_really && self.i_own_this_server;
        if !target::is_loopback(&url) && self.calls > MOST_ELSEWHERE && !asked_twice {
            return Err(Failure::Because(format!(
                "more than {MOST_ELSEWHERE} calls to another machine; if it is yours, say so: --yes-really \
                 --i-own-this-server"
            )));
        }
        if self.effects {
            url.query_pairs_mut().append_pair("effects", "true");
        }
        Ok(url)
    }

    /// The inbound webhook's own address beside the usual one; at another address it arrives like all events.
    fn inbound(&self, url: &url::Url) -> url::Url {
        let mut url = url.clone();
        let usual = webhook_path(self.company.as_deref().filter(|slug| *slug != DEFAULT_SLUG));
        if url.path() == usual {
            url.set_path(&format!("{usual}/inbound"));
        }
        url
    }

    fn prepare(&self, settings: &Settings, url: &url::Url) -> Result<Run, Failure> {
        // With verification off there may be no key, and none is needed.
        let needs_key = settings.security.verify || !settings.security.keys.is_empty();
        let key = if needs_key { Some(keys::first(settings, self.company.as_deref())?) } else { None };
        let clock = Clock::system();
        let started_ms = clock.now_ms();
        let scenarios = if self.scenarios.is_empty() {
            Scenario::usual(settings.appointments.enabled)
        } else {
            self.scenarios.clone()
        };
        // Short enough to be typed, and for a JSON number.
        let random = || u64::from_str_radix(&random_hex()[..8], 16).unwrap_or(0);
        let bar = ProgressBar::new(self.calls);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} calls, {msg} requests, {elapsed}") {
            bar.set_style(style);
        }
        Ok(Run {
            courier: Courier::new(egress::client(TIMEOUT)?, url.clone(), key, clock),
            scenarios,
            calls: self.calls,
            seed: self.seed.unwrap_or_else(random),
            started_ms,
            begun: Instant::now(),
            every: self.rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            next: AtomicU64::new(0),
            played: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            sent: Mutex::default(),
            lines: Mutex::default(),
            desk: Desk::new(settings, url, self.company.as_deref(), started_ms)?,
            inbound: (self.inbound(url), Duration::from_millis(settings.inbound.timeout_ms)),
            function_calls: AtomicU64::new(0),
            stop: CancellationToken::new(),
            without_functions: AtomicU64::new(0),
            latency: Mutex::new(Histogram::new_with_bounds(1, 60_000_000, 3).ok()),
            bar,
        })
    }

    /// Compares with the store, if the receiver that was sent to is the one whose store the settings name.
    async fn check(
        &self,
        settings: &Settings,
        url: &url::Url,
        there: Answer,
        sent: &[Sent],
        since_ms: i64,
    ) -> Result<Checked, Failure> {
        if !target::is_loopback(url) && !is_here(settings, &there).await? {
            return Ok(Checked::No("the receiver is not on this machine".to_owned()));
        }
        let store = match stores::open() {
            Ok(store) => store,
            Err(Failure::Because(why)) => return Ok(Checked::No(why)),
            Err(said) => return Err(said),
        };
        let company = self.company.as_deref().unwrap_or(DEFAULT_SLUG);
        let kept = check::look_up(&store, sent, company, since_ms).await?;
        Ok(Checked::Yes(check::compare(sent, &kept)))
    }
}

/// Until everybody is done. When asked to stop, calls under way only give back what they booked.
async fn finish(stop: &CancellationToken, everybody: impl Future<Output = usize>) -> Done {
    let mut everybody = std::pin::pin!(everybody);
    tokio::select! {
        _ = &mut everybody => return Ok(()),
        () = signals::stop()? => stop.cancel(),
    }
    eprintln!("retell-webhook: stopping; what was booked is given back first. Once more stops at once");
    tokio::select! {
        _ = everybody => Ok(()),
        () = signals::stop()? => {
            Err(Failure::Because("stopped at once; what was booked stays: see `appointments list`".to_owned()))
        }
    }
}

/// Whether the process that answered from afar, through a tunnel or a proxy, is the one that listens here.
async fn is_here(settings: &Settings, there: &Answer) -> Result<bool, Failure> {
    let here = target::ask(&health::local(settings)).await?;
    Ok(matches!((there, &here), (Answer::Receiver(there), Answer::Receiver(here)) if there == here))
}

impl Run {
    /// Plays one call after the other.
    async fn work(&self) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.calls || self.stop.is_cancelled() {
                return;
            }
            if let Some(every) = self.every.filter(|_| self.courier.stopped().is_none()) {
                let due = self.begun + every.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
                tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => {}
                    () = self.stop.cancelled() => return,
                }
            }
            self.play(number).await;
            if self.stop.is_cancelled() {
                return;
            }
            self.played.fetch_add(1, Ordering::Relaxed);
            self.bar.inc(1);
        }
    }

    async fn play(&self, number: u64) {
        let turn = usize::try_from(number).unwrap_or(0) % self.scenarios.len();
        let scenario = self.scenarios[turn];
        let call = || Call::new(self.seed, number, self.started_ms);
        let (id, steps) = scenario.steps(call(), self.started_ms);
        let mut playing = Playing { scenario, id: id.into(), signatures: HashMap::new() };
        for step in steps {
            if self.stop.is_cancelled() {
                return;
            }
            self.send(&mut playing, step).await;
        }
        if scenario == Scenario::Appointment {
            let call = call().about_an_appointment(self.started_ms);
            self.take_appointment(&mut playing, number, call).await;
        }
    }

    async fn send(&self, playing: &mut Playing, step: Step) {
        let Step { event, body, wait, signed, revises } = step;
        if self.courier.stopped().is_none() {
            tokio::time::sleep(wait).await;
        }
        let digest = check::digest(&body);
        let earlier = playing.signatures.get(&digest).cloned().filter(|_| signed == Signed::AsBefore).flatten();
        let url = event.is_inbound().then_some(&self.inbound.0);
        let delivered = self.courier.carry(url, &body, earlier).await;
        self.retries.fetch_add(u64::from(delivered.tries.saturating_sub(1)), Ordering::Relaxed);
        let outcome = delivered.outcome;
        if outcome.is_acknowledged() {
            self.note_latency(delivered.took);
        }
        if playing.scenario == Scenario::Appointment {
            self.note_event(playing, (event, &body), &delivered);
        }
        playing.signatures.insert(digest, delivered.signature);
        let (scenario, id) = (playing.scenario, Arc::clone(&playing.id));
        let sent = Sent { scenario, event, id, body: digest, revises, outcome };
        let mut all = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(sent);
        self.bar.set_message(all.len().to_string());
    }
}
