//! Stopping and starting again, and stores and ports that another process uses.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::bodies::event_body;
use crate::support::client::{RawClient, WEBHOOK_PATH, request_head};
use crate::support::signing::sign;
use crate::support::test_env::{ExportedEvent, TestEnv};
use crate::support::wait_until;

fn revision_body(call_id: &str, number: u32) -> Vec<u8> {
    json!({ "event": "call_ended", "call": { "call_id": call_id, "n": number } }).to_string().into()
}

#[test]
fn events_and_their_identities_survive_a_restart() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let body = event_body("call_ended", "call_1");
    assert!(!server.post_signed(&body).is_duplicate());
    assert_eq!(server.stop(), Some(0));
    let before = home.export_events();
    let mut server = home.start_server();
    assert!(server.post_signed(&body).is_duplicate());
    server.kill();
    let server = home.start_server();
    assert!(server.post_signed(&body).is_duplicate());
    let after = home.export_events();
    assert_eq!(after.len(), 1);
    assert_eq!((&after[0].json, &after[0].body), (&before[0].json, &body));
    assert_eq!(home.list_events(&[])[0]["duplicates"], 2);
}

#[test]
fn duplicates_are_found_after_the_recent_keys_were_flushed_to_the_index() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let bodies: Vec<_> = (0..20).map(|number| revision_body(&format!("call_{number}"), 1)).collect();
    assert!(!bodies.iter().any(|body| server.post_signed(body).is_duplicate()));
    // The store flushes its recent keys to the index after it has been idle for about 4 seconds.
    thread::sleep(Duration::from_secs(6));
    assert!(bodies.iter().all(|body| server.post_signed(body).is_duplicate()));
    assert_eq!(server.post_signed(&revision_body("call_3", 2)).json(), json!({ "received": true }));
    server.kill();
    let server = home.start_server();
    assert!(bodies.iter().all(|body| server.post_signed(body).is_duplicate()));
    assert_eq!(server.post_signed(&revision_body("call_3", 3)).json(), json!({ "received": true }));
    let mut rows = home.list_events(&["--call", "call_3"]);
    rows.reverse();
    assert_eq!(rows.len(), 3);
    assert_eq!([&rows[1]["revision_of"], &rows[2]["revision_of"]], [&rows[0]["id"]; 2]);
    assert_eq!(home.export_events().len(), 22);
}

/// Sends events on one connection until the server closes it. Returns the call ids that were acknowledged.
fn send_until_stopped(address: SocketAddr, sender: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut client = RawClient::connect(address);
    for number in 0.. {
        let call_id = format!("call_{sender}_{number}");
        let body = event_body("call_ended", &call_id);
        match client.request("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &sign(&body))], &body) {
            Some(response) if response.status == 200 => acknowledged.push(call_id),
            Some(response) => panic!("{}: {}", response.status, response.text()),
            None => break,
        }
    }
    acknowledged
}

#[test]
fn sigterm_under_load_loses_no_acknowledged_event() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let address = server.address();
    let senders: Vec<_> = (0..8).map(|sender| thread::spawn(move || send_until_stopped(address, sender))).collect();
    thread::sleep(Duration::from_millis(700));
    assert_eq!(server.stop(), Some(0), "{}", server.output());
    let acknowledged: BTreeSet<_> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
    assert!(acknowledged.len() > 8, "only {} acknowledged", acknowledged.len());
    let stored: BTreeSet<_> = home.export_events().iter().filter_map(ExportedEvent::call_id).collect();
    let missing: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(server.output().contains("shutting down"));
}

#[test]
fn at_sigterm_a_begun_request_is_finished_and_new_connections_are_refused() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let body = event_body("call_ended", "call_half_way");
    let mut client = RawClient::connect(server.address());
    client
        .send(request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &sign(&body))], Some(body.len())).as_bytes())
        .unwrap();
    client.send(&body[..20]).unwrap();
    thread::sleep(Duration::from_millis(300));
    server.send_sigterm();
    let connection_refused = || RawClient::try_connect(server.address()).is_err();
    assert!(wait_until(Duration::from_secs(5), connection_refused));
    client.send(&body[20..]).unwrap();
    assert_eq!(client.read_response().expect("a response").status, 200);
    assert_eq!(server.wait_for_exit_code(), Some(0), "{}", server.output());
    assert_eq!(home.export_events()[0].body, body);
}

#[test]
fn a_store_with_an_unknown_schema_is_not_opened() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    assert_eq!(server.stop(), Some(0));
    let version: i64 = home.open_database().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    for (unknown, advice) in [(99, "newer version"), (12, "Export its events")] {
        home.open_database().pragma_update(None, "user_version", unknown).unwrap();
        for args in [&["serve"][..], &["events", "list"]] {
            let ran = home.run(args);
            assert_eq!(ran.exit_code, Some(1), "{ran:?}");
            assert!(ran.stderr.contains(&unknown.to_string()) && ran.stderr.contains(advice), "{ran:?}");
        }
    }
    home.open_database().pragma_update(None, "user_version", version).unwrap();
    assert_eq!(home.export_events().len(), 1);
}

#[test]
fn a_second_receiver_on_the_same_store_does_not_start() {
    let home = TestEnv::new();
    let mut first = home.start_server();
    let second = home.start_expecting_exit();
    assert_eq!(second.exit_code, Some(1));
    assert!(second.stderr.contains("another receiver"), "{second:?}");
    assert_eq!(first.post_signed(&event_body("call_ended", "call_1")).status, 200);
    first.kill();
    assert_eq!(home.start_server().post_signed(&event_body("call_ended", "call_2")).status, 200);
    assert_eq!(home.export_events().len(), 2);
}

#[test]
fn a_port_in_use_is_reported_with_a_remedy() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let ran = TestEnv::new().with_env("RETELL_WEBHOOK__SERVER__PORT", &port).start_expecting_exit();
    assert_eq!(ran.exit_code, Some(1));
    assert!(ran.stderr.contains(&port) && ran.stderr.contains("PORT"), "{ran:?}");
}
