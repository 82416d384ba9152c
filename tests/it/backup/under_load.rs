//! Backups while everything is in use.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{create_backup, files_with, restore, verify};
use crate::support::load::{EventLog, assert_complete};
use crate::support::test_env::TestEnv;

const PERSON: &str = "+12025550143";
const CONFIG: &str = "[retention]\nevents_days = 1\n[appointments]\nenabled = true\ndays = [\"mon-sun\"]\n\
    opens = \"00:00\"\ncloses = \"24:00\"\ntime_zone = \"UTC\"\n\
    [[handlers]]\nname = \"lines\"\nkind = \"file\"\npath = \"export/events.jsonl\"\n";

fn spawn(home: &TestEnv, args: &[&str]) -> Child {
    home.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Stores events that a purge will delete, and some of a person who will be erased.
fn store_removable_events(home: &TestEnv, server: &crate::support::server::ReceiverProcess) {
    for number in 0..60 {
        let call = json!({ "call_id": format!("old_{number}"), "transcript": "w".repeat(9_000) });
        let body = json!({ "event": "call_ended", "call": call }).to_string();
        assert_eq!(server.post_signed(body.as_bytes()).status, 200);
    }
    let old = home.open_database();
    old.execute("UPDATE events SET received_at_ms = received_at_ms - 400 * 86400000", []).unwrap();
    drop(old);
    for number in 0..4 {
        let call =
            json!({ "call_id": format!("person_{number}"), "from_number": PERSON, "transcript": "p".repeat(9_000) });
        let body = json!({ "event": "call_ended", "call": call }).to_string();
        assert_eq!(server.post_signed(body.as_bytes()).status, 200);
    }
}

/// Every one of these calls has its event once, as it was signed.
fn assert_contains(home: &TestEnv, calls: &BTreeSet<String>) {
    assert!(!calls.is_empty());
    let mut missing = calls.clone();
    for event in home.export_events() {
        let Some(call_id) = event.call_id().filter(|call_id| calls.contains(call_id)) else { continue };
        assert_complete(&event);
        assert!(missing.remove(&call_id), "{call_id} is there twice");
    }
    assert!(missing.is_empty(), "{} of {} lost: {missing:?}", missing.len(), calls.len());
}

#[test]
fn a_restored_backup_has_every_event_that_was_acknowledged_before_it() {
    let mut home = TestEnv::new();
    home.write_config(CONFIG);
    let server = home.start_server();
    home.set_env("RETELL_WEBHOOK__SERVER__PORT", &server.address().port().to_string());
    store_removable_events(&home, &server);
    let log = EventLog::default();
    let backups = log.while_sending(server.address(), 3, || {
        let mut others = vec![spawn(&home, &["simulate", "--calls", "8"]), spawn(&home, &["purge", "--yes"])];
        std::thread::sleep(Duration::from_millis(300));
        let mut backups = Vec::new();
        for _ in 0..2 {
            let before = log.acknowledged();
            let backup = create_backup(&home);
            backups.push((before, backup));
            others.push(spawn(&home, &["purge", "--yes"]));
            others.push(spawn(&home, &["erase", "--phone", PERSON, "--yes"]));
        }
        for other in &mut others {
            other.wait().unwrap();
        }
        backups
    });
    for (before, backup) in backups {
        let (ok, check) = verify(&home, &backup);
        assert!(ok, "{check}");
        let place = TestEnv::new();
        // A new place, to which the erasure log was brought along.
        std::fs::create_dir_all(place.path().join("data")).unwrap();
        let log_name = "data/retell-webhook.db-erasures";
        std::fs::copy(home.path().join(log_name), place.path().join(log_name)).unwrap();
        let restored = restore(&place, &backup, &[]);
        assert_eq!(restored.exit_code, Some(0), "{restored:?}");
        assert_contains(&place, &before);
        assert_eq!(files_with(&place.path().join("data"), &["2025550143", "person_0"]), [""; 0]);
        let mut receiver = place.start_server();
        assert!(receiver.is_ready());
        assert_eq!(receiver.post_signed(br#"{"event":"call_ended","call":{"call_id":"after"}}"#).status, 200);
        assert_eq!(receiver.stop(), Some(0));
        assert!(!receiver.output().contains("ERROR"), "{}", receiver.output());
    }
}
