//! Where a restore is refused, and what happens to the store that is there.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::{create_backup, restore};
use crate::support::bodies::{event_body, sample_payload};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const DATABASE: &str = "data/retell-webhook.db";

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_store_in_use_is_not_replaced() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    assert_eq!(server.post_signed(&sample_payload("04_")).status, 200);
    let backup = create_backup(&home);
    let refused = restore(&home, &backup, &["--move-aside"]);
    assert!(refused.exit_code == Some(1) && refused.stderr.contains("another receiver"), "{refused:?}");
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    assert_eq!(server.stop(), Some(0));

    let mut tail = home.command(&["tail"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut refused = None;
    let in_use = wait_until(Duration::from_secs(20), || {
        let ran = restore(&home, &backup, &[]);
        let in_use = ran.stderr.contains("another process");
        refused = Some(ran);
        in_use
    });
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert!(in_use && refused.as_ref().is_some_and(|ran| ran.exit_code == Some(1)), "{refused:?}");
    assert_eq!(home.list_events(&[]).len(), 2, "nothing has changed");
}

#[test]
fn the_store_that_was_there_is_kept_under_another_name() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    assert_eq!(server.post_signed(&sample_payload("04_")).status, 200);
    let backup = create_backup(&home);
    assert_eq!(server.post_signed(&sample_payload("03_")).status, 200);
    server.kill();
    let before = names(&home.path().join("data"));
    let refused = restore(&home, &backup, &[]);
    assert!(refused.exit_code == Some(1) && refused.stderr.contains("--move-aside"), "{refused:?}");
    assert_eq!(names(&home.path().join("data")), before);

    let restored = restore(&home, &backup, &["--move-aside"]);
    assert_eq!(restored.exit_code, Some(0), "{restored:?}");
    assert_eq!(home.list_events(&[]).len(), 1);
    let mut server = home.start_server();
    assert!(!server.post_signed(&sample_payload("03_")).is_duplicate(), "it is not in the backup");
    assert_eq!(server.stop(), Some(0));
    // The old store is complete, with the event that was only in its write-ahead log.
    let aside = restored.json()["moved_aside"].as_str().unwrap().to_owned();
    let old = TestEnv::new().with_env("DATABASE_URL", &format!("sqlite://{}", home.path().join(aside).display()));
    assert_eq!(old.list_events(&[]).len(), 2);
}

#[test]
fn an_interrupted_restore_can_be_repeated() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    assert_eq!(server.post_signed(&sample_payload("04_")).status, 200);
    assert_eq!(server.stop(), Some(0));
    let backup = create_backup(&home);
    let place = TestEnv::new();
    let staging = place.path().join(format!("{DATABASE}-restoring"));
    std::fs::create_dir_all(&staging).unwrap();
    std::fs::write(staging.join("store.db"), "half").unwrap();
    restore(&place, &backup, &[]);
    assert!(!staging.exists());
    assert_eq!(place.list_events(&[]).len(), 1);
}
