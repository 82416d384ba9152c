//! Which servers are measured, in which order and in which state.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Fail;
use crate::args::{Args, Size};
use crate::drive;
use crate::process::{self, Server};
use crate::report::{self, Report, Round};
use crate::sign::Generator;

/// How long a server is watched to see whether it is idle, and how long it is waited for.
const REST_LOOK: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(120);

/// One of the two servers that are compared.
struct Side {
    name: &'static str,
    bare: bool,
    /// Another build of the receiver.
    build: Option<PathBuf>,
    /// Events to store before the first round.
    preload: Option<u32>,
    /// Starts every round anew, with an empty store or with the events stored
    /// before the first: otherwise it would hold those of its earlier rounds too.
    renewed: bool,
    /// The folder of a server that stored events before the first round and ended.
    filled: Option<TempDir>,
    server: Option<Server>,
    /// Events sent to the server and accepted since it was started.
    accepted: u64,
}

/// Runs all rounds. Both servers stay alive, but only one gets load at a time,
/// and what a receiver stored stays with it: memory that grows from round to
/// round is to be seen.
pub async fn measure(args: &Args) -> Result<Report<'_>, Fail> {
    let generator = Arc::new(Generator::new(args.size)?);
    let mut sides = sides(args);
    for side in &mut sides {
        side.start(args).await?;
        side.fill(args).await?;
    }
    let mut report = Report::new(args, [sides[0].name, sides[1].name]);
    report::print_header(args);
    for number in 1..=args.rounds {
        // Each goes first every other round: what a round leaves behind on the machine meets both.
        for at in if number % 2 == 1 { [0, 1] } else { [1, 0] } {
            // A receiver that still hands events to its handlers would be in the way of the one that is measured.
            for side in &sides {
                side.rest().await?;
            }
            let side = &mut sides[at];
            let round = side.round(args, &generator, number).await?;
            round.print();
            report.rounds.push(round);
        }
    }
    Ok(report)
}

/// The server that sets the measure, then the one that is judged by it.
fn sides(args: &Args) -> [Side; 2] {
    if args.compare_preload.is_some() {
        let empty = Side::new("empty");
        let full = Side::new("preloaded");
        return [Side { renewed: true, ..empty }, Side { renewed: true, preload: args.compare_preload, ..full }];
    }
    if args.compare_bin.is_some() {
        let before = Side::new("before");
        let after = Side::new("after");
        return [Side { renewed: true, build: args.compare_bin.clone(), ..before }, Side { renewed: true, ..after }];
    }
    let (bare, receiver) = (Side::new("bare"), Side::new("receiver"));
    [Side { bare: true, ..bare }, Side { preload: args.preload, ..receiver }]
}

impl Side {
    fn new(name: &'static str) -> Self {
        Self { name, bare: false, build: None, preload: None, renewed: false, filled: None, server: None, accepted: 0 }
    }

    async fn start(&mut self, args: &Args) -> Result<(), Fail> {
        let filled = self.filled.as_ref().map(TempDir::path);
        self.accepted = if filled.is_some() { self.preload.map_or(0, u64::from) } else { 0 };
        let server = if self.bare {
            Server::bare(args).await
        } else {
            Server::receiver(args, self.build.as_deref(), filled).await
        };
        let server = server.map_err(|failure| format!("{}: {failure}", self.name))?;
        self.server = Some(server);
        Ok(())
    }

    /// Stores events over the same way as all others: a store written by other
    /// means could differ from the one the receiver makes.
    async fn fill(&mut self, args: &Args) -> Result<(), Fail> {
        let (Some(server), Some(events)) = (&self.server, self.preload) else {
            return Ok(());
        };
        let generator = Arc::new(Generator::new(Size::Small)?);
        let tally = drive::counted(args, server.target(), &generator, events).await?;
        if let Some(trouble) = tally.trouble() {
            return Err(format!("preloading: {trouble}{}", server.log()).into());
        }
        self.accepted += tally.accepted;
        self.rest().await?;
        if self.renewed {
            self.filled = self.server.take().and_then(Server::stop);
        }
        Ok(())
    }

    /// Waits until the server has worked off what it put off while it was busy.
    async fn rest(&self) -> Result<(), Fail> {
        let Some(server) = &self.server else {
            return Ok(());
        };
        let pid = server.target().pid;
        let began = Instant::now();
        while began.elapsed() < LONGEST_REST {
            let before = process::cpu_time(pid)?;
            tokio::time::sleep(REST_LOOK).await;
            if process::cpu_time(pid)?.saturating_sub(before) < REST_LOOK / 20 {
                break;
            }
        }
        Ok(())
    }

    async fn round(&mut self, args: &Args, generator: &Arc<Generator>, number: u32) -> Result<Round, Fail> {
        if self.server.is_none() {
            self.start(args).await?;
            self.rest().await?;
        }
        let server = self.server.as_ref().ok_or("no server was started")?;
        let window = drive::timed(args, server.target(), generator).await?;
        let memory = server.memory().map_err(|failure| format!("{}: {failure}", self.name))?;
        let accepted_before = self.accepted;
        self.accepted += window.tally.accepted;
        if self.renewed {
            self.server = None;
        }
        Ok(Round { side: self.name, bare: self.bare, number, accepted_before, window, memory })
    }
}
