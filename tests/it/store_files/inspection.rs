//! `doctor`, `status` and readiness name what is wrong with the files of a store.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::Value;

use super::{delete, readiness_checks, replace_by_copy, send_events, store_path};
use crate::support::server::ReceiverProcess;
use crate::support::test_env::{CommandOutput, TestEnv};

fn texts(ran: &CommandOutput, level: &str) -> Vec<String> {
    let findings = ran.json();
    let findings = findings.as_array().unwrap().iter().filter(|finding| finding["level"] == level);
    findings
        .map(|finding| format!("{}: {}", finding["check"].as_str().unwrap(), finding["text"].as_str().unwrap()))
        .collect()
}

/// Runs `doctor` with these arguments, which must exit with 1 because of a problem that contains `text`.
fn assert_problem(home: &TestEnv, args: &[&str], text: &str) {
    let ran = home.run(&[&["doctor", "--json"], args].concat());
    let problems = texts(&ran, "problem");
    assert_eq!(ran.exit_code, Some(1), "{ran:?}");
    assert!(problems.iter().any(|problem| problem.contains(text)), "no problem contains {text}: {problems:#?}");
}

/// A store with 12 events in a receiver that has stopped.
fn stopped_store() -> TestEnv {
    let home = TestEnv::new();
    let mut server = home.start_server();
    assert_eq!(send_events(&server, "1", 12).len(), 12);
    assert_eq!(server.stop(), Some(0));
    home
}

fn start_server(home: &mut TestEnv) -> ReceiverProcess {
    let server = home.start_server();
    home.use_ports_of(&server);
    server
}

fn flip_bit(path: &Path, offset: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&[byte[0] ^ 4]).unwrap();
}

#[test]
fn doctor_lists_the_files_of_a_store_in_order() {
    let mut home = TestEnv::new();
    let before = home.run_ok(&["doctor", "--store", "--json"]);
    assert!(texts(&before, "ok").contains(&"store files: none yet".to_owned()), "{before:?}");
    let mut server = start_server(&mut home);
    send_events(&server, "1", 12);
    let running = home.run_ok(&["doctor", "--store", "--json"]);
    for (name, content) in [
        ("retell-webhook.db", "database"),
        ("retell-webhook.db-wal", "write-ahead log of the database"),
        ("retell-webhook.db-ledger", "invocation ledger"),
        ("retell-webhook.db-bodies/00000001.bodies", "body file"),
    ] {
        let is_listed = |text: &String| {
            text.starts_with("store file: ") && text.contains(&format!("{name},")) && text.ends_with(content)
        };
        assert!(texts(&running, "ok").iter().any(is_listed), "{name}: {running:?}");
    }
    assert!(running.stdout.contains("12 bodies match their digests"), "{running:?}");
    assert_eq!(server.stop(), Some(0));
    assert!(home.run_ok(&["doctor", "--json"]).stdout.contains("which have what the database names"));
    assert!(home.run_ok(&["doctor", "--store"]).stderr.is_empty(), "progress is for terminals");
}

#[test]
fn doctor_store_finds_a_flipped_bit_in_every_body() {
    let home = stopped_store();
    home.run_ok(&["doctor", "--store"]);
    let bodies = store_path(&home, "-bodies/00000001.bodies");
    let transcript = fs::read(&bodies).unwrap().windows(8).position(|window| window == b"wwwwwwww").unwrap() as u64;
    flip_bit(&bodies, transcript + 1_000);
    assert_problem(&home, &["--store"], "does not match its digest");
    flip_bit(&bodies, transcript + 1_000);
    home.run_ok(&["doctor", "--store"]);
    let stored: Vec<u8> = home
        .open_database()
        .query_row("SELECT body FROM bodies WHERE body IS NOT NULL LIMIT 1", [], |row| row.get(0))
        .unwrap();
    let database = fs::read(home.database_path()).unwrap();
    // A page that was split may hold the bytes twice.
    for (at, _) in database.windows(40).enumerate().filter(|(_, window)| *window == &stored[..40]) {
        flip_bit(&home.database_path(), at as u64 + 30);
    }
    assert_problem(&home, &["--store"], "the body in the database does not match its digest");
}

#[test]
fn doctor_store_finds_damaged_pages() {
    for (suffix, name) in [("", "retell-webhook.db is damaged"), ("-ledger", "retell-webhook.db-ledger is damaged")] {
        let home = stopped_store();
        let path = store_path(&home, suffix);
        // The header of a page of an index or table.
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(4096 * 4)).unwrap();
        file.write_all(&[0xff; 4096]).unwrap();
        drop(file);
        assert_problem(&home, &["--store"], name);
    }
}

#[test]
fn doctor_finds_files_that_are_cut_missing_or_overwritten() {
    let home = stopped_store();
    let bodies = store_path(&home, "-bodies/00000001.bodies");
    OpenOptions::new().write(true).open(&bodies).unwrap().set_len(100).unwrap();
    assert_problem(&home, &[], "00000001.bodies has 100 of");
    fs::remove_dir_all(store_path(&home, "-bodies")).unwrap();
    assert_problem(&home, &[], "00000001.bodies has 0 of");

    let home = stopped_store();
    fs::write(store_path(&home, "-ledger"), "overwritten").unwrap();
    assert_problem(&home, &[], "retell-webhook.db-ledger is damaged");
    fs::remove_file(store_path(&home, "-ledger")).unwrap();
    assert_problem(&home, &[], "retell-webhook.db-ledger is missing");

    let home = stopped_store();
    fs::remove_file(home.database_path()).unwrap();
    assert_problem(&home, &[], "retell-webhook.db is missing, but other files of the store exist");
    fs::write(home.database_path(), "overwritten").unwrap();
    assert_problem(&home, &[], "file is not a database");
}

/// Files that were set aside are reported until an operator removes them; the receiver is ready.
#[test]
fn files_that_were_set_aside_are_named_everywhere() {
    for suffix in ["-ledger.damaged-17", "-wal.damaged-17", "-wal.orphaned-17"] {
        let mut home = stopped_store();
        let path = store_path(&home, suffix);
        fs::write(&path, "x").unwrap();
        let name = format!("retell-webhook.db{suffix}");
        let server = start_server(&mut home);
        assert!(
            server.output().contains("unused store file") && server.output().contains(&name),
            "{}",
            server.output()
        );
        assert_problem(&home, &[], &name);
        let details = server.health_details();
        assert_eq!(details.status, 200);
        assert!(details.json()["notes"][0].as_str().unwrap().contains(&name), "{}", details.text());
        let status = home.run_ok(&["status", "--json"]).json();
        let warnings: Vec<&str> = status["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(warnings.iter().any(|warning| warning.contains(&name)), "{status}");
        fs::remove_file(&path).unwrap();
        home.run_ok(&["doctor"]);
        assert!(server.health_details().json().get("notes").is_none());
    }
    let home = stopped_store();
    fs::write(store_path(&home, ".bak"), "x").unwrap();
    let ran = home.run_ok(&["doctor", "--json"]);
    assert!(texts(&ran, "warning").iter().any(|text| text.contains("retell-webhook.db.bak")), "{ran:?}");
}

#[test]
fn doctor_and_status_name_a_file_that_was_replaced_while_the_receiver_runs() {
    for (suffix, change) in [
        ("", delete as fn(&Path)),
        ("-wal", delete),
        ("-bodies", delete),
        ("-ledger", delete),
        ("", replace_by_copy),
        ("-wal", replace_by_copy),
        ("-bodies", replace_by_copy),
        ("-bodies/00000001.bodies", replace_by_copy),
        ("-ledger", replace_by_copy),
    ] {
        let mut home = TestEnv::new();
        let server = start_server(&mut home);
        send_events(&server, "1", 12);
        let path = store_path(&home, suffix);
        change(&path);
        let named = path.display().to_string();
        assert_problem(&home, &[], &named);
        let status = home.run(&["status"]);
        assert_eq!(status.exit_code, Some(1), "{suffix}: {status:?}");
        assert!(status.stdout.contains(&named), "{suffix}: {status:?}");
        assert!(readiness_checks(&server).to_string().contains(&named));
    }
}

/// Without the operator listener the receiver does not say what is wrong, but the lock does.
#[test]
fn doctor_finds_a_replaced_store_by_its_lock() {
    for suffix in ["", "-bodies"] {
        let mut home = TestEnv::new();
        let server = home.start_server();
        send_events(&server, "1", 12);
        home.set_env("RETELL_WEBHOOK__SERVER__PORT", &server.address().port().to_string());
        replace_by_copy(&store_path(&home, suffix));
        assert_problem(&home, &[], &format!("none has data/retell-webhook.db{suffix} open"));
    }
}

#[test]
fn the_alarm_store_files_is_raised_while_a_file_differs() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__ALARMS__CHECK_INTERVAL_MS", "1000");
    let server = home.start_server();
    send_events(&server, "1", 3);
    fs::rename(home.path().join("data"), home.path().join("moved")).unwrap();
    assert!(server.wait_for_output("ERROR alarm raised alarm=\"store_files\""), "{}", server.output());
}
