//! Files of the store that are deleted, replaced or restored while the receiver runs: no event is acknowledged that a
//! restart does not find.

mod inspection;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::server::ReceiverProcess;
use crate::support::test_env::{ExportedEvent, TestEnv};
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(30);
const EVENTS_BEFORE: usize = 20;
const EVENTS_AFTER: usize = 40;

/// Every third event is large enough for a body file.
fn event(call_id: &str, number: usize) -> Vec<u8> {
    let length = if number.is_multiple_of(3) { 6_000 } else { 200 };
    json!({ "event": "call_ended", "call": { "call_id": call_id, "transcript": "w".repeat(length) } })
        .to_string()
        .into()
}

/// Sends events and returns the call ids of those that were acknowledged.
fn send_events(server: &ReceiverProcess, name: &str, count: usize) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for number in 0..count {
        let call_id = format!("call_{name}_{number}");
        match server.post_signed(&event(&call_id, number)).status {
            200 => drop(acknowledged.insert(call_id)),
            status => assert_eq!(status, 503),
        }
    }
    acknowledged
}

/// The call ids of the stored events whose bodies can be read. Events from before a change may have lost theirs, so
/// the exit code does not matter.
fn exported_call_ids(home: &TestEnv) -> BTreeSet<String> {
    let ran = home.run(&["events", "export"]);
    ran.stdout.lines().filter_map(|line| ExportedEvent::parse(line).call_id()).collect()
}

/// The results of the readiness checks.
fn readiness_checks(server: &ReceiverProcess) -> Value {
    server.health_details().json()["checks"].clone()
}

/// The path of the database followed by `suffix`.
fn store_path(home: &TestEnv, suffix: &str) -> PathBuf {
    let mut path = home.database_path().into_os_string();
    path.push(suffix);
    path.into()
}

/// Waits until every committed page is in the database file: a copy of the file is complete then.
fn wait_for_checkpoint(home: &TestEnv) {
    let conn = home.open_database();
    let progress = || -> (i64, i64) {
        conn.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok((row.get(1)?, row.get(2)?))).unwrap()
    };
    let is_idle = || {
        let before = progress();
        std::thread::sleep(Duration::from_millis(300));
        before.0 == before.1 && progress() == before
    };
    assert!(wait_until(WAIT_LIMIT, is_idle));
}

/// Replaces a file or folder by a copy of itself.
fn replace_by_copy(path: &Path) {
    let copy = path.with_extension("copy");
    assert!(Command::new("cp").arg("-a").args([path, &copy]).status().unwrap().success());
    assert!(Command::new("rm").arg("-r").arg(path).status().unwrap().success());
    fs::rename(copy, path).unwrap();
}

fn delete(path: &Path) {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
}

/// Changes the file that is the database's path with `suffix` by `change` while a receiver runs, and checks that
/// intake stops, that the file is named, and that a restart finds every event that was acknowledged afterwards.
fn assert_change_stops_intake(suffix: &str, change: fn(&Path)) {
    let home = TestEnv::new();
    let mut server = home.start_server();
    assert_eq!(send_events(&server, "before", EVENTS_BEFORE).len(), EVENTS_BEFORE);
    assert!(server.is_ready());
    let path = store_path(&home, suffix);
    wait_for_checkpoint(&home);
    change(&path);
    let acknowledged = send_events(&server, "after", EVENTS_AFTER);
    let checks = readiness_checks(&server);
    assert!(!server.is_ready());
    let named = path.display().to_string();
    assert!(checks["storage"].as_str().unwrap().contains(&named), "{suffix}: {checks}");
    assert!(server.wait_for_output("store files replaced or missing") && server.output().contains(&named));
    server.kill();
    let server = home.start_server();
    let stored = exported_call_ids(&home);
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "{suffix}: {lost:?} of {} acknowledged events", acknowledged.len());
    assert!(acknowledged.is_empty(), "{suffix}: the first commit after the change is not acknowledged");
    // Retell repeats what was not acknowledged. An event that counts as a duplicate now must be there completely.
    let repeated = send_events(&server, "after", EVENTS_AFTER);
    assert_eq!(repeated.len(), EVENTS_AFTER, "{suffix}");
    assert!(repeated.is_subset(&exported_call_ids(&home)), "{suffix}");
    let checked: String = home.open_database().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(checked, "ok", "{suffix}");
}

const STORE_FILES: [&str; 5] = ["", "-wal", "-shm", "-bodies", "-bodies/00000001.bodies"];

#[test]
fn no_event_is_acknowledged_after_a_file_was_deleted() {
    for suffix in STORE_FILES {
        assert_change_stops_intake(suffix, delete);
    }
}

#[test]
fn no_event_is_acknowledged_after_a_file_was_replaced_by_a_copy() {
    for suffix in STORE_FILES {
        assert_change_stops_intake(suffix, replace_by_copy);
    }
}

#[test]
fn a_log_without_its_database_is_kept() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let call_ids: BTreeSet<_> = (0..EVENTS_BEFORE).map(|number| format!("call_{number}")).collect();
    assert!(call_ids.iter().all(|call_id| server.post_signed(&event(call_id, 1)).status == 200));
    server.kill();
    let moved = home.path().join("moved.db");
    fs::rename(home.database_path(), &moved).unwrap();
    let mut server = home.start_server();
    assert!(server.output().contains("write-ahead log without its database"), "{}", server.output());
    assert_eq!(server.stop(), Some(0));
    let files = fs::read_dir(home.path().join("data")).unwrap().flatten().map(|file| file.path());
    let mut logs = files.filter(|path| path.display().to_string().contains("-wal.orphaned-"));
    fs::rename(logs.next().unwrap(), store_path(&home, "-wal")).unwrap();
    fs::rename(&moved, home.database_path()).unwrap();
    let _server = home.start_server();
    assert_eq!(exported_call_ids(&home), call_ids);
}

/// The log of the newer database must not be replayed into the older one.
#[test]
fn a_restored_older_database_is_opened_undamaged() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let restored = send_events(&server, "restored", EVENTS_BEFORE);
    let backup = home.path().join("backup.db");
    // Idle for longer than the pause between two checkpoints, so that the copy is complete without the log.
    std::thread::sleep(Duration::from_millis(10_500));
    fs::copy(home.database_path(), &backup).unwrap();
    send_events(&server, "newer", EVENTS_BEFORE);
    fs::rename(&backup, home.database_path()).unwrap();
    assert!(wait_until(WAIT_LIMIT, || !server.is_ready()));
    assert!(send_events(&server, "after", EVENTS_AFTER).is_empty());
    assert!(wait_until(WAIT_LIMIT, || !store_path(&home, "-wal").exists()), "the log does not belong to this database");
    server.kill();
    let server = home.start_server();
    assert_eq!(exported_call_ids(&home), restored);
    let checked: String = home.open_database().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(checked, "ok");
    assert_eq!(send_events(&server, "restarted", 5).len(), 5);
}

#[test]
fn intake_continues_when_a_moved_folder_is_back() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let mut acknowledged = send_events(&server, "before", EVENTS_BEFORE);
    let (folder, moved) = (home.path().join("data"), home.path().join("moved"));
    fs::rename(&folder, &moved).unwrap();
    // Noticed without an event too.
    assert!(server.wait_for_output("store files replaced or missing"));
    assert!(!server.is_ready() && send_events(&server, "moved", 10).is_empty());
    fs::rename(&moved, &folder).unwrap();
    assert!(wait_until(WAIT_LIMIT, || server.is_ready()), "{}", readiness_checks(&server));
    acknowledged.extend(send_events(&server, "moved", 10));
    acknowledged.extend(send_events(&server, "after", 10));
    assert_eq!(acknowledged.len(), EVENTS_BEFORE + 20);
    server.kill();
    let _server = home.start_server();
    assert_eq!(exported_call_ids(&home), acknowledged);
}

#[test]
fn a_removed_folder_loses_no_acknowledged_event() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    send_events(&server, "before", EVENTS_BEFORE);
    fs::remove_dir_all(home.path().join("data")).unwrap();
    let acknowledged = send_events(&server, "after", EVENTS_AFTER);
    assert!(!server.is_ready());
    server.kill();
    let _server = home.start_server();
    assert!(acknowledged.is_subset(&exported_call_ids(&home)) && acknowledged.is_empty());
}

/// A second receiver on other files must not be disturbed by the first one, which still knows the old paths.
#[test]
fn a_receiver_on_a_restored_folder_is_not_disturbed_by_the_end_of_the_previous_one() {
    let home = TestEnv::new();
    let mut first = home.start_server();
    send_events(&first, "first", 5);
    fs::rename(home.path().join("data"), home.path().join("moved")).unwrap();
    let mut second = home.start_server();
    let acknowledged = send_events(&second, "second", EVENTS_AFTER);
    assert_eq!(acknowledged.len(), EVENTS_AFTER);
    first.stop();
    assert!(second.is_ready(), "{}", readiness_checks(&second));
    second.kill();
    let _third = home.start_server();
    assert_eq!(exported_call_ids(&home), acknowledged);
}

#[test]
fn a_second_receiver_does_not_start_when_one_file_was_deleted() {
    let home = TestEnv::new();
    let server = home.start_server();
    assert_eq!(send_events(&server, "before", EVENTS_BEFORE).len(), EVENTS_BEFORE);
    for suffix in ["", "-bodies"] {
        let (path, kept) = (store_path(&home, suffix), home.path().join("kept"));
        fs::rename(&path, &kept).unwrap();
        let second = home.start_expecting_exit();
        assert_eq!(second.exit_code, Some(1));
        assert!(second.stderr.contains("another receiver already writes"), "{suffix}: {second:?}");
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        fs::rename(&kept, &path).unwrap();
    }
    assert!(wait_until(WAIT_LIMIT, || server.is_ready()));
    assert_eq!(exported_call_ids(&home).len(), EVENTS_BEFORE);
}
