//! Bodies after they were compressed: a receiver compresses at its start what the one before has left.

use std::time::Duration;

use crate::support::destination::DestinationServer;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(60);
const CALLS: usize = 8;
const STAGES: [&str; 3] = ["call_started", "call_ended", "call_analyzed"];
const EVENTS: usize = CALLS * STAGES.len();

fn body(call: usize, stage: usize) -> Vec<u8> {
    let transcript: String =
        (0..stage * 1_500).map(|word| format!("word {word} of call {call} ")).collect::<Vec<_>>().concat();
    // Bytes that would not survive a JSON parser.
    format!(
        "{{\"event\":\"{}\", \"call\":{{\"call_id\":\"call_{call}\",\"transcript\":\"{transcript}\"}} }}\n",
        STAGES[stage]
    )
    .into_bytes()
}

fn count(home: &TestEnv, table: &str) -> i64 {
    home.open_database().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn send_events(home: &TestEnv) {
    let mut server = home.start_server();
    for call in 0..CALLS {
        for stage in 0..STAGES.len() {
            assert_eq!(server.post_signed(&body(call, stage)).status, 200);
        }
    }
    assert_eq!(server.stop(), Some(0));
}

/// A store whose bodies are all compressed. The receiver that did it is stopped.
fn compress_bodies(home: &TestEnv, events: usize) {
    let mut server = home.start_server();
    assert!(wait_until(WAIT_LIMIT, || count(home, "bodies") == 0), "{} left", count(home, "bodies"));
    assert_eq!(server.stop(), Some(0));
    assert_eq!(count(home, "block_bodies"), i64::try_from(events).unwrap());
}

fn compressed_store() -> TestEnv {
    let home = TestEnv::new();
    send_events(&home);
    compress_bodies(&home, EVENTS);
    home
}

#[test]
fn exports_shows_and_deliveries_have_the_exact_bytes() {
    let destination = DestinationServer::start();
    let home = compressed_store();
    let events = home.export_events();
    let expected = || (0..CALLS).flat_map(|call| (0..STAGES.len()).map(move |stage| body(call, stage)));
    assert!(events.iter().map(|event| &event.body).eq(expected().collect::<Vec<_>>().iter()));
    let id = events[2].json["id"].as_str().unwrap();
    assert_eq!(home.run_ok(&["events", "show", id, "--body"]).stdout.as_bytes(), body(0, 2));
    home.run_ok(&["doctor", "--store"]);
    home.write_config(&format!("[[handlers]]\nname = \"crm\"\nkind = \"forward\"\nurl = \"{}\"\n", destination.url()));
    let mut server = home.start_server();
    home.run_ok(&["replay", "--handler", "crm", "--all", "--state", "none", "--yes"]);
    destination.wait_for(EVENTS);
    let mut received: Vec<Vec<u8>> = destination.received().into_iter().map(|request| request.body.to_vec()).collect();
    received.sort_unstable();
    let mut sent: Vec<_> = expected().collect();
    sent.sort_unstable();
    assert!(received == sent);
    assert!(server.post_signed(&body(3, 1)).is_duplicate());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_backup_of_compressed_bodies_is_restored_and_erasable() {
    let home = compressed_store();
    home.run_ok(&["backup", "create", "--folder", "backups"]);
    let backup = std::fs::read_dir(home.path().join("backups")).unwrap().next().unwrap().unwrap().path();
    let backup = backup.to_str().unwrap();
    home.run_ok(&["backup", "verify", backup]);
    let before = home.export_events();
    home.run_ok(&["erase", "--call", "call_5", "--yes"]);
    let erased = home.export_events();
    assert_eq!((before.len(), erased.len()), (EVENTS, (CALLS - 1) * STAGES.len()));
    home.run_ok(&["doctor", "--store"]);
    // The restored store is erased again, from the log of erasures.
    home.run_ok(&["backup", "restore", backup, "--move-aside"]);
    let restored = home.export_events();
    assert!(restored.iter().map(|event| &event.body).eq(erased.iter().map(|event| &event.body)));
}

#[test]
fn a_receiver_that_is_killed_while_it_compresses_keeps_every_body() {
    let home = TestEnv::new();
    send_events(&home);
    let mut was_interrupted = false;
    for kill_after_ms in [0, 5, 10, 20, 40, 80, 160, 320] {
        let mut server = home.start_server();
        std::thread::sleep(Duration::from_millis(kill_after_ms));
        server.kill();
        let (waiting, compressed) = (count(&home, "bodies"), count(&home, "block_bodies"));
        assert_eq!(waiting + compressed, i64::try_from(EVENTS).unwrap());
        was_interrupted |= waiting > 0;
        assert_eq!(home.export_events().len(), EVENTS);
    }
    assert!(was_interrupted, "every body was compressed before the first kill");
    // As little as is left may wait for more.
    let mut server = home.start_server();
    let filler = format!(r#"{{"event":"call_ended","text":"{}"}}"#, "w".repeat(300 * 1024));
    assert_eq!(server.post_signed(filler.as_bytes()).status, 200);
    assert_eq!(server.stop(), Some(0));
    compress_bodies(&home, EVENTS + 1);
    let events = home.export_events();
    assert!(
        events[..EVENTS].iter().enumerate().all(|(at, event)| event.body == body(at / STAGES.len(), at % STAGES.len()))
    );
}
