//! A store that is unavailable for a while: events are answered 503, none is stored in part, and intake resumes
//! without a restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::bodies::event_body;
use crate::support::client::{HttpResponse, RawClient, WEBHOOK_PATH, post_signed, request_head};
use crate::support::server::ReceiverProcess;
use crate::support::signing::sign;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(10);

fn assert_unavailable_with_retry_after(response: &HttpResponse) {
    assert_eq!(response.status, 503, "{}", response.text());
    let seconds: u32 = response.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(response.json(), json!({ "message": "Service Unavailable" }));
}

/// An event of about `size` bytes.
fn event_of_size(call_id: &str, size: usize) -> Vec<u8> {
    json!({ "event": "call_ended", "call": { "call_id": call_id, "transcript": "x".repeat(size) } }).to_string().into()
}

/// Sends events until one is answered 503. Returns the acknowledged bodies.
fn send_until_full(server: &ReceiverProcess, name: &str, size: usize) -> Vec<Vec<u8>> {
    let mut acknowledged = Vec::new();
    for number in 0..2_000 {
        let body = event_of_size(&format!("call_{name}_{number}"), size);
        let response = server.post_signed(&body);
        if response.status != 200 {
            assert_unavailable_with_retry_after(&response);
            return acknowledged;
        }
        acknowledged.push(body);
    }
    panic!("the store never became full");
}

fn assert_stored_exactly(home: &TestEnv, acknowledged: &[Vec<u8>]) {
    let stored: Vec<_> = home.export_events().into_iter().map(|event| event.body).collect();
    assert_eq!(stored.len(), acknowledged.len());
    assert!(stored == acknowledged, "a stored body differs from the acknowledged one");
}

#[test]
fn a_locked_store_is_answered_503_until_the_lock_is_released() {
    let home = TestEnv::new();
    let server = home.start_server();
    let mut acknowledged = vec![event_body("call_ended", "call_before")];
    assert_eq!(server.post_signed(&acknowledged[0]).status, 200);
    let other = home.open_database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    let address = server.address();
    let waiting: Vec<_> = (0..4)
        .map(|number| {
            thread::spawn(move || post_signed(address, &event_body("call_ended", &format!("call_locked_{number}"))))
        })
        .collect();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(server.get("/health/ready").status, 503);
    assert_eq!(server.get("/health/live").status, 200);
    for response in waiting {
        assert_unavailable_with_retry_after(&response.join().unwrap());
    }
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    let readable = home.run_ok(&["events", "list"]);
    assert!(readable.stdout.contains("call_before"));
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    assert!(wait_until(WAIT_LIMIT, || server.is_ready()));
    acknowledged.push(event_body("call_ended", "call_locked_0"));
    assert_eq!(server.post_signed(&acknowledged[1]).json(), json!({ "received": true }), "nothing of it was stored");
    assert_stored_exactly(&home, &acknowledged);
}

#[test]
fn a_short_lock_is_waited_for() {
    let home = TestEnv::new();
    let server = home.start_server();
    let other = home.open_database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let address = server.address();
    let waiting = thread::spawn(move || post_signed(address, &event_body("call_ended", "call_patient")));
    thread::sleep(Duration::from_millis(800));
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(waiting.join().unwrap().status, 200);
    assert_eq!(home.export_events().len(), 1);
}

/// The worst case for the response time: a body that takes almost its whole time limit, and then a locked store.
#[test]
fn a_slow_sender_of_a_locked_store_is_answered_503_in_time() {
    let home = TestEnv::new();
    let server = home.start_server();
    let address = server.address();
    let other = home.open_database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Other senders wait all the time, so that one commit after the other fails.
    let others: Vec<_> = (0..12)
        .map(|number| {
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(number * 800));
                post_signed(address, &event_body("call_ended", &format!("call_other_{number}"))).status
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(1_900));
    let body = event_body("call_ended", "call_slow");
    let started = Instant::now();
    let mut client = RawClient::connect(address);
    client
        .send(request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &sign(&body))], Some(body.len())).as_bytes())
        .unwrap();
    client.send(&body[..20]).unwrap();
    thread::sleep(Duration::from_millis(4_800));
    client.send(&body[20..]).unwrap();
    let response = client.read_response().expect("a response");
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
    assert!(started.elapsed() < WAIT_LIMIT, "{:?}", started.elapsed());
    assert!(others.into_iter().all(|other| other.join().unwrap() == 503));
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    assert!(wait_until(WAIT_LIMIT, || server.is_ready()));
    assert_eq!(server.post_signed(&body).status, 200);
    assert!(home.export_events().iter().any(|event| event.body == body));
}

#[test]
fn a_full_store_is_answered_503_and_stays_readable() {
    let mut home = TestEnv::new().with_env("DATABASE_URL", "sqlite://data/x.db?max_page_count=200");
    let mut server = home.start_server();
    let mut acknowledged = send_until_full(&server, "small", 2_000);
    assert!(acknowledged.len() > 5, "only {} events fit", acknowledged.len());
    assert_eq!(server.get("/health/live").status, 200);
    assert_stored_exactly(&home, &acknowledged);
    assert_eq!(home.list_events(&["--limit", "1000"]).len(), acknowledged.len());
    assert!(server.output().contains("store unavailable"), "{}", server.output());
    assert!(server.post_signed(&acknowledged[0]).status >= 200, "the server still responds");
    server.kill();
    home.set_env("DATABASE_URL", "sqlite://data/x.db?max_page_count=2000");
    let server = home.start_server();
    acknowledged.push(event_of_size("call_afterwards", 2_000));
    assert_eq!(server.post_signed(acknowledged.last().unwrap()).status, 200);
    assert_stored_exactly(&home, &acknowledged);
}

/// A separate small file system; unmounted when dropped.
struct TmpfsMount(PathBuf);

impl TmpfsMount {
    fn mount(folder: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for TmpfsMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_answered_503_until_space_is_free_again() {
    let home = TestEnv::new();
    let folder = home.path().join("data");
    let Some(_mounted) = TmpfsMount::mount(&folder, "size=2m,mode=0700") else {
        eprintln!("skipped: a small file system cannot be mounted here");
        return;
    };
    let server = home.start_server();
    let mut acknowledged = vec![event_of_size("call_before", 10_000)];
    assert_eq!(server.post_signed(&acknowledged[0]).status, 200);
    // Fills the disk; the write is expected to fail at the end.
    let filler = folder.join("filler");
    let _ = fs::write(&filler, vec![1; 4 * 1024 * 1024]);
    // Large bodies are written to body files, small ones to the database; both have to handle the full disk.
    acknowledged.extend(send_until_full(&server, "large", 50_000));
    acknowledged.extend(send_until_full(&server, "small", 2_000));
    assert_eq!(server.get("/health/live").status, 200);
    fs::remove_file(&filler).unwrap();
    let last = event_of_size("call_after", 10_000);
    assert!(wait_until(WAIT_LIMIT, || server.post_signed(&last).status == 200), "{}", server.output());
    acknowledged.push(last);
    assert!(wait_until(WAIT_LIMIT, || server.is_ready()));
    assert_stored_exactly(&home, &acknowledged);
}

/// Most events are large: a receiver that stores only small ones is not ready.
#[test]
fn a_full_disk_for_bodies_is_not_ready() {
    let home = TestEnv::new();
    let folder = home.path().join("data/retell-webhook.db-bodies");
    let Some(_mounted) = TmpfsMount::mount(&folder, "size=1m,mode=0700") else {
        eprintln!("skipped: a small file system cannot be mounted here");
        return;
    };
    let server = home.start_server();
    assert_eq!(server.post_signed(&event_of_size("call_before", 10_000)).status, 200);
    assert!(server.is_ready());
    let filler = folder.join("filler");
    let _ = fs::write(&filler, vec![1; 2 * 1024 * 1024]);
    send_until_full(&server, "large", 10_000);
    assert_eq!(server.post_signed(&event_of_size("call_small", 100)).status, 200);
    assert!(wait_until(WAIT_LIMIT, || !server.is_ready()), "small events are stored, large ones are not");
    fs::remove_file(&filler).unwrap();
    assert!(wait_until(WAIT_LIMIT, || server.is_ready()));
    assert_eq!(server.post_signed(&event_of_size("call_after", 10_000)).status, 200);
}
