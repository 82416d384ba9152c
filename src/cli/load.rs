//! `load`: sizes a machine. Signed events that are all different, sent over a fixed number of connections: each sends its
//! next one once the last is answered, or, with a rate, once it is due.

mod body;
mod tally;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::body::{Bodies, Size};
use self::tally::{Report, Tally};
use super::output::{Done, Failure};
use super::{health, keys, stores, target};
use crate::base::clock::Clock;
use crate::base::supervise::Crowd;
use crate::config::Settings;
use crate::egress;
use crate::security::keys::ApiKey;
use crate::security::signature::{SIGNATURE_HEADER, Signature};

/// As long as Retell waits; requests under way or overdue at the end are given as much.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A timer rings up to this late. That is no fault of the receiver's.
const TIMER: Duration = Duration::from_millis(2);
/// After an error, so that a receiver that is gone is not asked in a busy loop.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(super) struct Load {
    /// Bodies of 1 kB, 12 kB, 40 kB, or these in turn
    #[arg(long, value_enum, default_value_t = Size::Small)]
    size: Size,
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
struct Plan {
    client: egress::Client,
    url: url::Url,
    key: Option<ApiKey>,
    bodies: Bodies,
    clock: Clock,
    begun: Instant,
    end: Instant,
    /// Time between two requests; `None` sends on as soon as one is answered.
    every: Option<Duration>,
    /// The number of the next request.
    next: AtomicU64,
    answered: AtomicU64,
    tally: Mutex<Tally>,
}

impl Load {
    pub(super) async fn run(self) -> Done {
        let settings = stores::settings()?;
        let url = self.target(&settings)?;
        let needs_key = settings.security.verify || !settings.security.keys.is_empty();
        let key = if needs_key { Some(keys::first(&settings, None)?) } else { None };
        eprintln!(
            "retell-webhook: sending to {url} for {} s; these events are stored and handled like any others",
            self.seconds
        );
        let plan = Arc::new(self.plan(url, key)?);
        let mut crowd = Crowd::default();
        for _ in 0..self.connections {
            let plan = Arc::clone(&plan);
            crowd.spawn(async move { plan.work().await });
        }
        self.watch(&plan).await;
        let cut_off = crowd.finish(TIMEOUT * 2).await;
        let tally = plan.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let report = Report { tally: &tally, took: plan.begun.elapsed(), due: plan.due(), cut_off };
        if self.json { report.json() } else { report.text() }?;
        if report.is_clean() { Ok(()) } else { Err(Failure::Said) }
    }

    /// Load is for machines of one's own: any but this one must be asked for twice.
    fn target(&self, settings: &Settings) -> Result<url::Url, Failure> {
        let text = self.to.clone().unwrap_or_else(|| health::local(settings));
        let url = target::webhook(&text, None)?;
        let asked_twice = self.yes_really && self.i_own_this_server;
        if !target::is_loopback(&url) && !asked_twice {
            return Err(Failure::Because(
                "this would flood another machine; if it is yours, say so: --yes-really --i-own-this-server".to_owned(),
            ));
        }
        Ok(url)
    }

    fn plan(&self, url: url::Url, key: Option<ApiKey>) -> Result<Plan, Failure> {
        let clock = Clock::system();
        let bodies = Bodies::new(self.size, clock.now_ms())
            .ok_or_else(|| Failure::Because("there is no sample event to send".to_owned()))?;
        let client = egress::client(TIMEOUT)?;
        let begun = Instant::now();
        Ok(Plan {
            client,
            url,
            key,
            bodies,
            clock,
            begun,
            end: begun + Duration::from_secs(self.seconds),
            every: self.rate.map(|rate| Duration::from_secs(1) / rate),
            next: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            tally: Mutex::default(),
        })
    }

    /// Shows how far it is until the end.
    async fn watch(&self, plan: &Plan) {
        // Draws to stderr, and only when that is a terminal.
        let bar = ProgressBar::new(self.seconds);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} s, {msg} answered") {
            bar.set_style(style);
        }
        while Instant::now() < plan.end {
            tokio::time::sleep(Duration::from_millis(200)).await;
            bar.set_position(plan.begun.elapsed().as_secs());
            bar.set_message(plan.answered.load(Ordering::Relaxed).to_string());
        }
        bar.finish_and_clear();
    }
}

impl Plan {
    /// What one connection does.
    async fn work(&self) {
        let mut tally = Tally::default();
        while let Some((number, since)) = self.take().await {
            let outcome = self.send(number).await;
            let failed = outcome.is_err();
            tally.note(outcome, since.elapsed());
            self.answered.fetch_add(1, Ordering::Relaxed);
            if failed {
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(&tally);
    }

    /// The next request's number, once it is due, and when its time began to count; `None` at the end.
    async fn take(&self) -> Option<(u64, Instant)> {
        let now = Instant::now();
        let Some(every) = self.every else {
            return (now < self.end).then(|| (self.next.fetch_add(1, Ordering::Relaxed), now));
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.begun + every.checked_mul(u32::try_from(number).ok()?)?;
        if due >= self.end || now >= self.end + TIMEOUT {
            return None;
        }
        if due <= now {
            return Some((number, due));
        }
        tokio::time::sleep_until(due.into()).await;
        let woken = Instant::now();
        // Late beyond a timer's doing means that this machine does not keep up, which counts.
        Some((number, if woken - due <= TIMER { woken } else { due }))
    }

    /// How many requests the rate asks for.
    fn due(&self) -> Option<u64> {
        let every = self.every?.as_nanos().max(1);
        u64::try_from((self.end - self.begun).as_nanos().div_ceil(every)).ok()
    }

    /// The status and the size of the body sent.
    async fn send(&self, number: u64) -> Result<(u16, usize), &'static str> {
        let body = self.bodies.make(number);
        let size = body.len();
        let mut request = self.client.post(self.url.clone()).header("content-type", "application/json");
        if let Some(key) = &self.key {
            let signature = Signature::sign(key, body.as_bytes(), self.clock.now_ms());
            request = request.header(SIGNATURE_HEADER, signature.to_string());
        }
        let response = request.body(body).send().await.map_err(|error| egress::reason(&error))?;
        let status = response.status().as_u16();
        // The connection is free for the next one once this answer is read.
        response.bytes().await.map_err(|error| egress::reason(&error))?;
        Ok((status, size))
    }
}
