//! Handlers while the store cannot be written.

use std::path::PathBuf;

use super::*;

/// Locks the database for 5.5 s when it receives its first event.
struct DatabaseLockingHandler {
    seen: RecordedAttempts,
    database: PathBuf,
}

#[async_trait]
impl EventHandler for DatabaseLockingHandler {
    async fn handle(&self, event: &Event, _: &Context) -> Outcome {
        if self.seen.list().is_empty() {
            let other = rusqlite::Connection::open(&self.database).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(5_500));
                other.execute_batch("COMMIT").unwrap();
            });
        }
        self.seen.record(event.name());
        Outcome::Done
    }
}

/// The lock is held longer than the writer waits for it, so recording the attempt fails at first.
#[test]
fn a_handled_event_is_not_handled_again_while_the_store_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let seen = RecordedAttempts::default();
    let locker = DatabaseLockingHandler { seen: seen.clone(), database: database_path(folder.path()) };
    let local = LocalReceiver::start(folder.path(), |builder| builder.handler("locker", Filter::all(), locker));
    assert_eq!(local.post_signed(&event_body("call_ended", "call_1")).status, 200);
    assert!(seen.wait_for_count(1));
    let is_done = || list_deliveries(folder.path()).first().is_some_and(|delivery| delivery["state"] == "succeeded");
    assert!(wait_until(Duration::from_secs(15), is_done));
    assert_eq!(seen.list(), ["call_ended"]);
    local.stop();
}
