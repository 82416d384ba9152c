//! The program as a child process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::{self, HttpResponse};
use super::wait_until;

/// A running receiver. It is killed on drop.
pub struct ReceiverProcess {
    child: Child,
    address: SocketAddr,
    output: CapturedOutput,
    reader_threads: Vec<JoinHandle<()>>,
}

/// Everything that the process has written to standard output and standard error.
#[derive(Clone, Default)]
struct CapturedOutput(Arc<Mutex<String>>);

impl CapturedOutput {
    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    fn capture(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let captured = self.clone();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(from);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                captured.0.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        })
    }

    /// The address after the word `listening`; `None` until its line is complete.
    fn listening_address(&self) -> Option<SocketAddr> {
        let text = self.text();
        let rest = text.split_once("listening")?.1;
        let (line, _) = rest.split_once('\n')?;
        line.trim_start_matches([':', ' ']).trim_start_matches("on ").trim().trim_end_matches(['"', '}']).parse().ok()
    }
}

impl ReceiverProcess {
    pub fn start(command: Command) -> Self {
        let server = Self::spawn_and_wait_for_address(command);
        let answers = || client::RawClient::try_connect(server.address).ok()?.request("GET", "/ping", &[], b"");
        assert!(wait_until(Duration::from_secs(10), || answers().is_some()), "no answer: {}", server.output());
        server
    }

    /// Starts any program that prints its listening address, and waits for the address.
    pub fn spawn_and_wait_for_address(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let output = CapturedOutput::default();
        let readers = vec![output.capture(child.stdout.take().unwrap()), output.capture(child.stderr.take().unwrap())];
        let mut address = None;
        let up = wait_until(Duration::from_secs(30), || {
            address = output.listening_address();
            address.is_some() || child.try_wait().unwrap().is_some()
        });
        let Some(address) = address.filter(|_| up) else {
            let _ = child.kill();
            panic!("the server did not start: {}", output.text());
        };
        Self { child, address, output, reader_threads: readers }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The output up to now. The receiver collects log lines for a moment before it writes them.
    pub fn output(&self) -> String {
        std::thread::sleep(Duration::from_millis(200));
        self.output.text()
    }

    /// Waits until the output contains `text`.
    pub fn wait_for_output(&self, text: &str) -> bool {
        wait_until(Duration::from_secs(10), || self.output.text().contains(text))
    }

    /// Posts `body` with a valid signature.
    pub fn post_signed(&self, body: &[u8]) -> HttpResponse {
        client::post_signed(self.address, body)
    }

    pub fn get(&self, target: &str) -> HttpResponse {
        client::get(self.address, target)
    }

    /// The address of the operator listener, from the line about `/metrics`.
    pub fn ops_address(&self) -> SocketAddr {
        let output = self.output();
        let (before, _) = output.split_once("/metrics").expect("the URL of /metrics");
        before.rsplit("http://").next().unwrap().parse().unwrap()
    }

    /// The response of `/metrics` on the operator listener.
    pub fn metrics(&self) -> HttpResponse {
        client::get(self.ops_address(), "/metrics")
    }

    /// The response of `/health/ready` on the operator listener, with the result of each check.
    pub fn health_details(&self) -> HttpResponse {
        client::get(self.ops_address(), "/health/ready")
    }

    pub fn is_ready(&self) -> bool {
        self.get("/health/ready").status == 200
    }

    /// Kills the process with SIGKILL, which it cannot handle, as in a power failure.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    pub fn send_sigterm(&self) {
        self.send_signal("-TERM");
    }

    /// Sends a signal, given as an option of `kill` such as `-HUP`.
    pub fn send_signal(&self, signal: &str) {
        let signalled = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(signalled.success());
    }

    /// Sends SIGTERM and returns the exit code. The captured output is complete afterwards.
    pub fn stop(&mut self) -> Option<i32> {
        self.send_sigterm();
        self.wait_for_exit_code()
    }

    pub fn wait_for_exit_code(&mut self) -> Option<i32> {
        self.wait_for_exit_code_within(Duration::from_secs(25))
    }

    pub fn wait_for_exit_code_within(&mut self, limit: Duration) -> Option<i32> {
        let code = wait_for_exit(&mut self.child, limit);
        self.reader_threads.drain(..).for_each(|reader| reader.join().unwrap());
        code
    }
}

impl Drop for ReceiverProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<_> = output.lines().rev().take(30).collect();
            eprintln!("last output of the server:");
            lines.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// Waits for the exit code. Kills the process and panics when it does not exit in time.
pub fn wait_for_exit(child: &mut Child, limit: Duration) -> Option<i32> {
    if wait_until(limit, || child.try_wait().unwrap().is_some()) {
        return child.wait().unwrap().code();
    }
    let _ = child.kill();
    let _ = child.wait();
    panic!("the process did not end within {limit:?}");
}
