//! Floods of refused requests: the metrics count all of them, the log has a bounded number of lines.

use std::fs;
use std::time::Duration;

use crate::support::client::{RawClient, WEBHOOK_PATH, request_head};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const REQUESTS: usize = 5_000;
/// Lines that one address may cause: 20 at once, then one per second, and a summary per minute. A flood here takes less
/// than two minutes.
const MAX_LINES: usize = 20 + 120 + 4;

fn forged_signature() -> String {
    format!("v={},d={}", now_ms(), "0".repeat(64))
}

/// Sends the request on a connection that is kept while it can be. `expected` is the status, or `None` to stop sending in
/// the middle of the request. Each request waits for its end: a client that does not can outrun the receiver, which then
/// closes connections to make room.
fn flood(server: &ReceiverProcess, request: &[u8], expected: Option<u16>) {
    let mut client = RawClient::connect(server.address());
    for _ in 0..REQUESTS {
        let Some(status) = expected else {
            client.send(request).unwrap();
            client.shutdown_write();
            client.read_response();
            client = RawClient::connect(server.address());
            continue;
        };
        let answer = client.send(request).ok().and_then(|()| client.read_response());
        let answer = answer.unwrap_or_else(|| {
            client = RawClient::connect(server.address());
            client.send(request).unwrap();
            client.read_response().expect("a response")
        });
        assert_eq!(answer.status, status);
        if answer.header("connection").is_some_and(|value| value == "close") || status == 413 {
            client = RawClient::connect(server.address());
        }
    }
}

fn counter(server: &ReceiverProcess, series: &str) -> usize {
    let page = server.metrics().text();
    let line = page.lines().find(|line| line.starts_with(&format!("retell_webhook_{series} ")));
    line.unwrap_or_else(|| panic!("no {series} in {page}")).rsplit(' ').next().unwrap().parse().unwrap()
}

fn assert_flood_is_counted_and_not_logged(series: &str, request: &[u8], expected: Option<u16>) {
    let env = TestEnv::new();
    let mut server = env.start_server();
    flood(&server, request, expected);
    let is_complete = wait_until(Duration::from_secs(20), || counter(&server, series) == REQUESTS);
    assert!(is_complete, "{} counted", counter(&server, series));
    assert_eq!(server.stop(), Some(0));
    let log = fs::read_to_string(env.path().join("logs/app.log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("request")).count();
    assert!((1..=MAX_LINES).contains(&lines), "{series}: {lines} lines, such as {:?}", log.lines().nth(1));
    let suppressed: usize = log
        .lines()
        .filter(|line| line.contains("request log lines suppressed"))
        .map(|line| line.split("suppressed=").nth(1).unwrap().split(' ').next().unwrap().parse::<usize>().unwrap())
        .sum();
    let summaries = log.lines().filter(|line| line.contains("request log lines suppressed")).count();
    assert_eq!(suppressed + lines - summaries, REQUESTS, "{series}: every request is logged or in a summary");
}

#[test]
fn too_large_bodies() {
    let head = request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &forged_signature())], Some(20_000_000));
    let series = "requests_unreadable_total{reason=\"too_large\"}";
    assert_flood_is_counted_and_not_logged(series, head.as_bytes(), Some(413));
}

#[test]
fn bodies_that_are_cut_off() {
    let head = request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &forged_signature())], Some(100));
    let series = "requests_unreadable_total{reason=\"cut_off\"}";
    assert_flood_is_counted_and_not_logged(series, format!("{head}{{").as_bytes(), None);
}

#[test]
fn wrong_methods() {
    let head = request_head("PUT", WEBHOOK_PATH, &[], None);
    let series = "requests_unrouted_total{reason=\"method_not_allowed\"}";
    assert_flood_is_counted_and_not_logged(series, head.as_bytes(), Some(405));
}

#[test]
fn unknown_companies() {
    let head = request_head("POST", "/api/v1/webhook/retell/unknown", &[], Some(0));
    let series = "requests_unrouted_total{reason=\"unknown_company\"}";
    assert_flood_is_counted_and_not_logged(series, head.as_bytes(), Some(404));
}

#[test]
fn unknown_paths_with_a_signature_header() {
    let head = request_head("POST", "/unknown", &[("X-Retell-Signature", &forged_signature())], Some(0));
    let series = "requests_unrouted_total{reason=\"unknown_path\"}";
    assert_flood_is_counted_and_not_logged(series, head.as_bytes(), Some(404));
}

#[test]
fn addresses_that_are_not_allowed() {
    // The signature is of no use to an address that is not on the allowlist.
    let env_allowlist = TestEnv::new().with_env("RETELL_WEBHOOK__SECURITY__ALLOWLIST", "192.0.2.1");
    let mut server = env_allowlist.start_server();
    let head = request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &sign(b""))], Some(0));
    flood(&server, head.as_bytes(), Some(403));
    assert_eq!(counter(&server, "requests_rejected_total{reason=\"not_on_allowlist\"}"), REQUESTS);
    assert_eq!(server.stop(), Some(0));
    let log = fs::read_to_string(env_allowlist.path().join("logs/app.log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("request")).count();
    assert!((1..=MAX_LINES).contains(&lines), "{lines} lines");
}

#[test]
fn missing_signatures() {
    let head = request_head("POST", WEBHOOK_PATH, &[], Some(0));
    let series = "requests_rejected_total{reason=\"missing\"}";
    assert_flood_is_counted_and_not_logged(series, head.as_bytes(), Some(401));
}

#[test]
fn captured_requests_for_unknown_functions() {
    let signed = sign_with(KEY, b"{}", now_ms());
    let head = request_head("POST", "/api/v1/function/unknown", &[("X-Retell-Signature", &signed)], Some(2));
    let series = "function_requests_not_found_total";
    assert_flood_is_counted_and_not_logged(series, format!("{head}{{}}").as_bytes(), Some(404));
}

#[test]
fn the_test_route() {
    let env = TestEnv::new();
    let mut server = env.start_server();
    flood(&server, request_head("GET", "/api/v1/webhook/retell/test", &[], None).as_bytes(), Some(200));
    assert_eq!(server.stop(), Some(0));
    let log = fs::read_to_string(env.path().join("logs/app.log")).unwrap();
    assert!(log.lines().count() <= MAX_LINES, "{} lines", log.lines().count());
}

/// Slow bodies time out after 5 s, so the connections are open at the same time.
#[test]
fn slow_bodies() {
    const CONNECTIONS: usize = 1_000;
    let env = TestEnv::new();
    let mut server = env.start_server();
    let head = request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &forged_signature())], Some(100));
    let mut clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = RawClient::connect(server.address());
            client.send(head.as_bytes()).unwrap();
            client
        })
        .collect();
    assert!(clients.iter_mut().all(|client| client.read_response().is_some_and(|answer| answer.status == 408)));
    assert_eq!(counter(&server, "requests_unreadable_total{reason=\"body_timeout\"}"), CONNECTIONS);
    assert_eq!(server.stop(), Some(0));
    let log = fs::read_to_string(env.path().join("logs/app.log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("request")).count();
    assert!((1..=MAX_LINES).contains(&lines), "{lines} lines");
}

#[test]
fn a_full_log_file_stops_until_the_next_day_and_standard_output_continues() {
    for format in ["human", "json"] {
        let env = TestEnv::new()
            .with_env("RETELL_WEBHOOK__LOG__DAILY_LIMIT_BYTES", "65536")
            .with_env("RETELL_WEBHOOK__LOG__FORMAT", format);
        let mut server = env.start_server();
        for number in 0..500 {
            let body = crate::support::bodies::event_body("call_ended", &format!("call_{number}"));
            assert_eq!(server.post_signed(&body).status, 200);
        }
        assert!(server.wait_for_output("call_499"), "standard output continues");
        let path = env.path().join("logs/app.log");
        let last_line = || fs::read_to_string(&path).unwrap().lines().last().unwrap().to_owned();
        let is_full = || last_line().contains("log file full until the next day");
        assert!(wait_until(Duration::from_secs(10), is_full), "{}", last_line());
        if format == "json" {
            let line: serde_json::Value = serde_json::from_str(&last_line()).unwrap();
            assert_eq!((&line["level"], &line["limit_bytes"]), (&"WARN".into(), &65_536.into()));
        }
        assert!(fs::metadata(&path).unwrap().len() < 70_000);
        assert!(counter(&server, "log_lines_dropped_total{output=\"file\"}") > 100);
        assert_eq!(server.stop(), Some(0));
        assert!(fs::metadata(&path).unwrap().len() < 70_000);
    }
}
