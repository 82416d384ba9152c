//! The promise to Retell: an event that was answered 2xx is stored exactly once.

mod restart;
mod storage_unavailable;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::bodies::event_body;
use crate::support::client::{HttpResponse, RawClient, WEBHOOK_PATH, request_head};
use crate::support::server::ReceiverProcess;
use crate::support::signing::sign;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

/// Sends all bodies at the same moment, each on a separate connection. The responses are in the order of the bodies.
fn send_concurrently(address: SocketAddr, bodies: &[Vec<u8>]) -> Vec<HttpResponse> {
    let start = Arc::new(Barrier::new(bodies.len()));
    let senders: Vec<_> = bodies
        .iter()
        .map(|body| {
            let (start, body) = (Arc::clone(&start), body.clone());
            thread::spawn(move || {
                let mut client = RawClient::connect(address);
                let signature = sign(&body);
                start.wait();
                client.request("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &signature)], &body).expect("a response")
            })
        })
        .collect();
    senders.into_iter().map(|sender| sender.join().unwrap()).collect()
}

#[test]
fn concurrent_duplicates_are_stored_once() {
    let home = TestEnv::new();
    let server = home.start_server();
    let body = event_body("call_ended", "call_raced");
    let responses = send_concurrently(server.address(), &vec![body.clone(); 50]);
    assert!(responses.iter().all(|response| response.status == 200 && response.json()["received"] == true));
    assert_eq!(responses.iter().filter(|response| response.is_duplicate()).count(), 49);
    let stored = home.export_events();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].body, body);
    assert_eq!(home.list_events(&[])[0]["duplicates"], 49);
}

#[test]
fn another_body_for_the_same_event_is_a_revision_of_the_first() {
    let home = TestEnv::new();
    let server = home.start_server();
    let revised = |cost: u8| {
        json!({ "event": "call_analyzed", "call": { "call_id": "call_1", "cost": cost } }).to_string().into_bytes()
    };
    for cost in 1..=3 {
        assert_eq!(server.post_signed(&revised(cost)).json(), json!({ "received": true }));
    }
    assert!(server.post_signed(&revised(2)).is_duplicate(), "a revision has its own identity");
    let mut rows = home.list_events(&[]);
    rows.reverse();
    assert_eq!(rows.len(), 3);
    assert!(rows[0]["revision_of"].is_null());
    assert_eq!([&rows[1]["revision_of"], &rows[2]["revision_of"]], [&rows[0]["id"]; 2]);
    let ids: BTreeSet<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn repeatable_event_kinds_are_not_revisions() {
    let home = TestEnv::new();
    let server = home.start_server();
    for name in ["transcript_updated", "transfer_started", "something_new"] {
        for number in 1..=2 {
            let body = json!({ "event": name, "n": number, "call": { "call_id": "call_1" } }).to_string();
            assert_eq!(server.post_signed(body.as_bytes()).json(), json!({ "received": true }));
        }
    }
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    let rows = home.list_events(&[]);
    assert_eq!(rows.len(), 7);
    assert!(rows.iter().all(|row| row["revision_of"].is_null()));
}

#[test]
fn an_event_whose_columns_fail_is_stored_without_them_and_others_are_not_affected() {
    let home = TestEnv::new();
    let server = home.start_server();
    home.open_database()
        .execute_batch(
            "CREATE TRIGGER poison BEFORE INSERT ON events WHEN NEW.call_id = 'poison'
             BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
        )
        .unwrap();
    let mut bodies: Vec<_> = (0..20).map(|number| event_body("call_ended", &format!("call_{number}"))).collect();
    bodies.insert(10, event_body("call_ended", "poison"));
    let responses = send_concurrently(server.address(), &bodies);
    assert!(responses.iter().all(|response| response.status == 200 && !response.is_duplicate()), "{responses:?}");
    let stored: BTreeSet<_> = home.export_events().into_iter().map(|event| event.body).collect();
    assert_eq!(stored, bodies.iter().cloned().collect());
    let rows = home.list_events(&[]);
    let (unparsed, parsed): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["state"] == "unparsed");
    assert_eq!((unparsed.len(), parsed.len()), (1, 20));
    assert!(unparsed[0]["call_id"].is_null() && unparsed[0]["event"].is_null());
    assert!(parsed.iter().all(|row| row["event"] == "call_ended" && row["call_id"].is_string()));
    assert!(server.post_signed(&bodies[10]).is_duplicate());
}

/// Bytes of request bodies in memory, from the metrics.
fn inflight_body_bytes(server: &ReceiverProcess) -> usize {
    let page = server.metrics().text();
    let value = page.lines().find_map(|line| line.strip_prefix("retell_webhook_inflight_body_bytes ")).unwrap();
    value.trim_end_matches(".0").parse().unwrap()
}

#[test]
fn the_in_flight_budget_is_enforced_and_small_requests_still_pass() {
    let home = TestEnv::new()
        .with_env("RETELL_WEBHOOK__SERVER__BODY_LIMIT_BYTES", "1000000")
        .with_env("RETELL_WEBHOOK__SERVER__INFLIGHT_LIMIT_BYTES", "2000000");
    let server = home.start_server();
    let large = vec![b' '; 900_000];
    let signature = sign(&large);
    let head = request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &signature)], Some(large.len()));
    let begin = |part: &[u8]| {
        let mut client = RawClient::connect(server.address());
        client.send(head.as_bytes()).unwrap();
        client.send(part).unwrap();
        client
    };
    let mut first = begin(&large[..600_000]);
    assert!(
        wait_until(Duration::from_secs(20), || inflight_body_bytes(&server) >= 600_000),
        "{}",
        inflight_body_bytes(&server)
    );
    let mut second = begin(&large[..600_000]);
    assert_eq!(server.post_signed(&event_body("call_ended", "call_small")).status, 200);
    // The first has been arriving for longer than half a second by now.
    let response = first.read_response().expect("a response");
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
    second.send(&large[600_000..]).unwrap();
    assert_eq!(second.read_response().expect("a response").status, 200);
    let other_large = vec![b'\n'; 900_000];
    assert_eq!(server.post_signed(&other_large).status, 200, "released bytes are available again");
    assert_eq!(home.export_events().len(), 3);
}
