//! The measured servers as child processes, with their processor time and memory as reported by the kernel.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use retell_webhook::internals::RequestTarget;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::args::LoadBenchArgs;
use crate::window::{API_KEY, ServerProcess};
use crate::{BenchError, baseline, idle};

/// Path of the receiver that cargo built for this run; `None` when compiled without cargo.
const BUILT_RECEIVER: Option<&str> = option_env!("CARGO_BIN_EXE_retell-webhook");

const START_LIMIT: Duration = Duration::from_secs(30);
const PING_LIMIT: Duration = Duration::from_secs(1);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Unit of the times in `/proc/<pid>/stat`: Linux reports them in hundredths of a second, regardless of its clock
/// rate.
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// A running server and its working folder. The server is stopped and the folder removed on drop.
pub struct MeasuredServer {
    child: Child,
    port: u16,
    /// Held for its `Drop`, which runs after the process has ended; `None` after [`stop`](Self::stop).
    work_dir: Option<TempDir>,
}

/// Resident memory of a process, in kilobytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResidentMemory {
    pub current_kb: u64,
    pub peak_kb: u64,
}

impl MeasuredServer {
    /// Starts the baseline server: this executable with another first argument.
    pub async fn start_baseline(args: &LoadBenchArgs) -> Result<Self, BenchError> {
        let port = free_port()?;
        let mut command = clean_command(&std::env::current_exe()?);
        command.args([baseline::BASELINE_FLAG, &port.to_string()]);
        Self::spawn(args, command, port, None).await
    }

    /// Starts the receiver with an empty store, or with a copy of the files in `files`.
    pub async fn start_receiver(
        args: &LoadBenchArgs,
        build: Option<&Path>,
        files: Option<&Path>,
    ) -> Result<Self, BenchError> {
        let port = free_port()?;
        let mut command = clean_command(&receiver_path(args, build)?);
        command.arg("serve");
        command.env("RETELL_API_KEY", API_KEY);
        command.env("PORT", port.to_string());
        command.env("RETELL_WEBHOOK__SERVER__HOST", "127.0.0.1");
        command.envs(args.server_env.iter().map(|(name, value)| (name, value)));
        Self::spawn(args, command, port, files).await
    }

    async fn spawn(
        args: &LoadBenchArgs,
        mut command: Command,
        port: u16,
        files: Option<&Path>,
    ) -> Result<Self, BenchError> {
        let mut folder = tempfile::Builder::new().prefix("retell-webhook-load-").tempdir_in(args.work_dir())?;
        folder.disable_cleanup(args.keep);
        if let Some(files) = files {
            copy_synced(files, folder.path())?;
        }
        if args.idle.is_some() {
            let settings = folder.path().join("idle.toml");
            fs::write(&settings, idle::settings(args))?;
            command.arg("--config").arg(settings);
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
        let started_at = Instant::now();
        while started_at.elapsed() < START_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server exited at startup: {status}{}", self.log_tail()).into());
            }
            if let Ok(Ok(200)) = timeout(PING_LIMIT, self.ping()).await {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
        Err(format!("no response with status 200 on /ping{}", self.log_tail()).into())
    }

    /// The status of a request that both servers answer.
    async fn ping(&self) -> Result<u16, BenchError> {
        let target = RequestTarget::new(&format!("http://127.0.0.1:{}/ping", self.port).parse()?)?;
        let mut connection = target.connect().await?;
        if connection.is_ready().await { Ok(connection.send(target.get()).await?) } else { Err("not ready".into()) }
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
                .ok_or_else(|| format!("the server has exited: {path} has no {name}{}", self.log_tail()))
        };
        Ok(ResidentMemory { current_kb: kilobytes("VmRSS")?, peak_kb: kilobytes("VmHWM")? })
    }

    /// Number of deliveries that have not ended, for all handlers together.
    pub fn pending_deliveries(&self, args: &LoadBenchArgs) -> Result<u64, BenchError> {
        let folder = self.work_dir.as_ref().ok_or("the working folder of the server was removed")?;
        let mut command = clean_command(&receiver_path(args, None)?);
        let output = command.args(["status", "--json"]).current_dir(folder.path()).output()?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let handlers = status["handlers"].as_array().ok_or("`status --json` lists no handlers")?;
        Ok(handlers.iter().filter_map(|handler| handler["behind"].as_u64()).sum())
    }

    /// The last 2,000 bytes of each log of the server, to append to an error message.
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

    /// Stops the server and returns its working folder.
    pub fn stop(mut self) -> Option<TempDir> {
        self.work_dir.take()
    }

    fn exits_within(&mut self, limit: Duration) -> bool {
        let started_at = Instant::now();
        while started_at.elapsed() < limit {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        false
    }
}

impl Drop for MeasuredServer {
    /// The process id stays valid until the child is reaped, so it cannot belong to another process here.
    fn drop(&mut self) {
        let pid = self.child.id();
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let signalled = send_sigterm(pid);
        if signalled.is_ok() && self.exits_within(STOP_LIMIT) {
            return;
        }
        eprintln!("load: server {pid} did not exit after SIGTERM, killing it");
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

/// Sends SIGTERM. The standard library can only send SIGKILL. The `kill` of the shell exists on every system and
/// saves a dependency for one call.
fn send_sigterm(pid: u32) -> std::io::Result<()> {
    Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &pid.to_string()]).status().map(|_| ())
}

/// User and system time of a process with all its threads.
pub fn cpu_time(pid: u32) -> Result<Duration, BenchError> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The second field is the name of the program, which can contain spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in a stat file")?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u32>);
    match (times.next(), times.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok(CLOCK_TICK * (user + system)),
        _ => Err(format!("{path} has no processor times").into()),
    }
}

/// Copies the files of a folder and its subfolders, and syncs them to disk. Delayed writes would disturb the
/// measurement.
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

/// A command with an empty environment except `PATH`, so that local settings, such as a log level, do not affect a
/// server.
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
        (None, None) => return Err("--server-bin is required without cargo".into()),
    };
    // The server runs in another folder, so the path must be absolute.
    fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn free_port() -> Result<u16, BenchError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
