//! The promise to Retell: what got a 2xx is stored, once, whatever happens around it.

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

/// Sends all bodies at the same moment, each on a connection of its own; answers in the same order.
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
                client.request("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &signature)], &body).expect("an answer")
            })
        })
        .collect();
    senders.into_iter().map(|sender| sender.join().unwrap()).collect()
}

#[test]
fn a_duplicate_racing_itself_is_stored_once() {
    let home = TestEnv::new();
    let server = home.start_server();
    let body = event_body("call_ended", "call_raced");
    let answers = send_concurrently(server.address(), &vec![body.clone(); 50]);
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.json()["received"] == true));
    assert_eq!(answers.iter().filter(|answer| answer.is_duplicate()).count(), 49);
    let kept = home.export_events();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].body, body);
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
    assert!(server.post_signed(&revised(2)).is_duplicate(), "a revision has an identity of its own");
    let mut rows = home.list_events(&[]);
    rows.reverse();
    assert_eq!(rows.len(), 3);
    assert!(rows[0]["revision_of"].is_null());
    assert_eq!([&rows[1]["revision_of"], &rows[2]["revision_of"]], [&rows[0]["id"]; 2]);
    let ids: BTreeSet<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn what_happens_many_times_in_a_call_is_no_revision() {
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
fn a_poisoned_event_is_kept_bare_and_its_neighbours_whole() {
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
    let answers = send_concurrently(server.address(), &bodies);
    assert!(answers.iter().all(|answer| answer.status == 200 && !answer.is_duplicate()), "{answers:?}");
    let kept: BTreeSet<_> = home.export_events().into_iter().map(|kept| kept.body).collect();
    assert_eq!(kept, bodies.iter().cloned().collect());
    let rows = home.list_events(&[]);
    let (bare, whole): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["state"] == "unparsed");
    assert_eq!((bare.len(), whole.len()), (1, 20));
    assert!(bare[0]["call_id"].is_null() && bare[0]["event"].is_null());
    assert!(whole.iter().all(|row| row["event"] == "call_ended" && row["call_id"].is_string()));
    assert!(server.post_signed(&bodies[10]).is_duplicate());
}

/// Bytes of bodies in memory, by the metrics.
fn inflight_body_bytes(server: &ReceiverProcess) -> usize {
    let page = server.get("/metrics").text();
    let value = page.lines().find_map(|line| line.strip_prefix("retell_webhook_inflight_body_bytes ")).unwrap();
    value.trim_end_matches(".0").parse().unwrap()
}

#[test]
fn bytes_in_flight_are_bounded_and_small_requests_still_pass() {
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
    let answer = second.read_response().expect("an answer");
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    first.send(&large[600_000..]).unwrap();
    assert_eq!(first.read_response().expect("an answer").status, 200);
    assert_eq!(server.post_signed(&large).status, 200, "room that was given back can be used again");
    assert_eq!(home.export_events().len(), 2);
}
