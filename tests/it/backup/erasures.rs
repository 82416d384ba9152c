//! Persons who were erased after a backup do not come back with it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::{create_backup, files_with, restore};
use crate::support::bodies::event_body;
use crate::support::test_env::{ExportedEvent, TestEnv};
use crate::support::wait_until;

const NUMBER: &str = "+12025550143";
/// Texts that only occur in the data of the erased persons.
const ERASED_TEXTS: [&str; 6] =
    ["2025550143", "202) 555-0143", "call_numbered", "secret words", "call_by_id", "Erased Person"];
const ERASURE_LOG: &str = "data/retell-webhook.db-erasures";

/// A store with two persons to erase, in every kind of row, and one who stays.
fn store_with_persons() -> TestEnv {
    let home = TestEnv::new();
    home.write_config("[[handlers]]\nname = \"calls\"\nkind = \"call_store\"\n");
    let mut server = home.start_server();
    let event = |call: serde_json::Value| json!({ "event": "call_ended", "call": call }).to_string();
    for body in [
        event(json!({ "call_id": "call_numbered", "from_number": NUMBER, "transcript": "x".repeat(9_000) })),
        event(json!({ "call_id": "call_numbered_old", "from_number": NUMBER })),
        event(json!({ "call_id": "call_spelled", "transcript": "my number is (202) 555-0143, secret words" })),
        event(json!({ "call_id": "call_by_id", "transcript": "secret words ".repeat(1_000) })),
    ] {
        assert_eq!(server.post_signed(body.as_bytes()).status, 200);
    }
    assert_eq!(server.post_signed(&event_body("call_ended", "call_other")).status, 200);
    let has_calls = || home.run_ok(&["calls", "list", "--json"]).json().as_array().unwrap().len() == 5;
    assert!(wait_until(Duration::from_secs(10), has_calls));
    assert_eq!(server.stop(), Some(0));
    let rows =
        "INSERT INTO appointments (company_id, confirmation, state, name, name_key, from_number, call_id, start_ms,
           end_ms, time_zone, revision, booked_at_ms, changed_at_ms)
         VALUES (1, '1', 'booked', 'Erased Person', 'erasedperson', '+1 202-555-0143', NULL, 0, 1, 'UTC', 0, 0, 0),
                (1, '2', 'booked', 'Erased Person', 'erasedperson', NULL, 'call_by_id', 0, 1, 'UTC', 0, 0, 0),
                (1, '3', 'booked', 'Other', 'other', '+12025550199', 'call_other', 0, 1, 'UTC', 0, 0, 0);
         PRAGMA secure_delete = ON;
         DELETE FROM bodies WHERE seq = (SELECT seq FROM events WHERE call_id = 'call_numbered_old');
         DELETE FROM events WHERE call_id = 'call_numbered_old';
         INSERT INTO rejected (received_at_ms, method, path, headers, reason, diagnosis, body)
         VALUES (0, 'POST', '/', '{}', 'missing', '', CAST('from +12025550143' AS BLOB));";
    home.open_database().execute_batch(rows).unwrap();
    let invocations =
        "INSERT INTO invocations (key, invocation, company_id, function, call_id, received_at_ms, arguments,
           state, runs, owner, lease_until_ms)
         VALUES (x'01', 'a', 1, 'f', 'call_by_id', 0, '{\"a\":\"secret words\"}', 'done', 1, '', 0),
                (x'02', 'b', 1, 'f', NULL, 0, '{\"number\":\"2025550143\"}', 'done', 1, '', 0),
                (x'03', 'c', 1, 'f', 'call_other', 0, '{}', 'done', 1, '', 0);";
    home.open_invocation_ledger().execute_batch(invocations).unwrap();
    home
}

/// Makes a backup, then erases both persons.
fn back_up_and_erase(home: &TestEnv) -> PathBuf {
    let backup = create_backup(home);
    let receipt = home.run_ok(&["erase", "--phone", NUMBER, "--yes", "--json"]).json();
    let unreached = &receipt["not_reached"]["backups"];
    assert_eq!(unreached[0]["folder"].as_str(), backup.to_str(), "{receipt}");
    home.run_ok(&["erase", "--call", "call_by_id", "--yes"]);
    assert_eq!(files_with(&home.path().join("data"), &ERASED_TEXTS), [""; 0]);
    backup
}

#[test]
fn a_restore_erases_again_whom_an_erasure_has_removed_since() {
    let home = store_with_persons();
    let backup = back_up_and_erase(&home);
    assert!(!files_with(&backup, &ERASED_TEXTS).is_empty(), "the backup still has them");
    let restored = restore(&home, &backup, &["--move-aside"]);
    assert_eq!(restored.exit_code, Some(0), "{restored:?}");
    let erasures = &restored.json()["erasures"];
    let expected = json!({"complete": true, "not_reapplied": [], "log_entries": 6, "events": 3, "calls": 4, "rejected": 1,
        "invocations": 2, "appointments": 2});
    assert_eq!(erasures, &expected);
    assert_eq!(files_with(&home.path().join("data"), &ERASED_TEXTS), [""; 0]);
    // Everyone else is there.
    let left = home.export_events();
    assert_eq!(left.iter().filter_map(ExportedEvent::call_id).collect::<Vec<_>>(), ["call_other"]);
    let count = |conn: rusqlite::Connection, table| {
        conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(
        (count(home.open_database(), "appointments"), count(home.open_invocation_ledger(), "invocations")),
        (1, 1)
    );
    // The receiver works with what was restored, and lists the backup for later erasures.
    let mut server = home.start_server();
    assert_eq!(server.post_signed(&event_body("call_ended", "call_new")).status, 200);
    assert_eq!(server.stop(), Some(0));
    let receipt = home.run_ok(&["erase", "--call", "call_new", "--json"]).json();
    assert_eq!(receipt["not_reached"]["backups"][0]["folder"].as_str(), backup.to_str());
}

#[test]
fn erasures_before_the_backup_are_not_made_again() {
    let home = store_with_persons();
    home.run_ok(&["erase", "--phone", NUMBER, "--yes"]);
    let mut server = home.start_server();
    let call = json!({ "event": "call_ended", "call": { "call_id": "call_new", "from_number": NUMBER } }).to_string();
    assert_eq!(server.post_signed(call.as_bytes()).status, 200);
    assert_eq!(server.stop(), Some(0));
    let backup = create_backup(&home);
    let restored = restore(&home, &backup, &["--move-aside"]).json();
    assert_eq!((&restored["erasures"]["log_entries"], &restored["events"]), (&json!(0), &json!(3)));
    assert_eq!(home.export_events().len(), 3, "the person has called again");
}

#[test]
fn what_cannot_be_erased_again_is_named() {
    let home = store_with_persons();
    let backup = back_up_and_erase(&home);
    let log = std::fs::read_to_string(home.path().join(ERASURE_LOG)).unwrap();
    let write_log = |text: &str| std::fs::write(home.path().join(ERASURE_LOG), text).unwrap();
    let not_reapplied = || {
        let restored = restore(&home, &backup, &["--move-aside"]);
        let report = restored.json();
        assert_eq!((restored.exit_code, &report["erasures"]["complete"]), (Some(1), &json!(false)), "{restored:?}");
        report["erasures"]["not_reapplied"][0].as_str().unwrap().to_owned()
    };
    // One line of the log is damaged.
    write_log(&log.replacen("number", "nunber", 1));
    assert!(not_reapplied().contains("1 lines of the erasure log are damaged"));
    // It ends before the backup.
    write_log(&log[..log.find('\n').unwrap() - 1]);
    assert!(not_reapplied().contains("not next to it"));
    // It is missing, as on a new machine.
    std::fs::remove_file(home.path().join(ERASURE_LOG)).unwrap();
    assert!(not_reapplied().contains("not next to it"));
    // It was begun anew after the backup.
    home.run_ok(&["erase", "--call", "call_by_id", "--yes"]);
    assert!(not_reapplied().contains("the erasure log begins at"));
    assert_eq!(files_with(&home.path().join("data/retell-webhook.db-bodies"), &["call_by_id"]), [""; 0]);
}
