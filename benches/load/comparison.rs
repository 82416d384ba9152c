//! Which servers are measured, in which order and in which state.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::BenchError;
use crate::args::{LoadBenchArgs, RequestSize};
use crate::closed_loop;
use crate::process::{self, MeasuredServer};
use crate::report::{self, BenchReport, MeasuredRound};
use crate::request::RequestGenerator;

/// How long a server is watched to see whether it is idle, and how long it is waited for.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
const MAX_IDLE_WAIT: Duration = Duration::from_secs(120);

/// One of the two servers that are compared.
struct ComparedServer {
    name: &'static str,
    is_baseline: bool,
    /// Another build of the receiver.
    binary: Option<PathBuf>,
    /// Events to store before the first round.
    preload: Option<u32>,
    /// Starts every round anew, with an empty store or with the events stored
    /// before the first: otherwise it would hold those of its earlier rounds too.
    restart_each_round: bool,
    /// The folder of a server that stored events before the first round and ended.
    preloaded_folder: Option<TempDir>,
    server: Option<MeasuredServer>,
    /// Events sent to the server and accepted since it was started.
    accepted_events: u64,
}

/// Runs all rounds. Both servers stay alive, but only one gets load at a time,
/// and what a receiver stored stays with it: memory that grows from round to
/// round is to be seen.
pub async fn run_comparison(args: &LoadBenchArgs) -> Result<BenchReport<'_>, BenchError> {
    let generator = Arc::new(RequestGenerator::new(args.size)?);
    let mut sides = compared_servers(args);
    for side in &mut sides {
        side.start(args).await?;
        side.preload(args).await?;
    }
    let mut report = BenchReport::new(args, [sides[0].name, sides[1].name]);
    report::print_header(args);
    for number in 1..=args.rounds {
        // Each goes first every other round: what a round leaves behind on the machine meets both.
        for at in if number % 2 == 1 { [0, 1] } else { [1, 0] } {
            // A receiver that still hands events to its handlers would be in the way of the one that is measured.
            for side in &sides {
                side.wait_until_idle().await?;
            }
            let side = &mut sides[at];
            let round = side.run_round(args, &generator, number).await?;
            round.print();
            report.rounds.push(round);
        }
    }
    Ok(report)
}

/// The server that sets the measure, then the one that is judged by it.
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
    let (bare, receiver) = (ComparedServer::new("bare"), ComparedServer::new("receiver"));
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

    /// Stores events over the same way as all others: a store written by other
    /// means could differ from the one the receiver makes.
    async fn preload(&mut self, args: &LoadBenchArgs) -> Result<(), BenchError> {
        let (Some(server), Some(events)) = (&self.server, self.preload) else {
            return Ok(());
        };
        let generator = Arc::new(RequestGenerator::new(RequestSize::Small)?);
        let tally = closed_loop::run_counted(args, server.process(), &generator, events).await?;
        if let Some(trouble) = tally.failure_summary() {
            return Err(format!("preloading: {trouble}{}", server.log_tail()).into());
        }
        self.accepted_events += tally.accepted;
        self.wait_until_idle().await?;
        if self.restart_each_round {
            self.preloaded_folder = self.server.take().and_then(MeasuredServer::stop);
        }
        Ok(())
    }

    /// Waits until the server has worked off what it put off while it was busy.
    async fn wait_until_idle(&self) -> Result<(), BenchError> {
        let Some(server) = &self.server else {
            return Ok(());
        };
        let pid = server.process().pid;
        let began = Instant::now();
        while began.elapsed() < MAX_IDLE_WAIT {
            let before = process::cpu_time(pid)?;
            tokio::time::sleep(IDLE_CHECK_INTERVAL).await;
            if process::cpu_time(pid)?.saturating_sub(before) < IDLE_CHECK_INTERVAL / 20 {
                break;
            }
        }
        Ok(())
    }

    async fn run_round(
        &mut self,
        args: &LoadBenchArgs,
        generator: &Arc<RequestGenerator>,
        number: u32,
    ) -> Result<MeasuredRound, BenchError> {
        if self.server.is_none() {
            self.start(args).await?;
            self.wait_until_idle().await?;
        }
        let server = self.server.as_ref().ok_or("no server was started")?;
        let window = closed_loop::run_timed(args, server.process(), generator).await?;
        let memory = server.memory().map_err(|failure| format!("{}: {failure}", self.name))?;
        let accepted_before = self.accepted_events;
        self.accepted_events += window.stats.accepted;
        if self.restart_each_round {
            self.server = None;
        }
        Ok(MeasuredRound { server: self.name, is_baseline: self.is_baseline, number, accepted_before, window, memory })
    }
}
