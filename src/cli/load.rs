//! `load`: a load generator to size a machine. It sends unique signed events over a fixed number of connections. Each
//! connection sends the next request after the last response (closed loop) or, with `--rate`, at fixed times (open
//! loop).

mod body;
mod stats;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::body::{LoadBodies, LoadBodySize};
use self::stats::{LoadReport, LoadStats};
use super::output::{CliError, CliResult};
use super::{context, health, keys, receiver_url};
use crate::base::clock::Clock;
use crate::base::supervise::TaskGroup;
use crate::config::Settings;
use crate::egress;
use crate::security::keys::ApiKey;
use crate::security::signature::{SIGNATURE_HEADER, Signature};

/// Retell waits for a response for this long by default. Requests that are in flight or overdue at the end get as
/// much.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Timers fire up to this late. The delay does not count as latency of the receiver.
const TIMER_TOLERANCE: Duration = Duration::from_millis(2);
/// Pause after an error, so that a stopped receiver is not contacted in a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// Size of the bodies: 1 kB, 12 kB, 40 kB, or all three in turn
    #[arg(long, value_enum, default_value_t = LoadBodySize::Small)]
    size: LoadBodySize,
    /// Number of requests per second, even if the receiver does not keep up [default: as fast as they are answered]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Number of connections, each with one request in flight
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Duration of the load in seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// URL of the receiver [default: the receiver on this machine, by server.host and server.port]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Required with `--i-own-this-server` to send to another machine
    #[arg(long)]
    yes_really: bool,
    /// Required with `--yes-really` to send to another machine
    #[arg(long)]
    i_own_this_server: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// The state that all connections of a run share.
struct LoadRun {
    client: egress::Client,
    url: url::Url,
    key: Option<ApiKey>,
    bodies: LoadBodies,
    clock: Clock,
    started_at: Instant,
    ends_at: Instant,
    /// Interval between two requests; `None` in the closed loop.
    request_interval: Option<Duration>,
    next_request: AtomicU64,
    answered: AtomicU64,
    stats: Mutex<LoadStats>,
}

impl LoadArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let url = self.webhook_url(&settings)?;
        let needs_key = settings.security.verify || !settings.security.keys.is_empty();
        let key = if needs_key { Some(keys::signing_key(&settings, None)?) } else { None };
        eprintln!(
            "retell-webhook: sending to {url} for {} s; these events are stored and handled like any others",
            self.seconds
        );
        let run = Arc::new(self.new_run(url, key)?);
        let mut connections = TaskGroup::default();
        for _ in 0..self.connections {
            let run = Arc::clone(&run);
            connections.spawn(async move { run.run_connection().await });
        }
        self.show_progress(&run).await;
        let unfinished_connections = connections.shutdown(REQUEST_TIMEOUT * 2).await;
        let stats = run.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let report = LoadReport {
            stats: &stats,
            duration: run.started_at.elapsed(),
            requests_due: run.requests_due(),
            unfinished_connections,
        };
        if self.json { report.print_json() } else { report.print_text() }?;
        if report.is_clean() { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }

    /// The URL of the webhook. Another machine requires two confirming options, because the load could be an attack.
    fn webhook_url(&self, settings: &Settings) -> Result<url::Url, CliError> {
        let text = self.to.clone().unwrap_or_else(|| health::local_base_url(settings));
        let url = receiver_url::parse_webhook_url(&text, None)?;
        let is_confirmed = self.yes_really && self.i_own_this_server;
        if !receiver_url::is_loopback(&url) && !is_confirmed {
            return Err(CliError::Message(format!(
                "{url} is on another machine, which the load may overload; if the machine is yours, add --yes-really \
                 --i-own-this-server"
            )));
        }
        Ok(url)
    }

    fn new_run(&self, url: url::Url, key: Option<ApiKey>) -> Result<LoadRun, CliError> {
        let clock = Clock::system();
        let bodies = LoadBodies::new(self.size, clock.now_ms())
            .ok_or_else(|| CliError::Message("no sample event exists for this size".to_owned()))?;
        let client = egress::build_client(REQUEST_TIMEOUT)?;
        let started_at = Instant::now();
        Ok(LoadRun {
            client,
            url,
            key,
            bodies,
            clock,
            started_at,
            ends_at: started_at + Duration::from_secs(self.seconds),
            request_interval: self.rate.map(|rate| Duration::from_secs(1) / rate),
            next_request: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            stats: Mutex::default(),
        })
    }

    /// Shows the progress until the end of the load.
    async fn show_progress(&self, run: &LoadRun) {
        // The bar is drawn on standard error, and only when that is a terminal.
        let bar = ProgressBar::new(self.seconds);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} s, {msg} answered") {
            bar.set_style(style);
        }
        while Instant::now() < run.ends_at {
            tokio::time::sleep(Duration::from_millis(200)).await;
            bar.set_position(run.started_at.elapsed().as_secs());
            bar.set_message(run.answered.load(Ordering::Relaxed).to_string());
        }
        bar.finish_and_clear();
    }
}

impl LoadRun {
    async fn run_connection(&self) {
        // Statistics are local to the connection and merged at the end, so that requests do not contend for a lock.
        let mut stats = LoadStats::default();
        while let Some((number, latency_start)) = self.wait_for_next_request().await {
            let outcome = self.send_request(number).await;
            let is_error = outcome.is_err();
            stats.record_request(outcome, latency_start.elapsed());
            self.answered.fetch_add(1, Ordering::Relaxed);
            if is_error {
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).merge(&stats);
    }

    /// Waits until the next request is due. Returns its number and the start of its latency; `None` at the end.
    async fn wait_for_next_request(&self) -> Option<(u64, Instant)> {
        let now = Instant::now();
        let Some(interval) = self.request_interval else {
            return (now < self.ends_at).then(|| (self.next_request.fetch_add(1, Ordering::Relaxed), now));
        };
        let number = self.next_request.fetch_add(1, Ordering::Relaxed);
        let due_at = self.started_at + interval.checked_mul(u32::try_from(number).ok()?)?;
        if due_at >= self.ends_at || now >= self.ends_at + REQUEST_TIMEOUT {
            return None;
        }
        // All connections were busy when the request was due. The wait counts: a real sender would have sent it then.
        if due_at <= now {
            return Some((number, due_at));
        }
        tokio::time::sleep_until(due_at.into()).await;
        let woken_at = Instant::now();
        // A longer delay than that of a timer means that the machine is overloaded, so it counts as latency.
        let is_timer_delay = woken_at - due_at <= TIMER_TOLERANCE;
        Some((number, if is_timer_delay { woken_at } else { due_at }))
    }

    /// Number of requests that `--rate` requires; `None` in the closed loop.
    fn requests_due(&self) -> Option<u64> {
        let interval = self.request_interval?.as_nanos().max(1);
        u64::try_from((self.ends_at - self.started_at).as_nanos().div_ceil(interval)).ok()
    }

    /// Sends request `number`; returns the status and the size of the sent body in bytes.
    async fn send_request(&self, number: u64) -> Result<(u16, usize), &'static str> {
        let body = self.bodies.render(number);
        let size = body.len();
        let mut request = self.client.post(self.url.clone()).header("content-type", "application/json");
        if let Some(key) = &self.key {
            let signature = Signature::sign(key, body.as_bytes(), self.clock.now_ms());
            request = request.header(SIGNATURE_HEADER, signature.to_string());
        }
        let response = request.body(body).send().await.map_err(|error| egress::failure_reason(&error))?;
        let status = response.status().as_u16();
        // The connection can be reused only after the whole response is read.
        response.bytes().await.map_err(|error| egress::failure_reason(&error))?;
        Ok((status, size))
    }
}
