//! Bits of the write-ahead log flip while the receiver is not running. SQLite drops everything behind the damage
//! silently; the receiver repairs a single bit, or reports what is missing and keeps what it finds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::faulty_disk::FaultyDisk;
use crate::support::bodies::event_body;
use crate::support::client::post_to;
use crate::support::signing::sign;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const EVENTS: usize = 30;
const FLIPS: usize = 12;
/// Checkpoints fail, so that the events are in the log only.
const NO_CHECKPOINTS: [&str; 2] = ["write retell-webhook.db EIO -1", "write retell-webhook.db-ledger EIO -1"];
const HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24 + 4_096;

/// A receiver that was killed with acknowledged events in the log. A new start can be tried again and again.
struct KilledStore {
    home: TestEnv,
    _disk: FaultyDisk,
    files: Vec<(PathBuf, Vec<u8>)>,
    log: PathBuf,
}

impl KilledStore {
    /// `suffix` is that of the database whose log is damaged.
    fn new(suffix: &str, rules: &[&str], use_store: impl Fn(&TestEnv, std::net::SocketAddr)) -> Self {
        let mut home = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__LEVEL", "warn");
        home.write_config(
            "[appointments]\nenabled = true\ndays = [\"mon-sun\"]\nopens = \"00:00\"\ncloses = \"24:00\"\n",
        );
        let disk = FaultyDisk::attach(&mut home);
        let mut server = home.start_server();
        disk.set_rules(rules);
        use_store(&home, server.address());
        server.kill();
        disk.set_rules(&[]);
        let folder = home.path().join("data");
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let files = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        let log = folder.join(format!("retell-webhook.db{suffix}-wal"));
        Self { home, _disk: disk, files, log }
    }

    /// Puts the files back as they were after the kill, with bits of one byte of the log flipped.
    fn damage(&self, byte: usize, mask: u8) {
        for entry in fs::read_dir(self.log.parent().unwrap()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::remove_file(path).unwrap();
            }
        }
        for (path, content) in &self.files {
            fs::write(path, content).unwrap();
        }
        let mut log = fs::read(&self.log).unwrap();
        log[byte] ^= mask;
        fs::write(&self.log, log).unwrap();
    }

    fn log_bytes(&self) -> &[u8] {
        self.content_of(&self.log)
    }

    /// The content of a file after the kill.
    fn content_of(&self, file: &Path) -> &[u8] {
        &self.files.iter().find(|(path, _)| path == file).unwrap().1
    }

    /// Starts the receiver, which may fail, and returns its output.
    fn start_and_kill(&self) -> String {
        let path = self.home.path().join("serve.log");
        let _ = fs::remove_file(&path);
        // Both outputs go to one file.
        let output = || fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let mut server = self.home.command(&["serve"]).stdout(output()).stderr(output()).spawn().unwrap();
        let text = || fs::read_to_string(&path).unwrap();
        let is_up = || text().contains("listening") || server.try_wait().unwrap().is_some();
        assert!(wait_until(Duration::from_secs(30), is_up));
        let _ = server.kill();
        server.wait().unwrap();
        text()
    }

    /// Copies of the damaged log.
    fn copies(&self) -> Vec<PathBuf> {
        let prefix = format!("{}.damaged-", self.log.to_str().unwrap());
        let entries = fs::read_dir(self.log.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.to_str().unwrap().starts_with(&prefix)).collect()
    }
}

/// The number behind `name=` in the line with `message`.
fn logged_number(output: &str, message: &str, name: &str) -> Option<usize> {
    let line = output.lines().find(|line| line.contains(message))?;
    let number = line.split_once(&format!("{name}="))?.1;
    number.split(' ').next()?.parse().ok()
}

/// The frames of the last generation of the log, counted by its salts.
fn current_frames(log: &[u8]) -> usize {
    let frames = log[HEADER_BYTES..].chunks_exact(FRAME_BYTES);
    frames.take_while(|frame| frame[8..16] == log[16..24]).count()
}

fn send_events(_home: &TestEnv, address: std::net::SocketAddr) {
    for number in 0..EVENTS {
        let body = event_body("call_ended", &format!("call_{number}"));
        assert_eq!(post_to(address, crate::support::client::WEBHOOK_PATH, &body, &sign(&body)).status, 200);
    }
}

/// A single flipped bit, which the receiver can often repair, or three.
fn damage_mask(number: usize) -> u8 {
    if number.is_multiple_of(2) { 1 << (number % 8) } else { 0b1001_0010 }
}

fn random_below(limit: usize) -> usize {
    usize::from_str_radix(&retell_webhook::internals::random_hex()[..12], 16).unwrap() % limit
}

#[test]
fn damage_in_the_log_is_repaired_or_reported_with_what_is_missing() {
    let store = KilledStore::new("", &NO_CHECKPOINTS, send_events);
    let log = store.log_bytes();
    let frames = current_frames(log);
    assert!(frames > EVENTS, "{frames} frames");
    let used_bytes = HEADER_BYTES + frames * FRAME_BYTES;
    let mut lossy = 0;
    for flip in 0..FLIPS {
        // The first flip is in the header of the file, the second in the last frame.
        let byte = match flip {
            0 => random_below(HEADER_BYTES),
            1 => used_bytes - 1 - random_below(4_000),
            _ => random_below(used_bytes),
        };
        store.damage(byte, damage_mask(flip));
        let mut server = store.home.start_server();
        let stored = store.home.export_events().len();
        assert_eq!(server.stop(), Some(0));
        let output = server.output();
        let missing = logged_number(&output, "write-ahead log damaged", "missing_transactions").unwrap_or(0);
        let missing_frames = logged_number(&output, "write-ahead log damaged", "missing_frames").unwrap_or(0);
        println!(
            "byte {byte}: {stored} of {EVENTS} events, {missing_frames} frames and {missing} transactions missing"
        );
        let copies = store.copies();
        assert_eq!(copies.len(), usize::from(missing > 0), "{output}");
        // Besides events, the log has transactions such as the progress of the index.
        assert!(stored == EVENTS || missing >= EVENTS - stored, "{stored} stored: {output}");
        if let Some(copy) = copies.first() {
            assert!(
                output.contains("ERROR") && output.contains(copy.file_name().unwrap().to_str().unwrap()),
                "{output}"
            );
            assert_eq!(fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o600);
            let damaged_frame = byte.saturating_sub(HEADER_BYTES) / FRAME_BYTES;
            let expected = if byte < HEADER_BYTES { frames..=frames } else { frames - damaged_frame..=frames };
            assert!(expected.contains(&missing_frames), "{missing_frames} not in {expected:?}");
            lossy += 1;
        }
        // The next start finds nothing more to report.
        let mut server = store.home.start_server();
        assert_eq!(server.stop(), Some(0));
        assert!(!server.output().contains("write-ahead log damaged"), "{}", server.output());
    }
    assert!(lossy > 0);
}

/// Some pages are in the database already, in the state of frames behind the damage. SQLite mixes both states, so the
/// database may be unusable afterwards; it is kept as it was.
#[test]
fn damage_in_a_log_that_was_partly_moved_is_reported() {
    let store = KilledStore::new("", &[], |home, address| {
        send_events(home, address);
        send_events(home, address);
    });
    let frames = current_frames(store.log_bytes());
    for flip in 0..FLIPS {
        let byte = random_below(HEADER_BYTES + frames * FRAME_BYTES);
        println!("byte {byte} of {frames} frames, in its frame {}", byte.wrapping_sub(HEADER_BYTES) % FRAME_BYTES);
        store.damage(byte, damage_mask(flip));
        let output = store.start_and_kill();
        let is_damaged = output.contains("write-ahead log damaged");
        println!("damaged: {is_damaged}, starts: {}", output.contains("listening"));
        if is_damaged {
            let copy = store.copies().into_iter().next().unwrap().to_str().unwrap().replace("-wal.damaged", ".damaged");
            assert_eq!(fs::read(copy).unwrap(), store.content_of(&store.home.database_path()));
        } else {
            let exported = store.home.run(&["events", "export"]);
            assert_eq!(exported.stdout.lines().count(), EVENTS, "{exported:?} {output}");
        }
    }
}

#[test]
fn damage_in_the_log_of_the_ledger_is_reported() {
    let store = KilledStore::new("-ledger", &NO_CHECKPOINTS, |_, address| {
        for number in 0..5 {
            let call = serde_json::json!({"call_id": format!("call_{number}")});
            let body =
                serde_json::json!({"name": "cancel_appointment", "call": call, "args": {"name": "Ada"}}).to_string();
            let path = "/api/v1/function/cancel_appointment";
            assert_eq!(post_to(address, path, body.as_bytes(), &sign(body.as_bytes())).status, 200);
        }
    });
    let frames = current_frames(store.log_bytes());
    store.damage(HEADER_BYTES + (frames / 2) * FRAME_BYTES + 100, 0b11);
    let mut server = store.home.start_server();
    assert_eq!(server.stop(), Some(0));
    let output = server.output();
    assert!(
        logged_number(&output, "write-ahead log damaged", "missing_frames").is_some_and(|n| n >= frames / 2),
        "{output}"
    );
    assert!(output.contains("-ledger-wal"), "{output}");
    assert_eq!(store.copies().len(), 1);
}
