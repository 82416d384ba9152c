//! The database is older than the bodies, missing or another one, or the bodies are older than the database. Whatever
//! was acknowledged is readable once the files that belong together are back.

use std::path::PathBuf;

use super::{bodies_folder, large_event, read_files};
use crate::support::load::EventLog;
use crate::support::test_env::{ExportedEvent, TestEnv};

struct StoppedStore(TestEnv);

impl StoppedStore {
    fn new() -> Self {
        Self(TestEnv::new())
    }

    /// Starts the receiver, stores these events one after the other, and stops it. Returns its output.
    fn store(&self, calls: impl IntoIterator<Item = u32>) -> String {
        let mut server = self.0.start_server();
        for call in calls {
            let response = server.post_signed(&large_event("call_ended", &format!("call_{call}")));
            assert_eq!(response.status, 200, "{}", response.text());
        }
        assert_eq!(server.stop(), Some(0), "{}", server.output());
        server.output()
    }

    fn copy_database(&self, name: &str) -> PathBuf {
        let copy = self.0.path().join(name);
        std::fs::copy(self.0.database_path(), &copy).unwrap();
        copy
    }

    /// Removes the database with its log, or puts another one in its place.
    fn replace_database(&self, other: Option<&PathBuf>) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.0.database_path().display()));
        }
        if let Some(other) = other {
            std::fs::copy(other, self.0.database_path()).unwrap();
        }
    }

    fn assert_stored(&self, calls: impl IntoIterator<Item = u32>) {
        let found: Vec<_> = self.0.export_events().iter().filter_map(ExportedEvent::call_id).collect();
        let expected: Vec<_> = calls.into_iter().map(|call| format!("call_{call}")).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn an_older_database_does_not_cost_the_newer_bodies() {
    let store = StoppedStore::new();
    store.store(0..10);
    let older = store.copy_database("older");
    store.store(10..20);
    let newer = store.copy_database("newer");
    let bodies = read_files(&bodies_folder(&store.0));

    store.replace_database(Some(&older));
    let output = store.store([100]);
    assert!(output.contains("unreferenced bodies kept") && output.contains("put the newer database back"), "{output}");
    assert_eq!(read_files(&bodies_folder(&store.0))[..1], bodies, "the newer bodies are unchanged");
    store.assert_stored((0..10).chain([100]));
    let erased = store.0.run(&["erase", "--phone", "+12025550143", "--yes", "--json"]);
    assert_eq!((erased.exit_code, &erased.json()["complete"]), (Some(1), &false.into()), "bodies that no one searched");
    assert!(erased.stdout.contains("00000001.bodies"), "{erased:?}");

    store.replace_database(Some(&newer));
    store.store([]);
    store.assert_stored(0..20);
    store.replace_database(Some(&older));
    store.store([]);
    store.assert_stored(0..10);
}

#[test]
fn a_missing_database_does_not_cost_the_bodies() {
    let store = StoppedStore::new();
    store.store(0..20);
    let database = store.copy_database("complete");
    store.replace_database(None);
    let output = store.store([100]);
    assert!(output.contains("unreferenced bodies kept"), "{output}");
    store.assert_stored([100]);
    store.replace_database(Some(&database));
    store.store([]);
    store.assert_stored(0..20);
}

#[test]
fn the_database_of_another_store_does_not_cost_the_bodies() {
    let (store, other) = (StoppedStore::new(), StoppedStore::new());
    store.store(0..20);
    other.store(50..53);
    let database = store.copy_database("complete");
    store.replace_database(Some(&other.copy_database("other")));
    let output = store.store([100]);
    assert!(output.contains("unreferenced bodies kept"), "{output}");
    let export = store.0.run(&["events", "export"]);
    assert_eq!(
        (export.exit_code, export.stdout.lines().count()),
        (Some(1), 1),
        "only the event of this store: {export:?}"
    );
    store.replace_database(Some(&database));
    store.store([]);
    store.assert_stored(0..20);
}

#[test]
fn older_bodies_come_back_with_the_newer_ones() {
    let store = StoppedStore::new();
    store.store(0..10);
    let older = read_files(&bodies_folder(&store.0));
    store.store(10..20);
    let newer = read_files(&bodies_folder(&store.0));
    std::fs::remove_dir_all(bodies_folder(&store.0)).unwrap();
    std::fs::create_dir(bodies_folder(&store.0)).unwrap();
    let put = |files: &[(String, Vec<u8>)]| {
        for (name, content) in files {
            std::fs::write(bodies_folder(&store.0).join(name), content).unwrap();
        }
    };
    put(&older);
    let output = store.store([100]);
    assert!(output.contains("stored bodies missing"), "{output}");
    let export = store.0.run(&["events", "export"]);
    assert_eq!((export.exit_code, export.stdout.lines().count()), (Some(1), 11), "{}", export.stderr);
    put(&newer);
    store.store([]);
    store.assert_stored((0..20).chain([100]));
}

/// What a crash leaves behind is removed without a message at ERROR, and no acknowledged event with it.
#[test]
fn a_crash_under_load_leaves_nothing_unexplained() {
    let home = TestEnv::new();
    let log = EventLog::default();
    for _ in 0..3 {
        let mut server = home.start_server();
        log.while_sending(server.address(), 8, || {
            std::thread::sleep(std::time::Duration::from_millis(400));
            server.kill();
        });
    }
    let mut server = home.start_server();
    log.assert_stored(&home);
    assert_eq!(server.stop(), Some(0));
    let output = server.output();
    assert!(!output.contains("unreferenced bodies kept") && !output.contains("stored bodies missing"), "{output}");
}
