//! Selects the servers to compare, and runs the rounds in alternating order.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::BenchError;
use crate::args::LoadBenchArgs;
use crate::process::{self, MeasuredServer};
use crate::report::{self, BenchReport, MeasuredRound};
use crate::window::{self, failure_summary};

/// Time window over which the processor time of a server must be low for it to count as idle.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
const MAX_IDLE_WAIT: Duration = Duration::from_secs(120);

/// One of the two servers that are compared.
struct ComparedServer {
    name: &'static str,
    is_baseline: bool,
    /// Another build of the receiver; `None` for the current one.
    binary: Option<PathBuf>,
    /// Number of events to store before the first round.
    preload: Option<u32>,
    /// Starts the server again for every round, with an empty store or with the preloaded events. Otherwise its store
    /// would grow from round to round.
    restart_each_round: bool,
    /// The folder of a stopped server that stored the preloaded events.
    preloaded_folder: Option<TempDir>,
    server: Option<MeasuredServer>,
    /// Number of events that the server has accepted since its start.
    accepted_events: u64,
}

/// Runs all rounds. Both servers stay alive, but only one gets load at a time. A receiver keeps its stored events, so
/// that memory that grows from round to round is visible.
pub async fn run_comparison(args: &LoadBenchArgs) -> Result<BenchReport<'_>, BenchError> {
    let mut sides = compared_servers(args);
    for side in &mut sides {
        side.start(args).await?;
        side.preload(args).await?;
    }
    let mut report = BenchReport::new(args, [sides[0].name, sides[1].name]);
    report::print_header(args);
    for number in 1..=args.rounds {
        // The order alternates, so that the after-effects of a round on the machine affect both servers equally.
        for at in if number % 2 == 1 { [0, 1] } else { [1, 0] } {
            // A receiver that still delivers events to handlers would slow down the measured server.
            for side in &sides {
                side.wait_until_idle().await?;
            }
            let side = &mut sides[at];
            let round = side.run_round(args, number).await?;
            round.print();
            report.rounds.push(round);
        }
    }
    Ok(report)
}

/// The reference server, then the server that is compared with it.
fn compared_servers(args: &LoadBenchArgs) -> [ComparedServer; 2] {
    if args.compare_preload.is_some() {
        let empty = ComparedServer::new("empty");
        let full = ComparedServer::new("preloaded");
        return [
            ComparedServer { restart_each_round: true, ..empty },
            ComparedServer { restart_each_round: true, preload: args.compare_preload, ..full },
        ];
    }
    if args.compare_bin.is_some() {
        let before = ComparedServer::new("before");
        let after = ComparedServer::new("after");
        return [
            ComparedServer { restart_each_round: true, binary: args.compare_bin.clone(), ..before },
            ComparedServer { restart_each_round: true, ..after },
        ];
    }
    let bare = ComparedServer::new("bare");
    let receiver = ComparedServer::new("receiver");
    [ComparedServer { is_baseline: true, ..bare }, ComparedServer { preload: args.preload, ..receiver }]
}

impl ComparedServer {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            is_baseline: false,
            binary: None,
            preload: None,
            restart_each_round: false,
            preloaded_folder: None,
            server: None,
            accepted_events: 0,
        }
    }

    async fn start(&mut self, args: &LoadBenchArgs) -> Result<(), BenchError> {
        let filled = self.preloaded_folder.as_ref().map(TempDir::path);
        self.accepted_events = if filled.is_some() { self.preload.map_or(0, u64::from) } else { 0 };
        let server = if self.is_baseline {
            MeasuredServer::start_baseline(args).await
        } else {
            MeasuredServer::start_receiver(args, self.binary.as_deref(), filled).await
        };
        let server = server.map_err(|failure| format!("{}: {failure}", self.name))?;
        self.server = Some(server);
        Ok(())
    }

    /// Stores the preloaded events by normal requests, because a store that is written in another way could differ.
    async fn preload(&mut self, args: &LoadBenchArgs) -> Result<(), BenchError> {
        let (Some(server), Some(events)) = (&self.server, self.preload) else {
            return Ok(());
        };
        let stats = window::run_counted(args, server.process(), events).await?;
        if let Some(summary) = failure_summary(&stats) {
            return Err(format!("preloading: {summary}{}", server.log_tail()).into());
        }
        self.accepted_events += stats.accepted;
        self.wait_until_idle().await?;
        if self.restart_each_round {
            self.preloaded_folder = self.server.take().and_then(MeasuredServer::stop);
        }
        Ok(())
    }

    /// Waits until the server has finished deferred work, such as checkpoints and deliveries.
    async fn wait_until_idle(&self) -> Result<(), BenchError> {
        let Some(server) = &self.server else {
            return Ok(());
        };
        let pid = server.process().pid;
        let started_at = Instant::now();
        while started_at.elapsed() < MAX_IDLE_WAIT {
            let before = process::cpu_time(pid)?;
            tokio::time::sleep(IDLE_CHECK_INTERVAL).await;
            if process::cpu_time(pid)?.saturating_sub(before) < IDLE_CHECK_INTERVAL / 20 {
                break;
            }
        }
        Ok(())
    }

    async fn run_round(&mut self, args: &LoadBenchArgs, number: u32) -> Result<MeasuredRound, BenchError> {
        if self.server.is_none() {
            self.start(args).await?;
            self.wait_until_idle().await?;
        }
        let server = self.server.as_ref().ok_or("no server was started")?;
        let window = window::run_timed(args, server.process()).await?;
        let memory = server.memory().map_err(|failure| format!("{}: {failure}", self.name))?;
        let accepted_before = self.accepted_events;
        self.accepted_events += window.stats.accepted;
        if self.restart_each_round {
            self.server = None;
        }
        Ok(MeasuredRound { server: self.name, is_baseline: self.is_baseline, number, accepted_before, window, memory })
    }
}
