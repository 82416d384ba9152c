//! Deadlines: slow targets, a locked ledger, slow bodies and a stopping service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use serde_json::json;

use super::{
    WEATHER_PATH, function_request_body, list_invocations, post_function_request, start_with_weather_function,
};
use crate::support::client::{RawClient, request_head};
use crate::support::destination::{DestinationServer, status_response};
use crate::support::signing::sign;
use crate::support::wait_until;

fn bern_request_body(call_id: &str) -> Vec<u8> {
    function_request_body(call_id, &json!({"city": "Bern"}))
}

/// Answers after a delay, with the number of earlier requests.
fn slow_sink(delay_ms: u64) -> DestinationServer {
    DestinationServer::start_with(move |before, _| {
        thread::sleep(Duration::from_millis(delay_ms));
        Response::new(Body::from(format!("answer {before}")))
    })
}

/// Answers once the flag is set, with the number of earlier requests.
fn blocked_sink() -> (DestinationServer, Arc<AtomicBool>) {
    let released = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&released);
    let sink = DestinationServer::start_with(move |before, _| {
        wait_until(Duration::from_secs(60), || gate.load(Ordering::Relaxed));
        Response::new(Body::from(format!("answer {before}")))
    });
    (sink, released)
}

#[test]
fn a_late_answer_is_stored_for_the_retry() {
    let (sink, released) = blocked_sink();
    let (home, server) = start_with_weather_function(&sink.url(), "timeout_ms = 1000");
    let ask = || post_function_request(server.address(), WEATHER_PATH, &bern_request_body("call_1"));
    assert_eq!(ask().json()["error"], "unavailable", "the deadline has passed");
    assert_eq!(list_invocations(&home)[0]["state"], "running");
    released.store(true, Ordering::Relaxed);
    assert!(wait_until(Duration::from_secs(20), || ask().text() == "answer 0"), "a retry gets the late answer");
    assert_eq!((ask().text().as_str(), sink.received().len()), ("answer 0", 1));
    let rows = list_invocations(&home);
    assert_eq!((rows.len(), &rows[0]["runs"], &rows[0]["state"]), (1, &json!(1), &json!("done")));
    assert!(server.output().contains("function answered late"), "{}", server.output());
}

#[test]
fn a_retry_waits_for_the_running_invocation() {
    let (sink, released) = blocked_sink();
    let (_home, server) = start_with_weather_function(&sink.url(), "timeout_ms = 4000");
    let address = server.address();
    assert_eq!(
        post_function_request(address, WEATHER_PATH, &bern_request_body("call_1")).json()["error"],
        "unavailable"
    );
    let retry =
        thread::spawn(move || post_function_request(address, WEATHER_PATH, &bern_request_body("call_1")).text());
    // Long enough for the retry to arrive, and well before its own deadline.
    thread::sleep(Duration::from_millis(1_500));
    released.store(true, Ordering::Relaxed);
    assert_eq!(retry.join().unwrap(), "answer 0", "before its own deadline");
    let metrics = server.metrics().text();
    for outcome in ["timed_out", "shared"] {
        assert!(metrics.contains(&format!(r#"{{function="weather",outcome="{outcome}"}} 1"#)), "{metrics}");
    }
}

#[test]
fn a_locked_ledger_delays_no_request_beyond_its_deadline() {
    let sink = slow_sink(20_000);
    let (home, server) = start_with_weather_function(&sink.url(), "timeout_ms = 1000");
    let address = server.address();
    let first =
        thread::spawn(move || post_function_request(address, WEATHER_PATH, &bern_request_body("call_1")).json());
    assert!(wait_until(Duration::from_secs(10), || list_invocations(&home).len() == 1));
    let other = home.open_invocation_ledger();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    let others = ["call_1", "call_2"].map(|call_id| {
        thread::spawn(move || post_function_request(address, WEATHER_PATH, &bern_request_body(call_id)).json())
    });
    for answer in others {
        assert_eq!(answer.join().unwrap()["error"], "unavailable");
    }
    assert!(began.elapsed() < Duration::from_millis(2_900), "earlier than the ledger's own lock timeout");
    assert_eq!(first.join().unwrap()["error"], "unavailable");
    other.execute_batch("COMMIT").unwrap();
}

#[test]
fn the_deadline_counts_from_the_head_of_the_request() {
    let sink = slow_sink(20_000);
    let (_home, server) = start_with_weather_function(&sink.url(), "timeout_ms = 3000");
    let body = bern_request_body("call_1");
    let signature = sign(&body);
    let mut client = RawClient::connect(server.address());
    client
        .send(request_head("POST", WEATHER_PATH, &[("X-Retell-Signature", &signature)], Some(body.len())).as_bytes())
        .unwrap();
    let began = Instant::now();
    for part in body.chunks(body.len().div_ceil(4)) {
        thread::sleep(Duration::from_millis(500));
        client.send(part).unwrap();
    }
    let answer = client.read_response().unwrap();
    assert_eq!((answer.status, &answer.json()["error"]), (200, &json!("unavailable")));
    assert!(began.elapsed() < Duration::from_millis(4_700), "a slow body does not extend the deadline");
}

#[test]
fn a_waiting_request_gets_the_fallback_when_the_service_stops() {
    let sink = slow_sink(60_000);
    let (home, mut server) = start_with_weather_function(&sink.url(), "timeout_ms = 60000\nfallback = \"Sorry.\"");
    let address = server.address();
    let asker = thread::spawn(move || post_function_request(address, WEATHER_PATH, &bern_request_body("call_1")));
    assert!(wait_until(Duration::from_secs(10), || list_invocations(&home).len() == 1));
    server.send_sigterm();
    let answer = asker.join().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "Sorry."));
    assert_eq!(server.wait_for_exit_code(), Some(0));
    let output = server.output();
    assert!(!output.contains("did not stop") && !output.contains("cut off"), "{output}");
    assert_eq!(list_invocations(&home)[0]["state"], "failed");
}

#[test]
fn a_request_answered_during_the_stop_gets_its_answer() {
    let sink = slow_sink(1_500);
    let (home, mut server) = start_with_weather_function(&sink.url(), "");
    let address = server.address();
    let asker = thread::spawn(move || post_function_request(address, WEATHER_PATH, &bern_request_body("call_1")));
    assert!(wait_until(Duration::from_secs(10), || list_invocations(&home).len() == 1));
    server.send_sigterm();
    assert_eq!(asker.join().unwrap().text(), "answer 0");
    assert_eq!(server.wait_for_exit_code(), Some(0));
    assert_eq!(list_invocations(&home)[0]["state"], "done");
}

#[test]
fn old_rows_are_removed() {
    let sink = DestinationServer::start_with(|_, _| status_response(200));
    let (home, mut server) = start_with_weather_function(&sink.url(), "");
    for call_id in ["call_1", "call_2"] {
        assert_eq!(post_function_request(server.address(), WEATHER_PATH, &bern_request_body(call_id)).status, 200);
    }
    server.kill();
    let age = "UPDATE invocations SET received_at_ms = received_at_ms - 86400000 - 1000 WHERE call_id = 'call_1';
        UPDATE invocation_signatures SET seen_at_ms = seen_at_ms - 86400000 WHERE id = 1;";
    home.open_invocation_ledger().execute_batch(age).unwrap();
    let _server = home.start_server();
    let count = |table: &str| -> i64 {
        home.open_invocation_ledger().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    let is_removed = || count("invocations") == 1 && count("invocation_signatures") == 1;
    assert!(wait_until(Duration::from_secs(20), is_removed), "old rows are still there");
    assert_eq!(list_invocations(&home)[0]["call_id"], "call_2");
}
