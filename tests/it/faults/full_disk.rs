//! A disk without a free byte: a file system in memory with a fixed size. Mounting needs root; otherwise these tests are
//! skipped.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::bodies::event_body;
use crate::support::server::ReceiverProcess;
use crate::support::test_env::{CommandOutput, TestEnv};
use crate::support::wait_until;

const WAIT_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
const SUBJECT_NUMBER: &str = "+12025550143";
const SUBJECT_TEXT: &str = "words of the person";
const SUBJECT_EVENTS: usize = 300;
const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// A small disk for the store of an environment; unmounted on drop.
struct SmallDisk {
    home: TestEnv,
    mount_point: PathBuf,
}

impl SmallDisk {
    /// `None` without the right to mount.
    fn mount() -> Option<Self> {
        let mut home = TestEnv::new();
        let mount_point = home.path().join("disk");
        fs::create_dir(&mount_point).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&mount_point).output();
        if !mount.is_ok_and(|mount| mount.status.success()) {
            println!("skipped: mounting a file system needs root");
            return None;
        }
        home.set_env("DATABASE_URL", &format!("sqlite://{}/store.db", mount_point.display()));
        Some(Self { home, mount_point })
    }

    /// Writes until no byte is free, in steps that end with single bytes.
    fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.mount_point.join("filler")).unwrap();
        for size in [1024 * 1024, 4_096, 1] {
            while filler.write_all(&vec![b'f'; size]).is_ok() {}
        }
    }

    fn reserve_bytes(&self) -> u64 {
        fs::metadata(self.mount_point.join("store.db.reserve")).map_or(0, |file| file.len())
    }

    fn erase(&self) -> CommandOutput {
        self.home.run(&["erase", "--phone", SUBJECT_NUMBER, "--yes", "--json"])
    }

    /// Starts a receiver and stores events of the person, with bodies in rows and in body files, and of others.
    fn start_with_events(&self) -> ReceiverProcess {
        let server = self.home.start_server();
        for number in 0..SUBJECT_EVENTS {
            // In rows for the most part: these bodies fill the write-ahead log of the erasure.
            let padding = " ".repeat(if number % 10 == 0 { 20_000 } else { 3_500 });
            let call =
                json!({"call_id": format!("call_{number}"), "from_number": SUBJECT_NUMBER, "transcript": padding});
            let body = json!({"event": "call_ended", "call": call, "said": SUBJECT_TEXT}).to_string();
            assert_eq!(server.post_signed(body.as_bytes()).status, 200);
        }
        assert_eq!(server.post_signed(&event_body("call_ended", "call_other")).status, 200);
        server
    }

    fn assert_erased(&self, erased: &CommandOutput) {
        assert_eq!(erased.exit_code, Some(0), "{erased:?}");
        let receipt = erased.json();
        assert_eq!(
            (&receipt["complete"], &receipt["erased"]["events"]),
            (&true.into(), &SUBJECT_EVENTS.into()),
            "{receipt}"
        );
        assert_eq!(files_with(&self.mount_point, SUBJECT_TEXT), [""; 0]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached at once, and gone with the last process that uses it.
        let _ = Command::new("umount").arg("-l").arg(&self.mount_point).status();
    }
}

fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path).unwrap_or_default().windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn erase_works_on_a_full_disk_while_a_receiver_runs() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut server = disk.start_with_events();
    assert_eq!(disk.reserve_bytes(), RESERVE_BYTES);
    disk.fill();
    let refused = server.post_signed(&vec![b' '; 100_000]);
    assert_eq!(refused.status, 503, "{}", refused.text());
    disk.assert_erased(&disk.erase());
    assert!(wait_until(WAIT_LIMIT, || disk.reserve_bytes() == RESERVE_BYTES), "the reserve is there again");
    fs::remove_file(disk.mount_point.join("filler")).unwrap();
    assert!(wait_until(WAIT_LIMIT, || server.post_signed(&event_body("call_ended", "call_later")).status == 200));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn erase_works_on_a_full_disk_without_a_receiver() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut server = disk.start_with_events();
    assert_eq!(server.stop(), Some(0));
    disk.fill();
    disk.assert_erased(&disk.erase());
    fs::remove_file(disk.mount_point.join("filler")).unwrap();
    let mut server = disk.home.start_server();
    assert_eq!(disk.reserve_bytes(), RESERVE_BYTES);
    let calls: Vec<_> =
        disk.home.export_events().iter().filter_map(crate::support::test_env::ExportedEvent::call_id).collect();
    assert_eq!(calls, ["call_other"]);
    assert_eq!(server.stop(), Some(0));
}

/// What the reserve is good for: without it the same erasure fails, and says why.
#[test]
fn erase_fails_on_a_full_disk_without_a_reserve() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut server = disk.start_with_events();
    assert_eq!(server.stop(), Some(0));
    fs::remove_file(disk.mount_point.join("store.db.reserve")).unwrap();
    disk.fill();
    let erased = disk.erase();
    assert_eq!(erased.exit_code, Some(1), "{erased:?}");
    assert!(erased.stderr.contains("disk is full") && erased.stderr.contains("free space"), "{erased:?}");
    assert!(!files_with(&disk.mount_point, SUBJECT_TEXT).is_empty());
}

/// Intake must not use the space that a command has released for itself.
#[test]
fn events_are_refused_while_the_reserve_is_released() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut server = disk.home.start_server();
    let reserve = File::options().write(true).open(disk.mount_point.join("store.db.reserve")).unwrap();
    reserve.lock().unwrap();
    reserve.set_len(0).unwrap();
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 503);
    assert!(wait_until(WAIT_LIMIT, || !server.is_ready()), "and the receiver is not ready");
    reserve.unlock().unwrap();
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    assert_eq!(disk.reserve_bytes(), RESERVE_BYTES);
    assert_eq!(server.stop(), Some(0));
    assert!(server.output().contains("the reserve"), "{}", server.output());
}

#[test]
fn a_small_disk_is_left_to_events() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut filler = File::create(disk.mount_point.join("filler")).unwrap();
    filler.write_all(&vec![b'f'; 40 * 1024 * 1024]).unwrap();
    let mut server = disk.home.start_server();
    assert_eq!(disk.reserve_bytes(), 0);
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    assert_eq!(server.stop(), Some(0));
    assert!(server.output().contains("disk reserve not created"), "{}", server.output());
}
