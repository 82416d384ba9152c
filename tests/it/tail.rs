//! `tail`: prints events as they arrive.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::support::bodies::{event_body, sample_payload};
use crate::support::server::wait_for_exit;
use crate::support::test_env::TestEnv;

const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// A running `tail`, which is killed when dropped.
struct TailProcess {
    child: Child,
    stdout_lines: Receiver<String>,
    stderr_lines: Receiver<String>,
}

fn read_lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    receive
}

impl TailProcess {
    fn start(home: &TestEnv, args: &[&str]) -> Self {
        Self::spawn(home.command(&[&["tail"], args].concat()))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (out, err) = (read_lines(child.stdout.take().unwrap()), read_lines(child.stderr.take().unwrap()));
        Self { child, stdout_lines: out, stderr_lines: err }
    }

    fn next_line(&self) -> String {
        self.stdout_lines.recv_timeout(WAIT_LIMIT).expect("a line")
    }

    fn next_json(&self) -> Value {
        serde_json::from_str(&self.next_line()).unwrap()
    }

    fn next_call_ids(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next_json()["call_id"].as_str().unwrap().to_owned()).collect()
    }

    /// Sends SIGINT; returns the arguments of the printed command and the lines that were printed until the end.
    fn interrupt(mut self) -> (Vec<String>, Vec<String>) {
        let signalled = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(signalled.success());
        assert_eq!(wait_for_exit(&mut self.child, WAIT_LIMIT), Some(0));
        let messages: Vec<_> = self.stderr_lines.iter().collect();
        let command =
            messages.iter().find_map(|line| line.strip_prefix("continue: retell-webhook tail ")).expect("a command");
        (command.split(' ').map(str::to_owned).collect(), self.stdout_lines.iter().collect())
    }
}

impl Drop for TailProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn as_strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn prints_the_latest_events_and_then_new_ones() {
    let home = TestEnv::new();
    let server = home.start_server();
    (0..12).for_each(|number| drop(server.post_signed(&event_body("call_started", &format!("call_{number}")))));
    let tail = TailProcess::start(&home, &["--json"]);
    let expected: Vec<_> = (2..12).map(|number| format!("call_{number}")).collect();
    assert_eq!(tail.next_call_ids(10), expected, "ten by default, oldest first");
    server.post_signed(&event_body("call_ended", "call_new"));
    let line = tail.next_json();
    assert_eq!((line["event"].as_str(), line["call_id"].as_str()), (Some("call_ended"), Some("call_new")));
    assert_eq!(line, home.list_events(&["--limit", "1"])[0], "the same object as in `events list`");
    assert_eq!(TailProcess::start(&home, &["--json", "-n", "2"]).next_call_ids(2), ["call_11", "call_new"]);
    assert_eq!(TailProcess::start(&home, &["--json", "--since", "1h"]).next_call_ids(13)[0], "call_0");
}

#[test]
fn a_line_has_event_ids_size_state_and_call_details() {
    let home = TestEnv::new();
    let server = home.start_server();
    server.post_signed(&sample_payload("02_"));
    server.post_signed(&sample_payload("02_"));
    server.post_signed(b"[]");
    let tail = TailProcess::start(&home, &[]);
    let line = tail.next_line();
    let event = &home.export_events()[0];
    for part in [event.event().unwrap(), &event.call_id().unwrap(), "agent_", "B  stored, +1 duplicate"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let unparsed = tail.next_line();
    assert!(unparsed.contains("2 B  unparsed") && !unparsed.contains('\u{1b}'), "{unparsed}");
    server.post_signed(br#"{"event":"call_ended","call":{"call_id":"c","duration_ms":83000,"disconnection_reason":"user_hangup","from_number":"+12025550143"}}"#);
    let ended = tail.next_line();
    assert!(ended.ends_with("1:23 user_hangup") && !ended.contains("+1202"), "{ended}");
}

#[test]
fn filters_select_events() {
    let home = TestEnv::new();
    let server = home.start_server();
    for (name, call) in [("call_started", "call_1"), ("call_ended", "call_1"), ("call_ended", "call_2")] {
        server.post_signed(&event_body(name, call));
    }
    let several =
        TailProcess::start(&home, &["--json", "--event", "call_started", "--event", "call_analyzed", "-n", "5"]);
    let call = TailProcess::start(&home, &["--json", "--call", "call_2"]);
    let unparsed = TailProcess::start(&home, &["--unparsed", "--json"]);
    let company = TailProcess::start(&home, &["--company", "default", "--json", "-n", "1"]);
    let unknown_company = TailProcess::start(&home, &["--company", "unknown", "--json"]);
    assert_eq!(several.next_call_ids(1), ["call_1"]);
    assert_eq!(call.next_call_ids(1), ["call_2"]);
    assert_eq!(company.next_call_ids(1), ["call_2"]);
    server.post_signed(&event_body("call_ended", "call_3"));
    server.post_signed(&event_body("call_analyzed", "call_2"));
    server.post_signed(b"[]");
    assert_eq!(several.next_json()["event"], "call_analyzed");
    assert_eq!(call.next_json()["event"], "call_analyzed");
    assert_eq!(unparsed.next_json()["state"], "unparsed");
    assert_eq!(company.next_call_ids(2), ["call_3", "call_2"]);
    let (command, printed) = unknown_company.interrupt();
    let options = as_strs(&command[2..]);
    assert!(printed.is_empty() && options == ["--company", "unknown", "--json"], "{command:?} {printed:?}");
}

#[test]
fn the_printed_command_resumes_without_gap_or_repetition() {
    let home = TestEnv::new();
    let server = home.start_server();
    let total = 60;
    let sender = std::thread::spawn(move || {
        (0..total).for_each(|number| drop(server.post_signed(&event_body("call_ended", &format!("call_{number}")))));
        server
    });
    let mut args = vec!["--json".to_owned(), "--since".to_owned(), "1h".to_owned()];
    let mut printed = Vec::new();
    while printed.len() < total {
        let tail = TailProcess::start(&home, &as_strs(&args));
        let first = tail.next_line();
        let (next, rest) = tail.interrupt();
        printed.extend([vec![first], rest].concat());
        args = next;
    }
    let _server = sender.join().unwrap();
    let calls = printed.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["call_id"].clone());
    let expected: Vec<_> = (0..total).map(|number| format!("call_{number}")).collect();
    assert_eq!(calls.collect::<Vec<_>>(), expected, "each one once");
    let unknown = home.run(&["tail", "--after", "evt_01890000-0000-7000-8000-000000000000"]);
    assert!(unknown.exit_code == Some(1) && unknown.stderr.contains("--since"), "{unknown:?}");
}

#[test]
fn waits_for_the_store_and_continues_after_restarts() {
    let home = TestEnv::new();
    let tail = TailProcess::start(&home, &["--json"]);
    let message = tail.stderr_lines.recv_timeout(WAIT_LIMIT).unwrap();
    assert!(message.contains("retell-webhook serve"), "{message}");
    assert!(!home.path().join("data").exists(), "reading commands create nothing");
    let mut server = home.start_server();
    server.post_signed(&event_body("call_started", "call_1"));
    assert_eq!(tail.next_call_ids(1), ["call_1"]);
    assert_eq!(server.stop(), Some(0));
    let mut server = home.start_server();
    server.post_signed(&event_body("call_ended", "call_2"));
    assert_eq!(tail.next_call_ids(1), ["call_2"]);
    server.kill();
    let server = home.start_server();
    server.post_signed(&event_body("call_ended", "call_3"));
    assert_eq!(tail.next_call_ids(1), ["call_3"]);
    drop(server);
    std::fs::remove_dir_all(home.path().join("data")).unwrap();
    let server = home.start_server();
    server.post_signed(&event_body("call_ended", "call_4"));
    assert_eq!(tail.next_call_ids(1), ["call_4"], "a new store in the same place");
    let (_, rest) = tail.interrupt();
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn ends_without_an_error_when_the_pipe_is_closed() {
    let home = TestEnv::new();
    let server = home.start_server();
    let mut child = home.command(&["tail"]).spawn().unwrap();
    drop(child.stdout.take());
    server.post_signed(&event_body("call_ended", "call_1"));
    assert_eq!(wait_for_exit(&mut child, WAIT_LIMIT), Some(0));
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
}

/// Runs `tail` in a pseudo-terminal; `None` on a machine without the `script` command of util-linux.
fn spawn_tail_in_terminal(home: &TestEnv, env: &[(&str, &str)]) -> Option<TailProcess> {
    let version = Command::new("script").arg("--version").output().ok()?;
    if !String::from_utf8_lossy(&version.stdout).contains("util-linux") {
        return None;
    }
    let program = home.command(&[]);
    let tail = format!("exec '{}' tail", program.get_program().to_string_lossy());
    let mut command = Command::new("script");
    command.args(["-qefc", &tail, "/dev/null"]).current_dir(home.path()).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("TERM", "xterm").env("SHELL", "/bin/sh").env("PATH", "/usr/bin:/bin").envs(env.iter().copied());
    // stdin stays open: at its end `script` would end the session.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(TailProcess::spawn(command))
}

#[test]
fn a_terminal_gets_colors_and_ctrl_c_ends() {
    let home = TestEnv::new();
    let server = home.start_server();
    let Some(mut tail) = spawn_tail_in_terminal(&home, &[]) else {
        println!("skipped: no `script` of util-linux on this machine");
        return;
    };
    server.post_signed(&event_body("call_ended", "call_1"));
    let line = tail.next_line();
    assert!(line.contains("\u{1b}[36mcall_ended") && line.contains("call_1"), "{line:?}");
    let mut keyboard = tail.child.stdin.take().unwrap();
    std::io::Write::write_all(&mut keyboard, b"\x03").unwrap();
    assert_eq!(wait_for_exit(&mut tail.child, WAIT_LIMIT), Some(0));
    let rest: Vec<_> = tail.stdout_lines.iter().collect();
    assert!(rest.iter().any(|line| line.starts_with("continue: retell-webhook tail --after evt_")), "{rest:?}");
    let plain = spawn_tail_in_terminal(&home, &[("NO_COLOR", "1")]).unwrap();
    let line = plain.next_line();
    assert!(line.contains("call_ended") && !line.contains('\u{1b}'), "{line:?}");
}
