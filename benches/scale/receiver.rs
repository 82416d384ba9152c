//! The receiver as a child process, and the commands that read its store.

use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::BenchError;

/// Path of the receiver that cargo built for this run; `None` when compiled without cargo.
const BUILT_RECEIVER: Option<&str> = option_env!("CARGO_BIN_EXE_retell-webhook");
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// The store has its final size when this many checks, one per second, found the same.
const STABLE_CHECKS: u32 = 15;

pub struct Receiver {
    child: Child,
    build: PathBuf,
    folder: PathBuf,
    port: u16,
    ready_after: Duration,
}

/// When a command printed its first byte, and when it ended.
pub struct CommandTime {
    pub first_output: Duration,
    pub total: Duration,
}

impl Receiver {
    pub fn start(build: &Path, folder: &Path) -> Result<Self, BenchError> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let began = Instant::now();
        let child = command(build, folder, port)
            .arg("serve")
            .stdout(File::create(folder.join("stdout.log"))?)
            .stderr(File::create(folder.join("stderr.log"))?)
            .spawn()?;
        let mut receiver =
            Self { child, build: build.to_owned(), folder: folder.to_owned(), port, ready_after: Duration::ZERO };
        while !receiver.is_ready() {
            if let Some(status) = receiver.child.try_wait()? {
                return Err(format!("the receiver exited at its start: {status}; see {}", folder.display()).into());
            }
            if began.elapsed() > START_LIMIT {
                return Err("the receiver was not ready within 120 s".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        receiver.ready_after = began.elapsed();
        Ok(receiver)
    }

    /// Time from the start of the process to the first 200 of `/health/ready`.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    fn is_ready(&self) -> bool {
        use std::io::Write;
        let request = b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(request)?;
            let mut head = [0; 12];
            stream.read_exact(&mut head)?;
            Ok(head.ends_with(b"200"))
        };
        ask().unwrap_or(false)
    }

    /// Waits until no delivery is left, and returns how long that took.
    pub fn wait_for_deliveries(&self, limit: Duration) -> Result<Duration, BenchError> {
        let began = Instant::now();
        while began.elapsed() < limit {
            let output = command(&self.build, &self.folder, self.port).args(["status", "--json"]).output()?;
            let status: Value = serde_json::from_slice(&output.stdout)?;
            let handlers = status["handlers"].as_array().ok_or("`status --json` lists no handlers")?;
            let behind: u64 = handlers.iter().filter_map(|handler| handler["behind"].as_u64()).sum();
            if behind == 0 {
                return Ok(began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Err(format!("deliveries are left after {} s", limit.as_secs()).into())
    }

    /// Waits for work in the background that changes the size, such as compression.
    pub fn wait_until_size_is_stable(&self, limit: Duration) -> Result<(), BenchError> {
        let began = Instant::now();
        let mut unchanged = 0;
        let mut last = 0;
        while unchanged < STABLE_CHECKS {
            if began.elapsed() > limit {
                return Err(format!("the size of the store still changes after {} s", limit.as_secs()).into());
            }
            std::thread::sleep(Duration::from_secs(1));
            let bytes = disk_bytes(&self.folder)?;
            unchanged = if bytes.abs_diff(last) < last / 1_000 { unchanged + 1 } else { 0 };
            last = bytes;
        }
        Ok(())
    }

    /// Runs a command on the store. `None` when this build does not have it.
    pub fn time(&self, args: &[&str]) -> Result<Option<CommandTime>, BenchError> {
        let began = Instant::now();
        let mut command = command(&self.build, &self.folder, self.port);
        let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut output = child.stdout.take().ok_or("the command has no output")?;
        let mut first = [0];
        let read = output.read(&mut first)?;
        let first_output = began.elapsed();
        let printed = std::io::copy(&mut output, &mut std::io::sink())? + read as u64;
        let total_at_end = began.elapsed();
        let finished = child.wait_with_output()?;
        let total = if printed == 0 { began.elapsed() } else { total_at_end };
        match finished.status.code() {
            Some(2) => Ok(None),
            Some(0) => Ok(Some(CommandTime { first_output, total })),
            _ => {
                let text = String::from_utf8_lossy(&finished.stderr).into_owned();
                Err(format!("{args:?} failed: {} {text}", finished.status).into())
            }
        }
    }

    /// The output of a command.
    pub fn output(&self, args: &[&str]) -> Result<Vec<u8>, BenchError> {
        Ok(command(&self.build, &self.folder, self.port).args(args).output()?.stdout)
    }

    pub fn stop(mut self) -> Result<(), BenchError> {
        let pid = self.child.id().to_string();
        Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &pid]).status()?;
        let began = Instant::now();
        while began.elapsed() < STOP_LIMIT {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("the receiver did not stop within 60 s".into())
    }

    pub fn kill(mut self) -> Result<(), BenchError> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

/// A command of this build with the store in `folder`. Its environment is empty except for `PATH`, so that local
/// settings do not affect it.
fn command(build: &Path, folder: &Path, port: u16) -> Command {
    let mut command = Command::new(build);
    command.env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("RETELL_API_KEY", "key_scale_measurement_only_not_a_secret");
    command.env("DATABASE_URL", format!("sqlite://{}", database_path(folder).display()));
    command.env("PORT", port.to_string());
    command.env("RETELL_WEBHOOK__SERVER__HOST", "127.0.0.1");
    command.env("RETELL_WEBHOOK__OPS__LISTEN", "127.0.0.1:0");
    command.current_dir(folder).stdin(Stdio::null());
    command
}

pub fn database_path(folder: &Path) -> PathBuf {
    folder.join("scale.db")
}

/// Bytes that the files of the store take, without the disk reserve, which only takes up space.
pub fn disk_bytes(folder: &Path) -> Result<u64, BenchError> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with("-bodies") {
            for file in fs::read_dir(entry.path())? {
                bytes += allocated_bytes(&file?.path());
            }
        } else if name.starts_with("scale.db") && !name.ends_with(".reserve") {
            bytes += allocated_bytes(&entry.path());
        }
    }
    Ok(bytes)
}

/// Blocks that a file takes: less than its length when a part was punched out.
fn allocated_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // A file that was deleted meanwhile takes no space.
    fs::metadata(path).map_or(0, |file| file.blocks() * 512)
}

pub fn build_path(server_bin: Option<&Path>) -> Result<PathBuf, BenchError> {
    let path = match (server_bin, BUILT_RECEIVER) {
        (Some(path), _) => path,
        (None, Some(path)) => Path::new(path),
        (None, None) => return Err("--server-bin is required without cargo".into()),
    };
    fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()).into())
}
