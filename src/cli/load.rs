//! `load`: sizes a machine. Signed events that are all different, sent over a fixed number of connections: each sends its
//! next one once the last is answered, or, with a rate, once it is due.

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

/// As long as Retell waits; requests under way or overdue at the end are given as much.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A timer rings up to this late. That is no fault of the receiver's.
const TIMER_TOLERANCE: Duration = Duration::from_millis(2);
/// After an error, so that a receiver that is gone is not asked in a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// Bodies of 1 kB, 12 kB, 40 kB, or these in turn
    #[arg(long, value_enum, default_value_t = LoadBodySize::Small)]
    size: LoadBodySize,
    /// Send so many a second, whether the receiver keeps up or not [default: as fast as they are answered]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Connections, each with one request under way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// How long to send
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// The receiver [default: the one on this machine, by server.host and server.port]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Needed with `--i-own-this-server` to send to another machine
    #[arg(long)]
    yes_really: bool,
    /// Needed with `--yes-really` to send to another machine
    #[arg(long)]
    i_own_this_server: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What all connections share.
struct LoadRun {
    client: egress::Client,
    url: url::Url,
    key: Option<ApiKey>,
    bodies: LoadBodies,
    clock: Clock,
    started_at: Instant,
    ends_at: Instant,
    /// Time between two requests; `None` sends on as soon as one is answered.
    request_interval: Option<Duration>,
    /// The number of the next request.
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
        let plan = Arc::new(self.new_run(url, key)?);
        let mut crowd = TaskGroup::default();
        for _ in 0..self.connections {
            let plan = Arc::clone(&plan);
            crowd.spawn(async move { plan.run_connection().await });
        }
        self.show_progress(&plan).await;
        let cut_off = crowd.shutdown(REQUEST_TIMEOUT * 2).await;
        let tally = plan.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let report = LoadReport {
            stats: &tally,
            duration: plan.started_at.elapsed(),
            requests_due: plan.requests_due(),
            unfinished_connections: cut_off,
        };
        if self.json { report.print_json() } else { report.print_text() }?;
        if report.is_clean() { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }

    /// Load is for machines of one's own: any but this one must be asked for twice.
    fn webhook_url(&self, settings: &Settings) -> Result<url::Url, CliError> {
        let text = self.to.clone().unwrap_or_else(|| health::local_base_url(settings));
        let url = receiver_url::parse_webhook_url(&text, None)?;
        let asked_twice = self.yes_really && self.i_own_this_server;
        if !receiver_url::is_loopback(&url) && !asked_twice {
            return Err(CliError::Message(
                "this would flood another machine; if it is yours, say so: --yes-really --i-own-this-server".to_owned(),
            ));
        }
        Ok(url)
    }

    fn new_run(&self, url: url::Url, key: Option<ApiKey>) -> Result<LoadRun, CliError> {
        let clock = Clock::system();
        let bodies = LoadBodies::new(self.size, clock.now_ms())
            .ok_or_else(|| CliError::Message("there is no sample event to send".to_owned()))?;
        let client = egress::build_client(REQUEST_TIMEOUT)?;
        let begun = Instant::now();
        Ok(LoadRun {
            client,
            url,
            key,
            bodies,
            clock,
            started_at: begun,
            ends_at: begun + Duration::from_secs(self.seconds),
            request_interval: self.rate.map(|rate| Duration::from_secs(1) / rate),
            next_request: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            stats: Mutex::default(),
        })
    }

    /// Shows how far it is until the end.
    async fn show_progress(&self, plan: &LoadRun) {
        // Draws to stderr, and only when that is a terminal.
        let bar = ProgressBar::new(self.seconds);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} s, {msg} answered") {
            bar.set_style(style);
        }
        while Instant::now() < plan.ends_at {
            tokio::time::sleep(Duration::from_millis(200)).await;
            bar.set_position(plan.started_at.elapsed().as_secs());
            bar.set_message(plan.answered.load(Ordering::Relaxed).to_string());
        }
        bar.finish_and_clear();
    }
}

impl LoadRun {
    /// What one connection does.
    async fn run_connection(&self) {
        let mut tally = LoadStats::default();
        while let Some((number, since)) = self.wait_for_next_request().await {
            let outcome = self.send_request(number).await;
            let failed = outcome.is_err();
            tally.record_request(outcome, since.elapsed());
            self.answered.fetch_add(1, Ordering::Relaxed);
            if failed {
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).merge(&tally);
    }

    /// The next request's number, once it is due, and when its time began to count; `None` at the end.
    async fn wait_for_next_request(&self) -> Option<(u64, Instant)> {
        let now = Instant::now();
        let Some(every) = self.request_interval else {
            return (now < self.ends_at).then(|| (self.next_request.fetch_add(1, Ordering::Relaxed), now));
        };
        let number = self.next_request.fetch_add(1, Ordering::Relaxed);
        let due = self.started_at + every.checked_mul(u32::try_from(number).ok()?)?;
        if due >= self.ends_at || now >= self.ends_at + REQUEST_TIMEOUT {
            return None;
        }
        if due <= now {
            return Some((number, due));
        }
        tokio::time::sleep_until(due.into()).await;
        let woken = Instant::now();
        // Late beyond a timer's doing means that this machine does not keep up, which counts.
        Some((number, if woken - due <= TIMER_TOLERANCE { woken } else { due }))
    }

    /// How many requests the rate asks for.
    fn requests_due(&self) -> Option<u64> {
        let every = self.request_interval?.as_nanos().max(1);
        u64::try_from((self.ends_at - self.started_at).as_nanos().div_ceil(every)).ok()
    }

    /// The status and the size of the body sent.
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
        // The connection is free for the next one once this answer is read.
        response.bytes().await.map_err(|error| egress::failure_reason(&error))?;
        Ok((status, size))
    }
}
