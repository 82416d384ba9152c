//! Stopping, starting again, and files that belong to somebody else.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::bodies::event;
use crate::support::client::{Client, WEBHOOK, head};
use crate::support::home::{Exported, Home};
use crate::support::signing::sign;
use crate::support::wait_until;

fn revision(call_id: &str, number: u32) -> Vec<u8> {
    json!({ "event": "call_ended", "call": { "call_id": call_id, "n": number } }).to_string().into()
}

#[test]
fn a_restart_keeps_events_and_knows_their_duplicates() {
    let home = Home::new();
    let mut server = home.start();
    let body = event("call_ended", "call_1");
    assert!(!server.deliver(&body).is_duplicate());
    assert_eq!(server.stop(), Some(0));
    let before = home.export();
    let mut server = home.start();
    assert!(server.deliver(&body).is_duplicate());
    server.kill();
    let server = home.start();
    assert!(server.deliver(&body).is_duplicate());
    let after = home.export();
    assert_eq!(after.len(), 1);
    assert_eq!((&after[0].line, &after[0].body), (&before[0].line, &body));
    assert_eq!(home.events(&[])[0]["duplicates"], 2);
}

#[test]
fn duplicates_are_known_after_the_index_was_written_behind() {
    let home = Home::new();
    let mut server = home.start();
    let bodies: Vec<_> = (0..20).map(|number| revision(&format!("call_{number}"), 1)).collect();
    assert!(!bodies.iter().any(|body| server.deliver(body).is_duplicate()));
    // Idle for so long, the store writes out what it has kept in memory so far.
    thread::sleep(Duration::from_secs(6));
    assert!(bodies.iter().all(|body| server.deliver(body).is_duplicate()));
    assert_eq!(server.deliver(&revision("call_3", 2)).json(), json!({ "received": true }));
    server.kill();
    let server = home.start();
    assert!(bodies.iter().all(|body| server.deliver(body).is_duplicate()));
    assert_eq!(server.deliver(&revision("call_3", 3)).json(), json!({ "received": true }));
    let mut rows = home.events(&["--call", "call_3"]);
    rows.reverse();
    assert_eq!(rows.len(), 3);
    assert_eq!([&rows[1]["revision_of"], &rows[2]["revision_of"]], [&rows[0]["id"]; 2]);
    assert_eq!(home.export().len(), 22);
}

/// Sends events on one connection until the server lets it go; the call ids that were acknowledged.
fn load(address: SocketAddr, sender: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut client = Client::connect(address);
    for number in 0.. {
        let call_id = format!("call_{sender}_{number}");
        let body = event("call_ended", &call_id);
        match client.request("POST", WEBHOOK, &[("X-Retell-Signature", &sign(&body))], &body) {
            Some(answer) if answer.status == 200 => acknowledged.push(call_id),
            Some(answer) => panic!("{}: {}", answer.status, answer.text()),
            None => break,
        }
    }
    acknowledged
}

#[test]
fn sigterm_under_load_finishes_what_was_accepted() {
    let home = Home::new();
    let mut server = home.start();
    let address = server.address();
    let senders: Vec<_> = (0..8).map(|sender| thread::spawn(move || load(address, sender))).collect();
    thread::sleep(Duration::from_millis(700));
    assert_eq!(server.stop(), Some(0), "{}", server.output());
    let acknowledged: BTreeSet<_> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
    assert!(acknowledged.len() > 8, "only {} acknowledged", acknowledged.len());
    let stored: BTreeSet<_> = home.export().iter().filter_map(Exported::call_id).collect();
    let missing: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(server.output().contains("stopping"));
}

#[test]
fn a_request_half_way_in_is_finished_and_a_new_one_is_not_let_in() {
    let home = Home::new();
    let mut server = home.start();
    let body = event("call_ended", "call_half_way");
    let mut client = Client::connect(server.address());
    client.send(head("POST", WEBHOOK, &[("X-Retell-Signature", &sign(&body))], Some(body.len())).as_bytes()).unwrap();
    client.send(&body[..20]).unwrap();
    thread::sleep(Duration::from_millis(300));
    server.ask_to_stop();
    let turned_away = || Client::try_connect(server.address()).is_err();
    assert!(wait_until(Duration::from_secs(5), turned_away));
    client.send(&body[20..]).unwrap();
    assert_eq!(client.answer().expect("an answer").status, 200);
    assert_eq!(server.exit_code(), Some(0), "{}", server.output());
    assert_eq!(home.export()[0].body, body);
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let home = Home::new();
    let mut server = home.start();
    assert_eq!(server.deliver(&event("call_ended", "call_1")).status, 200);
    assert_eq!(server.stop(), Some(0));
    let version: i64 = home.database().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    home.database().pragma_update(None, "user_version", 99).unwrap();
    for args in [&["serve"][..], &["events", "list"]] {
        let ran = home.run(args);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("99") && ran.stderr.contains("newer version"), "{ran:?}");
    }
    home.database().pragma_update(None, "user_version", version).unwrap();
    assert_eq!(home.export().len(), 1);
}

#[test]
fn a_second_receiver_on_the_same_store_is_refused() {
    let home = Home::new();
    let mut first = home.start();
    let second = home.start_refused();
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("another receiver"), "{second:?}");
    assert_eq!(first.deliver(&event("call_ended", "call_1")).status, 200);
    first.kill();
    assert_eq!(home.start().deliver(&event("call_ended", "call_2")).status, 200);
    assert_eq!(home.export().len(), 2);
}

#[test]
fn a_port_that_is_taken_is_said_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = Home::new().with("RETELL_WEBHOOK__SERVER__PORT", &port).start_refused();
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains(&port) && ran.stderr.contains("PORT"), "{ran:?}");
}
