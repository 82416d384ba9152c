//! `backup verify` finds damage in every kind of file.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{create_backup, restore, verify};
use crate::support::bodies::{event_body, sample_payload};
use crate::support::test_env::TestEnv;

fn store_with_events() -> TestEnv {
    let home = TestEnv::new();
    let mut server = home.start_server();
    assert_eq!(server.post_signed(&sample_payload("04_")).status, 200);
    assert_eq!(server.post_signed(&event_body("call_ended", "call_small")).status, 200);
    assert_eq!(server.stop(), Some(0));
    home
}

/// Flips one bit in the middle of a file.
fn flip_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_in_any_file_is_found() {
    let home = store_with_events();
    let backup = create_backup(&home);
    assert!(verify(&home, &backup).0);
    for name in
        ["store.db", "store.db-ledger", "store.db-bodies/00000001.bodies", "manifest.json", "manifest.json.sha256"]
    {
        let path = backup.join(name);
        let intact = fs::read(&path).unwrap();
        flip_bit(&path);
        let (ok, check) = verify(&home, &backup);
        let file = name.strip_suffix(".sha256").unwrap_or(name);
        assert!(!ok && check["problems"][0].as_str().unwrap().contains(file), "{name}: {check}");
        let refused = restore(&TestEnv::new(), &backup, &[]);
        assert!(refused.exit_code == Some(1) && refused.stderr.contains("cannot be restored"), "{refused:?}");
        fs::write(&path, intact).unwrap();
    }
    assert!(verify(&home, &backup).0);
}

#[test]
fn missing_and_added_files_are_found() {
    let home = store_with_events();
    let backup = create_backup(&home);
    let ledger = backup.join("store.db-ledger");
    let intact = fs::read(&ledger).unwrap();
    fs::remove_file(&ledger).unwrap();
    assert_eq!(verify(&home, &backup).1["problems"], json!(["store.db-ledger is missing"]));
    fs::write(&ledger, &intact[..intact.len() - 1]).unwrap();
    assert!(verify(&home, &backup).1["problems"][0].as_str().unwrap().contains("bytes instead of"));
    fs::write(&ledger, intact).unwrap();
    fs::write(backup.join("notes.txt"), "").unwrap();
    assert_eq!(verify(&home, &backup).1["problems"], json!(["notes.txt does not belong to the backup"]));
    let not_a_backup = verify(&home, home.path()).1;
    assert!(not_a_backup["problems"][0].as_str().unwrap().contains("manifest.json"), "{not_a_backup}");
}

/// Everything else can still be saved, and the next backup must not hide what this one has found.
#[test]
fn a_body_that_is_damaged_in_the_store_is_named_and_the_backup_is_complete_otherwise() {
    let home = store_with_events();
    flip_bit(&home.path().join("data/retell-webhook.db-bodies/00000001.bodies"));
    let created = home.run(&["backup", "create", "--folder", "backups", "--json"]);
    let report = created.json();
    let damaged = report["damaged_events"].as_array().unwrap();
    assert_eq!((created.exit_code, damaged.len(), &report["events"]), (Some(1), 1, &json!(2)), "{created:?}");
    let backup = report["folder"].as_str().unwrap();
    let (ok, check) = verify(&home, Path::new(backup));
    assert!(ok && check["damaged_events"] == report["damaged_events"], "{check}");
    let place = TestEnv::new();
    restore(&place, Path::new(backup), &[]);
    assert_eq!(place.list_events(&[]).len(), 2);
}
