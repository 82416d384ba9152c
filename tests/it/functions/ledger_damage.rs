//! A ledger that is damaged, missing or replaced: events are received, and functions work again after a restart at the
//! latest.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{WEATHER_PATH, function_request_body, post_function_request, start_with_weather_function};
use crate::support::bodies::event_body;
use crate::support::destination::DestinationServer;
use crate::support::server::ReceiverProcess;
use crate::support::test_env::TestEnv;

const PAGE_BYTES: u64 = 4096;

fn answering_sink() -> DestinationServer {
    DestinationServer::start_with(|before, _| {
        axum::response::Response::new(axum::body::Body::from(format!("answer {before}")))
    })
}

fn ask(server: &ReceiverProcess, call_id: &str) -> String {
    let body = function_request_body(call_id, &json!({"city": "Bern"}));
    post_function_request(server.address(), WEATHER_PATH, &body).text()
}

fn ledger_path(home: &TestEnv, suffix: &str) -> PathBuf {
    home.path().join(format!("data/retell-webhook.db-ledger{suffix}"))
}

/// Files whose names contain `text`.
fn store_files(home: &TestEnv, text: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(home.path().join("data")).unwrap().flatten().map(|file| file.path());
    files.filter(|path| path.display().to_string().contains(text)).collect()
}

/// Overwrites everything from `offset` on, except for the length of the file.
fn overwrite_from(path: &Path, offset: u64) {
    let length = fs::metadata(path).unwrap().len();
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&vec![0xa5; usize::try_from(length - offset).unwrap()]).unwrap();
}

fn replace_by_other_database(path: &Path) {
    fs::remove_file(path).unwrap();
    rusqlite::Connection::open(path).unwrap().execute_batch("CREATE TABLE other (a)").unwrap();
}

/// The next start works with a new ledger after `damage` was done while the receiver was not running.
fn assert_new_ledger_after(name: &str, stop: fn(&mut ReceiverProcess), damage: fn(&Path)) {
    let sink = answering_sink();
    let (home, mut server) = start_with_weather_function(&sink.url(), "");
    // Enough rows for several pages.
    for number in 0..100 {
        assert!(ask(&server, &format!("call_{number}")).starts_with("answer"));
    }
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    stop(&mut server);
    damage(&ledger_path(&home, ""));
    // Commands that need no ledger work before the next start, too.
    assert_eq!(home.export_events().len(), 1, "{name}");
    let server = home.start_server();
    assert!(server.output().contains("ERROR invocation ledger damaged"), "{name}: {}", server.output());
    assert_eq!(ask(&server, "call_1"), "answer 100", "{name}: it was forgotten");
    assert_eq!(ask(&server, "call_1"), "answer 100", "{name}: it is recorded again");
    assert!(server.is_ready(), "{name}");
    assert!(!store_files(&home, "-ledger.damaged-").is_empty(), "{name}");
    assert_eq!(home.export_events().len(), 1, "{name}");
}

#[test]
fn a_damaged_ledger_is_set_aside_at_the_start() {
    let stop: fn(&mut ReceiverProcess) = |server| assert_eq!(server.stop(), Some(0));
    let kill: fn(&mut ReceiverProcess) = ReceiverProcess::kill;
    assert_new_ledger_after("overwritten", stop, |path| overwrite_from(path, 0));
    // With its log, which would replace the damaged pages.
    assert_new_ledger_after("overwritten after a kill", kill, |path| {
        overwrite_from(path, 0);
        overwrite_from(&path.with_extension("db-ledger-wal"), 0);
    });
    assert_new_ledger_after("another database", stop, replace_by_other_database);
    assert_new_ledger_after("damaged pages", stop, |path| overwrite_from(path, PAGE_BYTES));
    assert_new_ledger_after("cut off", stop, |path| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(3 * PAGE_BYTES).unwrap();
    });
    assert_new_ledger_after("cut off in the header", stop, |path| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(50).unwrap();
    });
    assert_new_ledger_after("text", stop, |path| {
        File::create(path).unwrap().write_all(b"not a database at all").unwrap();
    });
}

#[test]
fn a_deleted_ledger_is_reported_at_the_start() {
    let sink = answering_sink();
    let (home, mut server) = start_with_weather_function(&sink.url(), "");
    assert!(!server.output().contains("ERROR"), "{}", server.output());
    assert_eq!(ask(&server, "call_1"), "answer 0");
    assert_eq!(server.stop(), Some(0));
    fs::remove_file(ledger_path(&home, "")).unwrap();
    let mut server = home.start_server();
    assert!(server.output().contains("ERROR invocation ledger missing"), "{}", server.output());
    assert_eq!(ask(&server, "call_1"), "answer 1");
    assert_eq!(server.stop(), Some(0));
    let server = home.start_server();
    assert!(!server.output().contains("invocation ledger missing"), "it is there again: {}", server.output());
    assert_eq!(ask(&server, "call_1"), "answer 1");
}

#[test]
fn a_ledger_of_another_store_is_reported_at_the_start() {
    let sink = answering_sink();
    let (home, mut server) = start_with_weather_function(&sink.url(), "");
    let (other_home, mut other) = start_with_weather_function(&sink.url(), "");
    assert_eq!((server.stop(), other.stop()), (Some(0), Some(0)));
    fs::copy(ledger_path(&other_home, ""), ledger_path(&home, "")).unwrap();
    let mut server = home.start_server();
    assert!(server.output().contains("ERROR invocation ledger of another store"), "{}", server.output());
    assert_eq!(ask(&server, "call_1"), "answer 0");
    assert_eq!(server.stop(), Some(0));
    assert!(!home.start_server().output().contains("invocation ledger of another store"));
}

/// No function runs while its invocation would be recorded in a ledger that a restart does not open.
#[test]
fn a_ledger_that_is_deleted_or_replaced_at_run_time_fails_functions_only() {
    let replace: fn(&Path) = |path| {
        let copy = path.with_extension("copy");
        fs::copy(path, &copy).unwrap();
        fs::rename(copy, path).unwrap();
    };
    let delete: fn(&Path) = |path| fs::remove_file(path).unwrap();
    for (suffix, change) in [("", delete), ("-wal", delete), ("-shm", delete), ("", replace), ("-wal", replace)] {
        let sink = answering_sink();
        let (home, mut server) = start_with_weather_function(&sink.url(), "");
        assert_eq!(ask(&server, "call_1"), "answer 0");
        let path = ledger_path(&home, suffix);
        change(&path);
        assert!(!ask(&server, "call_2").starts_with("answer"), "{suffix}");
        assert_eq!(sink.received().len(), 1, "{suffix}: the function was not called");
        let ready = server.health_details();
        assert_eq!(ready.status, 503, "{suffix}");
        let checks = &ready.json()["checks"];
        assert!(checks["invocations"].as_str().unwrap().contains(&path.display().to_string()), "{checks}");
        assert_eq!(checks["storage"], "ok");
        assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200, "events are stored");
        assert!(server.output().contains("store files replaced or missing"), "{}", server.output());
        server.kill();
        let server = home.start_server();
        assert_eq!(ask(&server, "call_3"), "answer 1", "{suffix}");
        assert!(server.is_ready());
    }
}

/// The damaged ledger is set aside before the process ends, so that no restart meets it again.
#[test]
fn a_ledger_that_is_damaged_at_run_time_stops_the_receiver_which_then_starts_with_a_new_one() {
    let sink = answering_sink();
    let (home, mut server) = start_with_weather_function(&sink.url(), "");
    assert_eq!(ask(&server, "call_1"), "answer 0");
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    // A commit of another connection, so that the receiver reads the pages from the file again.
    let other = home.open_invocation_ledger();
    other.execute_batch("DELETE FROM invocations; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    overwrite_from(&ledger_path(&home, ""), PAGE_BYTES);
    assert!(!ask(&server, "call_2").starts_with("answer"));
    assert_eq!(server.wait_for_exit_code(), Some(1), "{}", server.output());
    assert!(server.output().contains("ERROR invocation ledger damaged"), "{}", server.output());
    drop(other);
    let mut server = home.start_server();
    assert_eq!(ask(&server, "call_2"), "answer 1");
    assert!(server.is_ready());
    assert_eq!((server.stop(), home.export_events().len()), (Some(0), 1));
}
