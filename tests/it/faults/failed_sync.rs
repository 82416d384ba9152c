//! A sync of a file of the store fails, later the power is cut: no acknowledged event is lost.

use std::process::Child;
use std::time::Duration;

use super::faulty_disk::FaultyDisk;
use crate::support::client::post_to;
use crate::support::load::EventLog;
use crate::support::server::ReceiverProcess;
use crate::support::signing::sign;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const SENDERS: usize = 8;
const LOAD_TIME: Duration = Duration::from_millis(700);
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// A receiver under load on a simulated disk.
struct Scenario {
    home: TestEnv,
    disk: FaultyDisk,
    log: EventLog,
}

impl Scenario {
    fn new() -> Self {
        let mut home = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__LEVEL", "warn");
        home.write_config(
            "[[handlers]]\nname = \"lines\"\nkind = \"file\"\npath = \"export/events.jsonl\"\n\
             [appointments]\nenabled = true\n",
        );
        let disk = FaultyDisk::attach(&mut home);
        Self { home, disk, log: EventLog::default() }
    }

    fn send_for(&self, server: &ReceiverProcess, time: Duration) {
        self.log.while_sending(server.address(), SENDERS, || std::thread::sleep(time));
    }

    /// Sends events, sets `rule` meanwhile, and sends until the receiver has stopped.
    fn fail_sync(&self, server: &mut ReceiverProcess, rule: &str, exit_code: Option<i32>) {
        self.log.while_sending(server.address(), SENDERS, || {
            std::thread::sleep(LOAD_TIME);
            self.disk.set_rules(&[rule]);
            assert_eq!(server.wait_for_exit_code(), exit_code, "{}", server.output());
        });
        assert!(!self.disk.faults().is_empty(), "no fault");
    }

    /// Ends the receiver, cuts the power, and compares the store with what was acknowledged.
    fn cut_power_and_compare(&self, mut server: ReceiverProcess) {
        server.kill();
        self.disk.cut_power(|| false);
        let mut server = self.home.start_server();
        let found = self.log.assert_stored(&self.home);
        assert!(found.acknowledged > 100, "too little load: {found:?}");
        assert_eq!(server.stop(), Some(0), "{}", server.output());
    }
}

/// A sync fails, the receiver stops and is started again. Then the power is cut, at once or after more events.
fn assert_nothing_lost_after(rule: &str, file: &str) {
    for sends_more in [true, false] {
        let scenario = Scenario::new();
        let mut server = scenario.home.start_server();
        scenario.fail_sync(&mut server, rule, Some(1));
        let output = server.output();
        assert!(output.contains("store sync failed") && output.contains(file), "{output}");
        let server = scenario.home.start_server();
        if sends_more {
            scenario.send_for(&server, LOAD_TIME);
        }
        scenario.cut_power_and_compare(server);
    }
}

#[test]
fn a_failed_sync_of_the_database_loses_nothing() {
    assert_nothing_lost_after("sync retell-webhook.db EIO 1", "retell-webhook.db");
}

#[test]
fn a_failed_sync_of_the_log_loses_nothing() {
    assert_nothing_lost_after("sync retell-webhook.db-wal EIO 1", "retell-webhook.db");
}

#[test]
fn a_failed_sync_of_a_body_file_loses_nothing() {
    assert_nothing_lost_after("sync *.bodies EIO 1", ".bodies");
}

#[test]
fn a_failed_sync_of_the_ledger_stops_the_receiver() {
    let scenario = Scenario::new();
    let mut server = scenario.home.start_server();
    scenario.send_for(&server, LOAD_TIME);
    scenario.disk.set_rules(&["sync retell-webhook.db-ledger-wal EIO 1"]);
    // Any function writes to the ledger.
    let body = br#"{"name":"cancel_appointment","call":{"call_id":"call_1"},"args":{"name":"Ada"}}"#;
    let answer = post_to(server.address(), "/api/v1/function/cancel_appointment", body, &sign(body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(server.wait_for_exit_code(), Some(1), "{}", server.output());
    assert!(server.output().contains("db-ledger"), "{}", server.output());
    let server = scenario.home.start_server();
    scenario.cut_power_and_compare(server);
}

#[test]
fn no_process_checkpoints_until_the_store_is_rebuilt() {
    let scenario = Scenario::new();
    let mut server = scenario.home.start_server();
    scenario.fail_sync(&mut server, "sync retell-webhook.db EIO 1", Some(1));
    for command in [
        &["erase", "--phone", "+12025550143", "--yes"][..],
        &["events", "export"],
        &["replay", "--handler", "lines", "--all", "--yes"],
        &["status"],
    ] {
        let ran = scenario.home.run(command);
        assert_eq!(ran.exit_code, Some(1), "{command:?}: {ran:?}");
        assert!(ran.output().contains("cannot sync") && ran.output().contains("start the receiver"), "{ran:?}");
    }
    scenario.cut_power_and_compare(server);
}

/// The disk fails for two seconds. The receiver is started again and again, as a service manager does.
#[test]
fn a_disk_that_fails_for_a_while_loses_nothing() {
    let scenario = Scenario::new();
    let mut server = scenario.home.start_server();
    scenario.fail_sync(&mut server, "sync retell-webhook.db EIO -1", Some(1));
    for _ in 0..3 {
        let ran = scenario.home.start_expecting_exit();
        assert_eq!(ran.exit_code, Some(1), "{ran:?}");
        assert!(ran.output().contains("cannot sync"), "{ran:?}");
    }
    scenario.disk.set_rules(&[]);
    let server = scenario.home.start_server();
    scenario.send_for(&server, LOAD_TIME);
    scenario.cut_power_and_compare(server);
}

/// A disk that hangs in a sync is often ended by a kill: the process cannot say any more that the sync has failed.
#[test]
fn a_process_that_is_killed_in_a_failing_sync_loses_nothing() {
    for file in ["retell-webhook.db", "retell-webhook.db-wal"] {
        let scenario = Scenario::new();
        let mut server = scenario.home.start_server();
        let mut tail = scenario.attach(&["tail"]);
        scenario.fail_sync(&mut server, &format!("sync {file} KILL 1"), None);
        let server = scenario.home.start_server();
        scenario.send_for(&server, LOAD_TIME);
        scenario.cut_power_and_compare_with(server, &mut [&mut tail]);
    }
}

/// Commands that have the store open would keep what they know about the log; they close it for the new receiver.
#[test]
fn commands_that_are_attached_let_the_receiver_rebuild_the_store() {
    let scenario = Scenario::new();
    let mut server = scenario.home.start_server();
    scenario.send_for(&server, LOAD_TIME);
    let mut tail = scenario.attach(&["tail"]);
    let mut replay = scenario.attach(&["replay", "--handler", "lines", "--all", "--yes", "--rate", "1"]);
    scenario.fail_sync(&mut server, "sync retell-webhook.db EIO 1", Some(1));
    let server = scenario.home.start_server();
    scenario.send_for(&server, LOAD_TIME);
    assert!(wait_until(WAIT_LIMIT, || replay.0.try_wait().unwrap().is_some()), "replay is still running");
    assert_eq!(replay.0.wait().unwrap().code(), Some(1));
    assert!(tail.0.try_wait().unwrap().is_none(), "tail follows the store again");
    scenario.cut_power_and_compare_with(server, &mut [&mut tail]);
}

/// A command that runs in the background, and is killed when dropped.
struct AttachedCommand(Child);

impl Drop for AttachedCommand {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scenario {
    /// Starts a command and waits until it has the store open.
    fn attach(&self, args: &[&str]) -> AttachedCommand {
        let output = || std::fs::File::create(self.home.path().join(format!("{}.log", args[0]))).unwrap();
        let child = self.home.command(args).stdout(output()).stderr(output()).spawn().unwrap();
        let command = AttachedCommand(child);
        let database = self.home.database_path();
        let is_open = || {
            let files = std::fs::read_dir(format!("/proc/{}/fd", command.0.id())).unwrap();
            files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|path| path == database))
        };
        assert!(wait_until(WAIT_LIMIT, is_open), "{args:?} does not open the store");
        command
    }

    fn cut_power_and_compare_with(&self, server: ReceiverProcess, commands: &mut [&mut AttachedCommand]) {
        for command in commands {
            let _ = command.0.kill();
            command.0.wait().unwrap();
        }
        self.cut_power_and_compare(server);
    }
}

#[test]
fn a_receiver_that_stops_in_order_leaves_complete_databases_without_logs() {
    let scenario = Scenario::new();
    let mut server = scenario.home.start_server();
    scenario.send_for(&server, LOAD_TIME);
    assert_eq!(server.stop(), Some(0), "{}", server.output());
    for name in ["retell-webhook.db-wal", "retell-webhook.db-ledger-wal"] {
        let length = std::fs::metadata(scenario.home.path().join("data").join(name)).map_or(0, |log| log.len());
        assert_eq!(length, 0, "{name}");
    }
    scenario.log.assert_stored(&scenario.home);
}
