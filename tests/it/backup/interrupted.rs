//! Backups that are killed, stopped, or run out of space.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{create_backup, list_backups, verify};
use crate::faults::faulty_disk::FaultyDisk;
use crate::support::server::{ReceiverProcess, wait_for_exit};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const LIMIT: Duration = Duration::from_secs(30);

/// A receiver with about 5 MB of bodies, so that a backup at 1 MB per second takes a while.
fn start_with_bodies() -> (TestEnv, ReceiverProcess) {
    let home = TestEnv::new();
    let server = home.start_server();
    for number in 0..50 {
        let call = serde_json::json!({ "call_id": format!("call_{number}"), "transcript": "w".repeat(100_000) });
        let body = serde_json::json!({ "event": "call_ended", "call": call }).to_string();
        assert_eq!(server.post_signed(body.as_bytes()).status, 200);
    }
    (home, server)
}

/// Starts a slow backup and waits until it copies bodies.
fn start_slow_backup(home: &TestEnv) -> (Child, PathBuf) {
    let mut command = home.command(&["backup", "create", "--folder", "backups", "--max-rate", "1"]);
    let backup = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let partial = || list_backups(home).into_iter().find(|name| name.ends_with(".partial"));
    let is_copying =
        || partial().is_some_and(|name| home.path().join("backups").join(name).join("store.db-bodies").exists());
    assert!(wait_until(LIMIT, is_copying));
    (backup, home.path().join("backups").join(partial().unwrap()))
}

#[test]
fn a_killed_backup_leaves_nothing_that_is_accepted_and_does_not_disturb_the_receiver() {
    let (home, server) = start_with_bodies();
    let (mut backup, partial) = start_slow_backup(&home);
    backup.kill().unwrap();
    backup.wait().unwrap();
    assert!(!verify(&home, &partial).0);
    assert!(server.is_ready());
    assert_eq!(server.post_signed(br#"{"event":"call_ended","call":{"call_id":"call_after"}}"#).status, 200);
    // Neither a lock nor a lease keeps an erasure or another backup waiting.
    home.run_ok(&["erase", "--call", "call_3", "--yes"]);
    let next = create_backup(&home);
    assert!(verify(&home, &next).0);
    assert_eq!(list_backups(&home).len(), 1, "what the killed one left is gone");
}

#[test]
fn a_signal_ends_a_backup_in_order() {
    let (home, server) = start_with_bodies();
    let (mut backup, _) = start_slow_backup(&home);
    // A second one in the same folder would delete the files of the first.
    let second = home.run(&["backup", "create", "--folder", "backups"]);
    assert!(second.exit_code == Some(1) && second.stderr.contains("another process"), "{second:?}");
    assert!(Command::new("kill").args(["-TERM", &backup.id().to_string()]).status().unwrap().success());
    assert_eq!(wait_for_exit(&mut backup, LIMIT), Some(1));
    assert_eq!(list_backups(&home), [""; 0]);
    assert!(server.is_ready());
}

/// An erasure needs that no process reads an older state of the store, and the backup must not contain the person.
#[test]
fn an_erasure_during_a_backup_is_complete_and_not_in_it() {
    let (home, _server) = start_with_bodies();
    let (mut backup, _) = start_slow_backup(&home);
    let receipt = home.run_ok(&["erase", "--call", "call_7", "--yes", "--json"]).json();
    assert_eq!((&receipt["complete"], &receipt["erased"]["events"]), (&true.into(), &1.into()), "{receipt}");
    assert_eq!(wait_for_exit(&mut backup, Duration::from_secs(60)), Some(0));
    let name = list_backups(&home).pop().unwrap();
    let (ok, check) = verify(&home, &home.path().join("backups").join(&name));
    assert!(ok && check["events"] == 49, "{check}");
    assert_eq!(super::files_with(&home.path().join("backups"), &["call_7\""]), [""; 0]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_fails_the_backup_and_leaves_nothing() {
    let (home, server) = start_with_bodies();
    let target = home.path().join("small");
    std::fs::create_dir(&target).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&target).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return println!("skipped: a small file system cannot be mounted here");
    }
    let ran = home.run(&["backup", "create", "--folder", "small"]);
    let left = std::fs::read_dir(&target).unwrap().count();
    assert!(Command::new("umount").arg(&target).status().unwrap().success());
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("free"), "{ran:?}");
    assert_eq!(left, 0);
    assert!(server.is_ready());
    assert_eq!(server.post_signed(br#"{"event":"call_ended","call":{"call_id":"call_after"}}"#).status, 200);
}

/// Errors in the middle, in each kind of file. A failed sync of a copy is not one of the store.
#[cfg(target_os = "linux")]
#[test]
fn write_errors_and_failed_syncs_end_the_backup_and_leave_the_receiver_alone() {
    let mut home = TestEnv::new();
    let disk = FaultyDisk::attach(&mut home);
    let server = home.start_server();
    for number in 0..20 {
        let call = serde_json::json!({ "call_id": format!("call_{number}"), "transcript": "w".repeat(50_000) });
        let body = serde_json::json!({ "event": "call_ended", "call": call }).to_string();
        assert_eq!(server.post_signed(body.as_bytes()).status, 200);
    }
    for rule in [
        "write backups/*/store.db ENOSPC -1 1",
        "write backups/*/store.db-ledger ENOSPC -1",
        "write backups/*/store.db-bodies/* ENOSPC -1 3",
        "write backups/*/manifest.json ENOSPC -1",
        "sync backups/*/store.db EIO 1",
        "sync backups/*/store.db-bodies/* EIO 1",
        "sync backups/*/manifest.json EIO 1",
        "read backups/*/store.db-bodies/* EIO 1",
    ] {
        disk.set_rules(&[rule]);
        let ran = home.run(&["backup", "create", "--folder", "data/backups"]);
        let left = std::fs::read_dir(home.path().join("data/backups")).unwrap().count();
        assert!(ran.exit_code == Some(1) && ran.stderr.contains("backups") && left == 0, "{rule}: {left} {ran:?}");
        disk.set_rules(&[]);
        assert!(server.is_ready(), "{rule}");
    }
    assert_eq!(server.post_signed(br#"{"event":"call_ended","call":{"call_id":"call_after"}}"#).status, 200);
    let created = home.run_ok(&["backup", "create", "--folder", "data/backups", "--json"]).json();
    assert!(verify(&home, created["folder"].as_str().unwrap().as_ref()).0);
}
