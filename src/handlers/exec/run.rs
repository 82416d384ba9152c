//! One run of a program.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join3;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

/// How long a program that is under way when the receiver stops may take to end by itself.
const STOP_GRACE_PERIOD: Duration = Duration::from_secs(5);
/// How long what a program printed is read on after its end: somebody who left its group may hold the pipe open.
const OUTPUT_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What is run.
pub(super) struct ProgramRun<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: &'a [String],
    pub(super) path_variable: Option<&'a OsStr>,
    pub(super) environment_variables: Vec<(&'static str, String)>,
    pub(super) stdin: &'a [u8],
    pub(super) output_limit_bytes: usize,
    /// Whether what it prints on standard error is kept as well.
    pub(super) capture_stderr: bool,
}

/// A program that ran to its end.
pub(super) struct ProgramExit {
    pub(super) status: ExitStatus,
    /// The beginning of what it printed, on standard output and, where that is wanted, on standard error.
    pub(super) output: Vec<u8>,
}

impl ProgramRun<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(self.arguments).env_clear().envs(self.path_variable.map(|path| ("PATH", path)));
        command.envs(self.environment_variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A group of its own: Ctrl-C in the receiver's terminal is not meant for it, and all of it can be killed.
        #[cfg(unix)]
        command.process_group(0);
        command
    }
}

/// Runs it to its end; `None` when the receiver stopped before. Whatever it started is killed when this future ends or
/// is dropped.
pub(super) async fn run_program(call: ProgramRun<'_>, stopping: &CancellationToken) -> io::Result<Option<ProgramExit>> {
    let mut child = call.command().spawn()?;
    // Dropped before the child, whose number nobody else can have until then.
    let group = ProcessGroup::of_child(&child);
    let output = ProgramOutput { captured: Mutex::default(), limit_bytes: call.output_limit_bytes };
    let unheard = ProgramOutput { captured: Mutex::default(), limit_bytes: 0 };
    let errors = if call.capture_stderr { &output } else { &unheard };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut talk = pin!(join3(write_stdin(stdin, call.stdin), output.capture(stdout), errors.capture(stderr)));
    let mut late = pin!(wait_for_stop_grace_period(stopping));
    let mut talking = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = &mut talk, if talking => talking = false,
            () = &mut late => return Ok(None),
        }
    };
    // The leader's number stays taken as long as anybody is left in its group.
    drop(group);
    if talking {
        let _ = tokio::time::timeout(OUTPUT_DRAIN_TIMEOUT, talk).await;
    }
    Ok(Some(ProgramExit { status, output: output.take() }))
}

async fn wait_for_stop_grace_period(stopping: &CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(STOP_GRACE_PERIOD).await;
}

/// A program need not read its input to the end, or at all.
async fn write_stdin(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input).await;
    }
}

/// Keeps a beginning and reads on, so that nobody who prints more has to wait.
struct ProgramOutput {
    captured: Mutex<Vec<u8>>,
    limit_bytes: usize,
}

impl ProgramOutput {
    async fn capture(&self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = vec![0; 8 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let mut kept = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
            let room = self.limit_bytes.saturating_sub(kept.len());
            kept.extend(buffer.iter().take(length.min(room)));
        }
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.captured.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A program and whatever it started and did not put into a group of its own. Killed when it is dropped.
struct ProcessGroup {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

impl ProcessGroup {
    #[cfg(unix)]
    fn of_child(child: &Child) -> Self {
        let number = child.id().and_then(|number| i32::try_from(number).ok());
        Self { leader: number.and_then(rustix::process::Pid::from_raw) }
    }

    #[cfg(not(unix))]
    fn of_child(_: &Child) -> Self {
        Self {}
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.leader {
            // Nobody is left of it most of the time.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}
