//! `backup create --every`.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::{list_backups, verify};
use crate::support::bodies::event_body;
use crate::support::server::wait_for_exit;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

#[test]
fn regular_backups_keep_the_latest_and_end_on_a_signal() {
    let home = TestEnv::new();
    let server = home.start_server();
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    std::fs::create_dir_all(home.path().join("backups/notes")).unwrap();
    let args = ["backup", "create", "--folder", "backups", "--every", "1s", "--keep", "2", "--json"];
    let mut backup = home.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let is_fourth_made = || {
        seen.extend(list_backups(&home).into_iter().filter(|name| name.ends_with('Z')));
        seen.len() >= 4
    };
    assert!(wait_until(Duration::from_secs(60), is_fourth_made), "{seen:?}");
    assert!(Command::new("kill").args(["-TERM", &backup.id().to_string()]).status().unwrap().success());
    assert_eq!(wait_for_exit(&mut backup, Duration::from_secs(30)), Some(0));
    let left = list_backups(&home);
    assert_eq!(
        (left.len(), left.last().map(String::as_str)),
        (3, Some("notes")),
        "two backups and a foreign folder: {left:?}"
    );
    for name in left.iter().filter(|name| name.ends_with('Z')) {
        assert!(verify(&home, &home.path().join("backups").join(name)).0);
    }
    let printed = std::io::read_to_string(backup.stdout.take().unwrap()).unwrap();
    assert!(printed.lines().count() >= 4 && printed.lines().all(|line| line.starts_with('{')), "{printed}");
}

#[test]
fn a_failed_regular_backup_is_reported_and_tried_again() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    assert_eq!(server.stop(), Some(0));
    // A file is in the place of the folder.
    std::fs::write(home.path().join("backups"), "").unwrap();
    let args = ["backup", "create", "--folder", "backups", "--every", "1s"];
    let mut backup = home.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    std::fs::remove_file(home.path().join("backups")).unwrap();
    assert!(wait_until(Duration::from_secs(30), || list_backups(&home).iter().any(|name| name.ends_with('Z'))));
    assert!(Command::new("kill").args(["-TERM", &backup.id().to_string()]).status().unwrap().success());
    assert_eq!(wait_for_exit(&mut backup, Duration::from_secs(30)), Some(0), "the last one succeeded");
    let printed = std::io::read_to_string(backup.stderr.take().unwrap()).unwrap();
    assert!(printed.contains("backup failed"), "{printed}");
}

#[test]
fn invalid_intervals_are_refused() {
    let home = TestEnv::new();
    for every in ["0s", "soon", "-1h", "500ms"] {
        let ran = home.run(&["backup", "create", "--folder", "backups", "--every", every]);
        assert_eq!(ran.exit_code, Some(2), "{every}: {ran:?}");
    }
}
