//! Clients that hold connections open, or send parts of large requests: others are still answered, and memory is bounded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::bodies::event_body;
use crate::support::client::{self, RawClient, WEBHOOK_PATH, request_head};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{now_ms, sign};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

/// Connections of the attack, all from one address.
const ATTACKING_CONNECTIONS: usize = 1_260;
/// Large enough for a body file.
const LARGE_BODY_BYTES: usize = 20_000;

/// Starts the receiver with these limits on open files.
fn start_with_file_limit(env: &TestEnv, soft: usize, hard: usize) -> ReceiverProcess {
    let serve = env.command(&["serve"]);
    let mut shell = Command::new("/bin/sh");
    let limits = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" serve");
    shell.args(["-c", &limits]).arg(serve.get_program()).current_dir(env.path()).env_clear().envs(env.env());
    shell.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    ReceiverProcess::start(shell)
}

fn metric(server: &ReceiverProcess, name: &str) -> usize {
    let page = server.metrics().text();
    let line = page.lines().find(|line| line.starts_with(&format!("retell_webhook_{name} ")));
    let value = line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next().unwrap();
    value.parse::<f64>().unwrap().to_string().parse().unwrap()
}

/// Connections that send `first` and nothing else.
fn hold_connections(address: SocketAddr, count: usize, first: &[u8]) -> Vec<TcpStream> {
    let connect = || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
        stream.set_nonblocking(true).unwrap();
        // The rest of a large part does not matter: the receiver may have refused it already.
        let _ = stream.write(first);
        stream
    };
    (0..count).map(|_| connect()).collect()
}

fn large_event(number: usize) -> Vec<u8> {
    let text = "x".repeat(LARGE_BODY_BYTES);
    let call = serde_json::json!({ "call_id": format!("call_{number}"), "transcript": text });
    serde_json::json!({ "event": "call_ended", "call": call }).to_string().into()
}

/// Sends signed events, each on a new connection; all must be acknowledged.
fn assert_honest_requests_are_answered(server: &ReceiverProcess, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let body = large_event(number);
        let answer = client::RawClient::connect(server.address()).request(
            "POST",
            WEBHOOK_PATH,
            &[("X-Retell-Signature", &sign(&body))],
            &body,
        );
        let answer = answer.unwrap_or_else(|| panic!("request {number} was dropped"));
        assert_eq!(answer.status, 200, "request {number}: {}", answer.text());
    }
}

#[test]
fn one_sender_with_many_connections_does_not_starve_others() {
    let partial_head = b"POST /webhook HTTP/1.1\r\nHost: a\r\n".to_vec();
    let forged = format!("v={},d={}", now_ms(), "0".repeat(64));
    let partial_body = request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &forged)], Some(1_000));
    let complete = request_head("GET", "/ping", &[], None);
    for (limits, expected) in [((1_024, 1_024), 768), ((1_024, 20_000), 4_096), ((300, 300), 44)] {
        let env = TestEnv::new();
        let started_at = Instant::now();
        let mut server = start_with_file_limit(&env, limits.0, limits.1);
        assert_eq!(metric(&server, "connections_limit"), expected, "{limits:?}");
        assert_eq!(server.output().contains("open file limit low"), expected == 44, "{limits:?}");
        let kinds = [&b""[..], &partial_head, partial_body.as_bytes(), complete.as_bytes()];
        for (round, first) in kinds.into_iter().enumerate() {
            let held = hold_connections(server.address(), ATTACKING_CONNECTIONS, first);
            assert_honest_requests_are_answered(&server, round * 10..round * 10 + 10);
            assert!(metric(&server, "connections") <= expected);
            drop(held);
        }
        let closed = metric(&server, "connections_closed_at_limit_total");
        if expected < ATTACKING_CONNECTIONS {
            assert!(closed >= ATTACKING_CONNECTIONS - expected, "{closed} closed with {limits:?}");
            assert!(server.wait_for_output("connection limit reached"));
            let warnings = server.output().matches("connection limit reached").count();
            let max_warnings = 2 + started_at.elapsed().as_secs() / 60;
            assert!((1..=max_warnings).contains(&(warnings as u64)), "{warnings} warnings");
            assert!(server.output().contains("client_ip=127.0.0.1"), "{}", server.output());
        }
        assert_eq!(server.stop(), Some(0));
        assert_eq!(env.export_events().len(), 40, "every body was written and can be read");
    }
}

#[test]
fn a_request_that_is_processed_is_not_interrupted() {
    let env = TestEnv::new();
    env.write_config(
        "[[functions]]\nname = \"slow\"\ncommand = [\"/bin/sh\", \"-c\", \"sleep 2; echo done\"]\ntimeout_ms = 20000\n",
    );
    let mut server = start_with_file_limit(&env, 300, 300);
    let body = br#"{"name":"slow","call":{"call_id":"call_1"},"args":{}}"#;
    let head = request_head("POST", "/api/v1/function/slow", &[("X-Retell-Signature", &sign(body))], Some(body.len()));
    let mut caller = RawClient::connect(server.address());
    caller.send(head.as_bytes()).unwrap();
    caller.send(body).unwrap();
    // The function's request is complete before the others connect.
    let began = || metric(&server, "connections") == 1;
    assert!(wait_until(Duration::from_secs(5), began));
    std::thread::sleep(Duration::from_millis(200));
    let _held = hold_connections(server.address(), 200, b"");
    let answer = caller.read_response().expect("the answer of the function");
    assert_eq!((answer.status, answer.text().trim()), (200, "done"));
    assert_eq!(server.stop(), Some(0));
}

/// Resident memory of the receiver while 4,000 connections have each sent 60 kB of a head or a body, in bytes.
#[test]
fn memory_is_bounded_while_many_requests_are_incomplete() {
    const CONNECTIONS: usize = 4_000;
    let forged = format!("v={},d={}", now_ms(), "0".repeat(64));
    let forged_head = request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &forged)], Some(100_000));
    let large_head = format!("POST {WEBHOOK_PATH} HTTP/1.1\r\nHost: a\r\nX-Filler: {}", "x".repeat(60_000));
    let medium_head = format!("POST {WEBHOOK_PATH} HTTP/1.1\r\nHost: a\r\nX-Filler: {}", "x".repeat(15_000));
    let body = format!("{forged_head}{}", "x".repeat(60_000));
    for (what, part) in [("heads", large_head), ("heads below the limit", medium_head), ("bodies", body)] {
        let env = TestEnv::new();
        let mut server = env.start_server();
        let before = metric(&server, "process_resident_memory_bytes");
        let mut peak = 0;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS / 100 {
            held.extend(hold_connections(server.address(), 100, part.as_bytes()));
            peak = peak.max(metric(&server, "process_resident_memory_bytes"));
        }
        assert!(metric(&server, "inflight_body_bytes") <= metric(&server, "inflight_body_limit_bytes"));
        let grown_mib = peak.saturating_sub(before) / (1024 * 1024);
        println!("{CONNECTIONS} connections with incomplete {what}: {grown_mib} MiB more than at the start");
        // The budget (64 MiB), 8 KiB per connection (32 MiB), and what the connections themselves need.
        assert!(grown_mib < 64 + 32 + 64, "{what}: {grown_mib} MiB");
        if what != "bodies" {
            assert_honest_requests_are_answered(&server, 0..10);
        }
        drop(held);
        assert!(wait_until(Duration::from_secs(20), || metric(&server, "inflight_body_bytes") == 0), "{what}");
        assert_honest_requests_are_answered(&server, 10..20);
        assert_eq!(server.stop(), Some(0));
    }
}

#[test]
fn bodies_that_stall_give_way_to_those_of_others() {
    let env = TestEnv::new()
        .with_env("RETELL_WEBHOOK__SERVER__BODY_LIMIT_BYTES", "100000")
        .with_env("RETELL_WEBHOOK__SERVER__INFLIGHT_LIMIT_BYTES", "200000");
    let mut server = env.start_server();
    let forged = format!("v={},d={}", now_ms(), "0".repeat(64));
    let forged_head = request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &forged)], Some(90_000));
    let part = format!("{forged_head}{}", "x".repeat(60_000));
    // Two of them hold more than the half that one address may have.
    let mut held = hold_connections(server.address(), 2, part.as_bytes());
    assert!(wait_until(Duration::from_secs(5), || metric(&server, "inflight_body_bytes") >= 60_000));
    assert_eq!(server.post_signed(&event_body("call_ended", &"c".repeat(40_000))).status, 200);
    let mut answer = String::new();
    held[0].set_nonblocking(false).unwrap();
    held[0].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = held[0].read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 503") || answer.starts_with("HTTP/1.1 408"), "{answer}");
    drop(held);
    assert_eq!(server.stop(), Some(0));
}
