//! The servers as child processes, and what the kernel knows about them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::args::LoadBenchArgs;
use crate::closed_loop::ServerProcess;
use crate::request::API_KEY;
use crate::{BenchError, baseline, client};

/// The receiver that cargo built for this run; absent when compiled without cargo.
const BUILT_RECEIVER: Option<&str> = option_env!("CARGO_BIN_EXE_retell-webhook");

const START_LIMIT: Duration = Duration::from_secs(30);
const PING_LIMIT: Duration = Duration::from_secs(1);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Unit of the times in `/proc/<pid>/stat`: Linux reports them to programs in
/// hundredths of a second whatever its own clock rate.
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// A running server and its folder; both go when this is dropped.
pub struct MeasuredServer {
    child: Child,
    port: u16,
    /// Held for its `Drop`, which runs after the process has ended; `None` once handed on.
    work_dir: Option<TempDir>,
}

/// Resident memory in kilobytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResidentMemory {
    pub current_kb: u64,
    pub peak_kb: u64,
}

impl MeasuredServer {
    /// The baseline: this executable in its other role.
    pub async fn start_baseline(args: &LoadBenchArgs) -> Result<Self, BenchError> {
        let port = free_port()?;
        let mut command = clean_command(&std::env::current_exe()?);
        command.args([baseline::BASELINE_FLAG, &port.to_string()]);
        Self::spawn(args, command, port, None).await
    }

    /// The program under test, with an empty store or a copy of the one in `filled`.
    pub async fn start_receiver(
        args: &LoadBenchArgs,
        build: Option<&Path>,
        filled: Option<&Path>,
    ) -> Result<Self, BenchError> {
        let port = free_port()?;
        let mut command = clean_command(&receiver_path(args, build)?);
        command.arg("serve");
        command.env("RETELL_API_KEY", API_KEY);
        command.env("PORT", port.to_string());
        command.env("RETELL_WEBHOOK__SERVER__HOST", "127.0.0.1");
        command.envs(args.server_env.iter().map(|(name, value)| (name, value)));
        Self::spawn(args, command, port, filled).await
    }

    async fn spawn(
        args: &LoadBenchArgs,
        mut command: Command,
        port: u16,
        filled: Option<&Path>,
    ) -> Result<Self, BenchError> {
        let mut folder = tempfile::Builder::new().prefix("retell-webhook-load-").tempdir_in(args.work_dir())?;
        folder.disable_cleanup(args.keep);
        if let Some(filled) = filled {
            copy_synced(filled, folder.path())?;
        }
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(folder.path().join("stdout.log"))?)
            .stderr(File::create(folder.path().join("stderr.log"))?)
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut server = Self { child, port, work_dir: Some(folder) };
        server.wait_until_ready().await?;
        Ok(server)
    }

    async fn wait_until_ready(&mut self) -> Result<(), BenchError> {
        let began = Instant::now();
        while began.elapsed() < START_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended at start: {status}{}", self.log_tail()).into());
            }
            if let Ok(Ok(200)) = timeout(PING_LIMIT, client::get_status(self.port, "/ping")).await {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
        Err(format!("the server did not answer /ping with 200{}", self.log_tail()).into())
    }

    pub fn process(&self) -> ServerProcess {
        ServerProcess { port: self.port, pid: self.child.id() }
    }

    pub fn memory(&self) -> Result<ResidentMemory, BenchError> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok())
                .ok_or_else(|| format!("the server has ended: {path} has no {name}{}", self.log_tail()))
        };
        Ok(ResidentMemory { current_kb: kilobytes("VmRSS")?, peak_kb: kilobytes("VmHWM")? })
    }

    /// Deliveries that have not ended, of all handlers together.
    pub fn pending_deliveries(&self, args: &LoadBenchArgs) -> Result<u64, BenchError> {
        let folder = self.work_dir.as_ref().ok_or("the server has no folder any more")?;
        let mut command = clean_command(&receiver_path(args, None)?);
        let printed = command.args(["status", "--json"]).current_dir(folder.path()).output()?;
        let status: serde_json::Value = serde_json::from_slice(&printed.stdout)?;
        let handlers = status["handlers"].as_array().ok_or("`status --json` lists no handlers")?;
        Ok(handlers.iter().filter_map(|handler| handler["behind"].as_u64()).sum())
    }

    /// The end of what the server logged, to be appended to a message.
    pub fn log_tail(&self) -> String {
        let mut text = String::new();
        let Some(folder) = &self.work_dir else { return text };
        for name in ["stdout.log", "stderr.log"] {
            let log = fs::read(folder.path().join(name)).unwrap_or_default();
            let end = &log[log.len().saturating_sub(2000)..];
            if !end.is_empty() {
                text += &format!("\n--- {name}\n{}", String::from_utf8_lossy(end).trim_end());
            }
        }
        text
    }

    /// Ends the server and hands on its folder.
    pub fn stop(mut self) -> Option<TempDir> {
        self.work_dir.take()
    }

    fn exits_within(&mut self, limit: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < limit {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        false
    }
}

impl Drop for MeasuredServer {
    /// The child is not reaped before it has ended, so the id cannot meanwhile
    /// belong to another process.
    fn drop(&mut self) {
        let pid = self.child.id();
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let asked = send_sigterm(pid);
        if asked.is_ok() && self.exits_within(STOP_LIMIT) {
            return;
        }
        eprintln!("load: server {pid} did not end when asked, killing it");
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

/// Sends SIGTERM. The standard library can only kill; the shell's own `kill` is
/// there on every system, and saves a dependency for one call.
fn send_sigterm(pid: u32) -> std::io::Result<()> {
    Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &pid.to_string()]).status().map(|_| ())
}

/// User and system time of a process and all its threads.
pub fn cpu_time(pid: u32) -> Result<Duration, BenchError> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The second field is the program's name, which may itself contain blanks.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in a stat file")?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u32>);
    match (times.next(), times.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok(CLOCK_TICK * (user + system)),
        _ => Err(format!("{path} has no processor times").into()),
    }
}

/// Copies files, and those of folders below, to the disk itself: what is
/// written back later would get in the way of the measurement.
fn copy_synced(from: &Path, to: &Path) -> Result<(), BenchError> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            fs::create_dir(&to)?;
            copy_synced(&from, &to)?;
        } else {
            fs::copy(&from, &to)?;
            File::open(&to)?.sync_all()?;
        }
    }
    Ok(())
}

/// Settings of the person who runs this, such as a number of threads or a log
/// level, must not reach one of the servers.
fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

pub fn receiver_path(args: &LoadBenchArgs, build: Option<&Path>) -> Result<PathBuf, BenchError> {
    let path = match (build.or(args.server_bin.as_deref()), BUILT_RECEIVER) {
        (Some(path), _) => path,
        (None, Some(path)) => Path::new(path),
        (None, None) => return Err("--server-bin is needed without cargo".into()),
    };
    // The server is started in a folder of its own.
    fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn free_port() -> Result<u16, BenchError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
