//! One run of a program, from its start until its whole process group is gone.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join3;
#[cfg(unix)]
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Time that a running program has to exit by itself after the receiver begins to stop.
const STOP_GRACE_PERIOD: Duration = Duration::from_secs(5);
/// How long output is still read after the program has exited: a process that left the group may keep the pipe open.
const OUTPUT_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The program, its input and its environment.
pub(crate) struct ProgramRun<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [String],
    pub(crate) path_variable: Option<&'a OsStr>,
    pub(crate) environment_variables: Vec<(&'static str, String)>,
    pub(crate) stdin: &'a [u8],
    pub(crate) output_limit_bytes: usize,
    /// Whether standard error is captured together with standard output.
    pub(crate) capture_stderr: bool,
}

/// The exit of a program that was not interrupted.
pub(crate) struct ProgramExit {
    pub(crate) status: ExitStatus,
    /// The beginning of the captured output.
    pub(crate) output: Vec<u8>,
}

impl ProgramRun<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(self.arguments).env_clear().envs(self.path_variable.map(|path| ("PATH", path)));
        command.envs(self.environment_variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A separate process group does not receive Ctrl-C from the receiver's terminal, and can be killed as a whole.
        #[cfg(unix)]
        command.process_group(0);
        command
    }
}

/// Runs a program until it exits; `None` when the receiver stopped before. Its process group is killed when this future
/// ends or is dropped.
pub(crate) async fn run_program(run: ProgramRun<'_>, stopping: &CancellationToken) -> io::Result<Option<ProgramExit>> {
    let mut child = run.command().spawn()?;
    // Declared after `child`, so dropped before it: until the child has been waited for, the kernel cannot reuse its
    // process id for another process group.
    let group = ProcessGroup::of_child(&child);
    let output = ProgramOutput { captured: Mutex::default(), limit_bytes: run.output_limit_bytes };
    let discarded = ProgramOutput { captured: Mutex::default(), limit_bytes: 0 };
    let errors = if run.capture_stderr { &output } else { &discarded };
    let input = write_stdin(child.stdin.take(), run.stdin);
    let stdout = output.capture(child.stdout.take());
    let stderr = errors.capture(child.stderr.take());
    // All three pipes are served at the same time: a program that prints while it reads would otherwise block on a
    // full pipe.
    let mut pipes = pin!(join3(input, stdout, stderr));
    let mut stopped = pin!(wait_for_stop_grace_period(stopping));
    let mut pipes_open = true;
    loop {
        tokio::select! {
            exited = group.wait_for_exit_of_leader() => break exited?,
            _ = &mut pipes, if pipes_open => pipes_open = false,
            () = &mut stopped => return Ok(None),
        }
    }
    // Kills what the program left running.
    drop(group);
    let status = child.wait().await?;
    if pipes_open {
        let _ = tokio::time::timeout(OUTPUT_DRAIN_TIMEOUT, pipes).await;
    }
    Ok(Some(ProgramExit { status, output: output.take() }))
}

async fn wait_for_stop_grace_period(stopping: &CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(STOP_GRACE_PERIOD).await;
}

/// Errors are ignored: a program need not read its input.
async fn write_stdin(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input).await;
    }
}

/// Keeps the first `limit_bytes` and discards the rest, so that a program that prints more does not block.
struct ProgramOutput {
    captured: Mutex<Vec<u8>>,
    limit_bytes: usize,
}

impl ProgramOutput {
    async fn capture(&self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = vec![0; 8 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
            let room = self.limit_bytes.saturating_sub(captured.len());
            captured.extend(buffer.iter().take(length.min(room)));
        }
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.captured.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A program and the processes it started, except those that left its process group. Dropping it kills all of them.
struct ProcessGroup {
    #[cfg(unix)]
    leader: Option<Pid>,
}

impl ProcessGroup {
    #[cfg(unix)]
    fn of_child(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self { leader: id.and_then(Pid::from_raw) }
    }

    #[cfg(not(unix))]
    fn of_child(_: &Child) -> Self {
        Self {}
    }

    /// Does not reap the leader. That would free its process id, and the kernel could give it to another group before
    /// this one is killed.
    #[cfg(unix)]
    async fn wait_for_exit_of_leader(&self) -> io::Result<()> {
        let Some(leader) = self.leader else { return Ok(()) };
        // Before the first check, so that no exit is missed.
        let mut child_exits = signal(SignalKind::child())?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while waitid(WaitId::Pid(leader), options)?.is_none() {
            child_exits.recv().await;
        }
        Ok(())
    }

    #[cfg(not(unix))]
    async fn wait_for_exit_of_leader(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.leader {
            // The group is usually empty by now, and the call fails.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}
