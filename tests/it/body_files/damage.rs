//! A flipped bit in a body: it is never forwarded, and every command names the event.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{bodies_folder, large_event};
use crate::support::bodies::event_body;
use crate::support::destination::{DestinationServer, status_response};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// Changes one bit in the middle of the only place in the file where `text` is.
fn flip_bit(path: &Path, text: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(text.as_bytes())).collect();
    assert!(!places.is_empty(), "{text} is not in {}", path.display());
    for at in places {
        bytes[at + text.len() / 2] ^= 1;
    }
    std::fs::write(path, bytes).unwrap();
}

/// A store with three events that were not delivered yet. A bit is flipped in the first, which is in a row, and in the
/// second, which is in a body file.
fn store_with_damaged_bodies(destination: &DestinationServer) -> TestEnv {
    let home = TestEnv::new();
    home.write_config(&format!(
        "[[handlers]]\nname = \"crm\"\nkind = \"forward\"\nurl = \"{}\"\nretry_schedule = [\"1s\", \"1s\", \"1s\"]\n",
        destination.url()
    ));
    let mut server = home.start_server();
    let in_row = serde_json::json!({"event": "call_ended", "call": {"call_id": "call_row"}, "text": "marked in a row"});
    let in_file = [&large_event("call_ended", "call_file")[..], b" "].concat();
    for body in [in_row.to_string().as_bytes(), &in_file, &event_body("call_ended", "call_intact")] {
        assert_eq!(server.post_signed(body).status, 200);
    }
    destination.wait_for(3);
    assert_eq!(server.stop(), Some(0));
    flip_bit(&home.database_path(), "marked in a row");
    let body_file: PathBuf = bodies_folder(&home).join("00000001.bodies");
    flip_bit(&body_file, "call_file");
    home
}

#[test]
fn a_damaged_body_is_never_forwarded_and_is_named() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let destination =
        DestinationServer::start_with(move |_, _| status_response(if up.load(Ordering::Relaxed) { 200 } else { 503 }));
    let home = store_with_damaged_bodies(&destination);
    let refused = destination.received().len();
    is_up.store(true, Ordering::Relaxed);

    let mut server = home.start_server();
    let dead = || home.run_ok(&["deliveries", "list", "--state", "dead", "--json"]).json().as_array().unwrap().clone();
    assert!(wait_until(WAIT_LIMIT, || dead().len() == 2), "{:?}", dead());
    assert!(
        dead().iter().all(|row| row["reason"].as_str().unwrap().contains("does not match its digest")),
        "{:?}",
        dead()
    );
    destination.wait_for(refused + 1);

    // An operator's replay does not change that.
    home.run_ok(&["replay", "--handler", "crm", "--all", "--yes"]);
    destination.wait_for(refused + 2);
    assert!(wait_until(WAIT_LIMIT, || dead().len() == 2));
    for request in &destination.received()[refused..] {
        assert_eq!(request.body, event_body("call_ended", "call_intact"));
    }

    let events = home.list_events(&[]);
    let id_of = |call_id: &str| {
        let event = events.iter().find(|event| event["call_id"] == call_id).unwrap();
        event["id"].as_str().unwrap().to_owned()
    };
    let export = home.run(&["events", "export"]);
    assert_eq!((export.exit_code, export.stdout.lines().count()), (Some(1), 1), "{export:?}");
    for call_id in ["call_row", "call_file"] {
        let id = id_of(call_id);
        assert!(export.stderr.contains(&id) && export.stderr.contains("digest"), "{}", export.stderr);
        let show = home.run(&["events", "show", &id]);
        assert_eq!(show.exit_code, Some(1), "{show:?}");
        assert!(show.stdout.contains(&id) && show.stdout.contains("does not match its digest"), "{show:?}");
        let body = home.run(&["events", "show", &id, "--body"]);
        assert_eq!((body.exit_code, body.stdout.as_str()), (Some(1), ""));
        assert!(body.stderr.contains(&id), "{}", body.stderr);
        let json: Value = home.run(&["events", "show", &id, "--json"]).json();
        assert!(json["body_error"].as_str().unwrap().contains("digest"), "{json}");
    }
    assert_eq!(home.run(&["events", "show", &id_of("call_intact")]).exit_code, Some(0));
    assert_eq!(server.stop(), Some(0));
}

/// The digest must not get in the way of an erasure: a damaged body still mentions the person.
#[test]
fn a_damaged_body_is_erased_or_counted() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let mentioning = [&large_event("call_ended", "call_file")[..], br#" "+12025550143" "#].concat();
    let other = large_event("call_ended", "call_other");
    for body in [&mentioning, &other] {
        assert_eq!(server.post_signed(body).status, 200);
    }
    assert_eq!(server.stop(), Some(0));
    flip_bit(&bodies_folder(&home).join("00000001.bodies"), "call_file");
    flip_bit(&bodies_folder(&home).join("00000001.bodies"), "call_other");
    let receipt = home.run(&["erase", "--phone", "+12025550143", "--yes", "--json"]);
    assert_eq!(receipt.exit_code, Some(1), "one damaged body may have mentioned the person: {receipt:?}");
    let receipt = receipt.json();
    assert_eq!((&receipt["erased"]["events"], &receipt["not_erased"]["unreadable_bodies"]), (&1.into(), &1.into()));
}
