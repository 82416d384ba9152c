//! A folder to run the program in, with a cleared environment that local settings do not affect.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use super::server::{ReceiverProcess, wait_for_exit};
use super::signing::KEY;

pub struct TestEnv {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// Exit code and output of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub exit_code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl CommandOutput {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// One line of `events export`.
#[derive(Clone, Debug)]
pub struct ExportedEvent {
    pub json: Value,
    pub body: Vec<u8>,
}

impl ExportedEvent {
    /// Parses one line of `events export`.
    pub fn parse(line: &str) -> Self {
        let json: Value = serde_json::from_str(line).unwrap();
        let body = BASE64_STANDARD.decode(json["body_base64"].as_str().unwrap()).unwrap();
        Self { json, body }
    }

    pub fn event(&self) -> Option<&str> {
        self.json["event"].as_str()
    }

    pub fn call_id(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        body["call"]["call_id"].as_str().map(str::to_owned)
    }

    pub fn signature(&self) -> Option<&str> {
        self.json["headers"]["x-retell-signature"].as_str()
    }
}

impl TestEnv {
    /// An environment in which [`KEY`] is configured.
    pub fn new() -> Self {
        Self::without_key().with_env("RETELL_API_KEY", KEY)
    }

    pub fn without_key() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() };
        home.with_env("RETELL_WEBHOOK__SERVER__HOST", "127.0.0.1")
            .with_env("RETELL_WEBHOOK__SERVER__PORT", "0")
            .with_env("RETELL_WEBHOOK__OPS__LISTEN", "127.0.0.1:0")
    }

    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.set_env(name, value);
        self
    }

    pub fn set_env(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write_config(&self, text: &str) {
        std::fs::create_dir_all(self.path().join("config")).unwrap();
        std::fs::write(self.path().join("config/local.toml"), text).unwrap();
    }

    pub fn database_path(&self) -> PathBuf {
        self.path().join("data/retell-webhook.db")
    }

    /// A second connection to the database of the store, as another program would open it.
    pub fn open_database(&self) -> rusqlite::Connection {
        Self::open_sqlite(&self.database_path())
    }

    /// A connection to the database of the invocation ledger.
    pub fn open_invocation_ledger(&self) -> rusqlite::Connection {
        Self::open_sqlite(&self.path().join("data/retell-webhook.db-ledger"))
    }

    fn open_sqlite(path: &Path) -> rusqlite::Connection {
        let conn = rusqlite::Connection::open(path).unwrap();
        conn.busy_timeout(Duration::from_secs(5)).unwrap();
        conn
    }

    pub fn env(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retell-webhook"));
        command.args(args).current_dir(self.path()).env_clear();
        command.envs(self.env());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Makes commands look for the receiver on the ports of `server`.
    pub fn use_ports_of(&mut self, server: &ReceiverProcess) {
        self.set_env("RETELL_WEBHOOK__SERVER__PORT", &server.address().port().to_string());
        self.set_env("RETELL_WEBHOOK__OPS__LISTEN", &server.ops_address().to_string());
    }

    pub fn start_server(&self) -> ReceiverProcess {
        ReceiverProcess::start(self.command(&["serve"]))
    }

    /// Runs `serve` and expects it to exit.
    pub fn start_expecting_exit(&self) -> CommandOutput {
        self.run(&["serve"])
    }

    pub fn run(&self, args: &[&str]) -> CommandOutput {
        self.run_with_input(args, b"")
    }

    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> CommandOutput {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let out = std::thread::spawn(move || std::io::read_to_string(out).unwrap());
        let err = std::thread::spawn(move || std::io::read_to_string(err).unwrap());
        let code = wait_for_exit(&mut child, Duration::from_secs(60));
        feed.join().unwrap();
        CommandOutput { exit_code: code, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
    }

    /// Runs a command that must succeed.
    pub fn run_ok(&self, args: &[&str]) -> CommandOutput {
        let ran = self.run(args);
        assert_eq!(ran.exit_code, Some(0), "{args:?}: {ran:?}");
        ran
    }

    /// All stored events, in the order of commit.
    pub fn export_events(&self) -> Vec<ExportedEvent> {
        let ran = self.run_ok(&["events", "export"]);
        ran.stdout.lines().map(ExportedEvent::parse).collect()
    }

    /// Output of `events list --json` with additional arguments.
    pub fn list_events(&self, args: &[&str]) -> Vec<Value> {
        let ran = self.run_ok(&[&["events", "list", "--json"], args].concat());
        ran.json().as_array().expect("an array").clone()
    }
}
