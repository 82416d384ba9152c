//! Dead letters and replay: operator commands change deliveries while a receiver runs.

mod large;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retell_webhook::Filter;
use retell_webhook::{Context, Event, EventHandler, Outcome, ReceiverBuilder, async_trait};
use serde_json::{Value, json};

use crate::support::bodies::event_body;
use crate::support::local::{LocalReceiver, storage_url};
use crate::support::test_env::{CommandOutput, TestEnv};
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// Records each attempt as `<call id> <event>/<attempt>`, with ` again` after it for a replay.
#[derive(Clone, Default)]
struct CrmHandler {
    seen: Arc<Mutex<Vec<String>>>,
    is_down: Arc<AtomicBool>,
    is_slow: Arc<AtomicBool>,
}

#[async_trait]
impl EventHandler for CrmHandler {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        let again = if context.replay { " again" } else { "" };
        let call_id = event.identifiers().call_id.unwrap_or_default();
        self.seen.lock().unwrap().push(format!("{call_id} {}/{}{again}", event.name(), context.attempt));
        if self.is_slow.load(Ordering::Relaxed) {
            return Outcome::retry("come back later");
        }
        if self.is_down.load(Ordering::Relaxed) { Outcome::fail("refused: 422") } else { Outcome::Done }
    }
}

impl CrmHandler {
    fn down() -> Self {
        let crm = Self::default();
        crm.is_down.store(true, Ordering::Relaxed);
        crm
    }

    fn recover(&self) {
        self.is_down.store(false, Ordering::Relaxed);
        self.is_slow.store(false, Ordering::Relaxed);
    }

    fn recorded_attempts(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits for this many attempts, and returns and clears the record.
    fn take_attempts(&self, count: usize) -> Vec<String> {
        assert!(wait_until(WAIT_LIMIT, || self.recorded_attempts().len() >= count), "{:?}", self.recorded_attempts());
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// A receiver in this process, and the program's commands on the same store.
struct ReplayFixture {
    home: TestEnv,
    local: LocalReceiver,
}

impl ReplayFixture {
    fn start(add: impl FnOnce(ReceiverBuilder) -> ReceiverBuilder) -> Self {
        let home = TestEnv::new();
        let url = storage_url(home.path());
        let local = LocalReceiver::start(home.path(), add);
        Self { home: home.with_env("DATABASE_URL", &url), local }
    }

    fn with_crm(crm: &CrmHandler) -> Self {
        let crm = crm.clone();
        Self::start(|builder| builder.handler("crm", Filter::all(), crm))
    }

    fn post_event(&self, name: &str, call_id: &str) {
        assert_eq!(self.local.post_signed(&event_body(name, call_id)).status, 200);
    }

    fn list_deliveries(&self, narrow: &[&str]) -> Vec<Value> {
        let ran = self.home.run_ok(&[&["deliveries", "list", "--json"], narrow].concat());
        ran.json().as_array().unwrap().clone()
    }

    fn count_deliveries(&self, state: &str) -> usize {
        self.list_deliveries(&["--state", state]).len()
    }

    fn wait_for_deliveries(&self, state: &str, count: usize) {
        assert!(
            wait_until(WAIT_LIMIT, || self.count_deliveries(state) == count),
            "{state}: {:?}",
            self.list_deliveries(&[])
        );
    }

    fn find_event_id(&self, call_id: &str, name: &str) -> String {
        let found = self.home.list_events(&["--call", call_id, "--event", name]);
        found[0]["id"].as_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str]) -> CommandOutput {
        self.home.run(args)
    }

    /// The JSON output of a command.
    fn run_json(&self, args: &[&str]) -> Value {
        self.home.run_ok(&[args, &["--json"]].concat()).json()
    }
}

fn bulk_counts(said: &Value) -> (u64, u64) {
    (said["selected"].as_u64().unwrap(), said["changed"].as_u64().unwrap())
}

#[test]
fn a_dead_letter_is_listed_shown_and_retried() {
    let crm = CrmHandler::down();
    let fixture = ReplayFixture::with_crm(&crm);
    fixture.post_event("call_ended", "call_1");
    fixture.wait_for_deliveries("dead", 1);
    let id = fixture.find_event_id("call_1", "call_ended");
    let listed = fixture.run(&["dead", "list"]).stdout;
    assert!(listed.contains(&id) && listed.contains("crm") && listed.contains("refused: 422"), "{listed}");
    let shown = fixture.run(&["deliveries", "show", &id]).stdout;
    assert!(shown.contains("attempt 1: fail") && shown.contains("error: refused: 422"), "{shown}");

    crm.recover();
    crm.take_attempts(1);
    let ran = fixture.run(&["dead", "retry", &id, "--handler", "crm"]);
    assert_eq!((ran.exit_code, ran.stdout.as_str()), (Some(0), "1 retried\n"), "{ran:?}");
    assert_eq!(crm.take_attempts(1), ["call_1 call_ended/1"], "a retry is not a replay, and restarts the schedule");
    fixture.wait_for_deliveries("succeeded", 1);
    let shown = fixture.run_json(&["deliveries", "show", &format!("{id}:crm")]);
    let attempts = shown[0]["attempt_records"].as_array().unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["fail", "done"], "the first attempt stays on record");
    let ran = fixture.run(&["dead", "retry", &id]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("no delivery matches"), "{ran:?}");
    fixture.local.stop();
}

#[test]
fn dead_letters_are_counted_before_many_are_discarded() {
    let crm = CrmHandler::down();
    let fixture = ReplayFixture::with_crm(&crm);
    (0..4).for_each(|call| fixture.post_event("call_ended", &format!("call_{call}")));
    fixture.wait_for_deliveries("dead", 4);
    let ran = fixture.run(&["dead", "discard", "--handler", "crm"]);
    assert!(ran.exit_code == Some(0) && ran.stdout.contains("Nothing was changed. With --yes: 4 discarded"), "{ran:?}");
    assert_eq!(fixture.count_deliveries("dead"), 4);
    assert_eq!(bulk_counts(&fixture.run_json(&["dead", "discard", "--all", "--limit", "3", "--yes"])), (3, 3));
    assert_eq!((fixture.count_deliveries("dead"), fixture.count_deliveries("skipped")), (1, 3));
    let rows = fixture.list_deliveries(&["--state", "skipped"]);
    assert!(rows.iter().all(|row| row["reason"] == "discarded"), "{rows:?}");
    let left = fixture.list_deliveries(&["--state", "dead"]);
    assert_eq!(left[0]["call_id"], "call_3", "the oldest events are selected first");
    fixture.local.stop();
}

#[test]
fn a_scheduled_delivery_can_be_canceled_or_retried_now() {
    let crm = CrmHandler::default();
    crm.is_slow.store(true, Ordering::Relaxed);
    let fixture = ReplayFixture::with_crm(&crm);
    for name in ["call_started", "call_ended"] {
        fixture.post_event(name, "call_1");
    }
    fixture.post_event("call_started", "call_2");
    fixture.wait_for_deliveries("scheduled", 2);
    fixture.wait_for_deliveries("pending", 1);
    crm.take_attempts(2);
    let (first, second) =
        (fixture.find_event_id("call_1", "call_started"), fixture.find_event_id("call_2", "call_started"));
    crm.recover();
    assert_eq!(bulk_counts(&fixture.run_json(&["deliveries", "cancel", &first])), (1, 1));
    assert_eq!(crm.take_attempts(1), ["call_1 call_ended/1"], "the next event of the call is due at once");
    assert_eq!(fixture.list_deliveries(&["--event-id", &first])[0]["reason"], "cancelled");
    assert_eq!(bulk_counts(&fixture.run_json(&["deliveries", "retry", &second])), (1, 1));
    assert_eq!(crm.take_attempts(1), ["call_2 call_started/1"]);
    fixture.wait_for_deliveries("succeeded", 2);
    let ran = fixture.run(&["deliveries", "cancel", &second]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("excluded: finished"), "{ran:?}");
    fixture.local.stop();
}

/// Completes an attempt when the test adds a permit.
struct BlockedHandler(Arc<tokio::sync::Semaphore>);

#[async_trait]
impl EventHandler for BlockedHandler {
    async fn handle(&self, _: &Event, _: &Context) -> Outcome {
        drop(self.0.acquire().await);
        Outcome::Done
    }
}

#[test]
fn a_running_attempt_is_not_changed() {
    let permits = Arc::new(tokio::sync::Semaphore::new(0));
    let handler = BlockedHandler(Arc::clone(&permits));
    let fixture = ReplayFixture::start(|builder| builder.handler("crm", Filter::all(), handler));
    fixture.post_event("call_ended", "call_1");
    fixture.wait_for_deliveries("running", 1);
    let id = fixture.find_event_id("call_1", "call_ended");
    for command in [["deliveries", "cancel"], ["deliveries", "retry"]] {
        let ran = fixture.run(&[&command[..], &[&id]].concat());
        assert!(ran.exit_code == Some(1) && ran.stdout.contains("excluded: an attempt is running"), "{ran:?}");
    }
    let ran = fixture.run(&["replay", &id, "--yes"]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("an attempt is running"), "{ran:?}");
    permits.add_permits(1);
    fixture.wait_for_deliveries("succeeded", 1);
    fixture.local.stop();
}

#[test]
fn a_replay_is_counted_first_and_marked_as_replay() {
    let crm = CrmHandler::default();
    let fixture = ReplayFixture::with_crm(&crm);
    fixture.post_event("call_started", "call_1");
    fixture.post_event("call_ended", "call_1");
    fixture.wait_for_deliveries("succeeded", 2);
    crm.take_attempts(2);
    let id = fixture.find_event_id("call_1", "call_ended");
    let before = fixture.list_deliveries(&[]);
    for dry in [&["replay", &id][..], &["replay", "--all", "--dry-run"]] {
        let ran = fixture.run(dry);
        assert!(ran.exit_code == Some(0) && ran.stdout.contains("selected"), "{ran:?}");
        assert!(ran.stdout.contains("Nothing was changed. With --yes:"), "{ran:?}");
    }
    let said = fixture.run_json(&["replay", "--call", "call_1"]);
    assert_eq!((said["dry_run"].as_bool(), bulk_counts(&said)), (Some(true), (2, 0)));
    let counts = json!([{"handler": "crm", "state": "succeeded", "reason": null, "count": 2, "excluded_reason": null}]);
    assert_eq!(said["counts"], counts);
    assert_eq!(fixture.list_deliveries(&[]), before, "counting changes nothing");

    assert_eq!(fixture.run(&["replay", &id, "--yes"]).stdout, "1 replayed\n");
    assert_eq!(crm.take_attempts(1), ["call_1 call_ended/1 again"]);
    fixture.wait_for_deliveries("succeeded", 2);
    let row = &fixture.list_deliveries(&["--event-id", &id])[0];
    assert_eq!((row["replay"].as_bool(), row["event_id"].as_str()), (Some(true), Some(id.as_str())));
    fixture.local.stop();
}

#[test]
fn a_replay_is_narrowed_by_call_name_handler_time_and_state() {
    let (crm, other) = (CrmHandler::default(), CrmHandler::down());
    let handlers = (crm.clone(), other.clone());
    let fixture = ReplayFixture::start(|builder| {
        builder.handler("crm", Filter::all(), handlers.0).handler("other", Filter::all(), handlers.1)
    });
    for call_id in ["call_1", "call_2"] {
        fixture.post_event("call_started", call_id);
        fixture.post_event("call_ended", call_id);
    }
    fixture.wait_for_deliveries("succeeded", 4);
    fixture.wait_for_deliveries("dead", 4);
    let table: [(&[&str], Option<u64>); 13] = [
        (&["--all"], Some(8)),
        (&["--call", "call_1"], Some(4)),
        (&["--event", "call_ended"], Some(4)),
        (&["--handler", "crm"], Some(4)),
        (&["--handler", "crm", "--event", "call_ended", "--call", "call_2"], Some(1)),
        (&["--state", "dead"], Some(4)),
        (&["--state", "dead", "--state", "succeeded", "--call", "call_2"], Some(4)),
        (&["--reason", "refused: 422"], Some(4)),
        (&["--since", "1h"], Some(8)),
        (&["--since", "1h", "--limit", "5"], Some(5)),
        (&["--company", "default"], Some(8)),
        (&["--until", "1h"], None),
        (&["--call", "call_nowhere"], None),
    ];
    for (narrow, expected) in table {
        let ran = fixture.run(&[&["replay", "--json"], narrow].concat());
        assert_eq!(ran.exit_code, Some(i32::from(expected.is_none())), "{narrow:?}: {ran:?}");
        assert_eq!(ran.json()["selected"], expected.unwrap_or(0), "{narrow:?}: {ran:?}");
    }
    assert_eq!(fixture.run(&["replay"]).exit_code, Some(2), "a replay of everything requires --all");
    assert_eq!(fixture.run(&["replay", "--yes"]).exit_code, Some(2));
    assert_eq!(fixture.run(&["replay", "--state", "none", "--call", "call_1"]).exit_code, Some(2));
    let ran = fixture.run(&["replay", "--handler", "unknown"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("known handlers: crm, other"), "{ran:?}");
    let said = fixture.run_json(&["replay", "--state", "dead", "--event", "call_ended", "--yes"]);
    assert_eq!(bulk_counts(&said), (2, 2));
    other.take_attempts(6);
    assert_eq!(crm.recorded_attempts().len(), 4);
    fixture.local.stop();
}

#[test]
fn events_of_a_call_are_replayed_in_order() {
    let crm = CrmHandler::default();
    let fixture = ReplayFixture::with_crm(&crm);
    let names = ["call_started", "transcript_updated", "call_ended", "call_analyzed"];
    for name in names {
        fixture.post_event(name, "call_1");
    }
    fixture.wait_for_deliveries("succeeded", 4);
    crm.take_attempts(4);
    assert_eq!(bulk_counts(&fixture.run_json(&["replay", "--call", "call_1", "--rate", "5", "--yes"])), (4, 4));
    let again: Vec<_> = names.iter().map(|name| format!("call_1 {name}/1 again")).collect();
    assert_eq!(crm.take_attempts(4), again, "in order at a low rate");
    fixture.wait_for_deliveries("succeeded", 4);
    assert_eq!(bulk_counts(&fixture.run_json(&["replay", "--call", "call_1", "--yes"])), (4, 4));
    assert_eq!(crm.take_attempts(4), again);
    fixture.local.stop();
}

/// Replayed deliveries precede pending ones of their call, and no webhook request fails meanwhile.
#[test]
fn events_are_accepted_while_many_are_replayed() {
    let crm = CrmHandler::default();
    let fixture = ReplayFixture::with_crm(&crm);
    for number in 0..600 {
        fixture.post_event("call_started", &format!("call_{number}"));
    }
    crm.take_attempts(600);
    fixture.wait_for_deliveries("pending", 0);
    fixture.wait_for_deliveries("running", 0);
    std::thread::scope(|scope| {
        let replay =
            scope.spawn(|| fixture.run_json(&["replay", "--event", "call_started", "--rate", "2000", "--yes"]));
        for number in 0..200 {
            fixture.post_event("call_ended", &format!("call_{number}"));
        }
        assert_eq!(bulk_counts(&replay.join().unwrap()), (600, 600));
    });
    let seen = crm.take_attempts(800);
    let (again, ended): (Vec<_>, Vec<_>) = seen.iter().partition(|line| line.ends_with("call_started/1 again"));
    assert_eq!((again.len(), ended.len()), (600, 200));
    assert!(ended.iter().all(|line| line.ends_with(" call_ended/1")), "{ended:?}");
    fixture.local.stop();
}

#[test]
fn a_filtered_event_is_shown_and_delivered_only_on_request() {
    let (crm, ended) = (CrmHandler::default(), Filter::all().events(["call_ended"]));
    let handler = crm.clone();
    let fixture = ReplayFixture::start(|builder| builder.handler("crm", ended, handler));
    fixture.post_event("call_started", "call_1");
    fixture.post_event("call_ended", "call_1");
    fixture.wait_for_deliveries("succeeded", 1);
    crm.take_attempts(1);
    let id = fixture.find_event_id("call_1", "call_started");
    let shown = fixture.run(&["events", "show", &id]).stdout;
    assert!(
        shown.contains("filtered: not wanted by the handler") && shown.contains("no handler wanted this event"),
        "{shown}"
    );
    let shown = fixture.run_json(&["events", "show", &id]);
    assert_eq!(shown["wanted"], false);
    assert_eq!(shown["deliveries"], json!([{"handler": "crm", "state": "filtered"}]));
    assert_eq!(fixture.list_deliveries(&["--event-id", &id])[0]["state"], "filtered");
    assert_eq!(fixture.run_json(&["events", "show", &fixture.find_event_id("call_1", "call_ended")])["wanted"], true);

    assert_eq!(fixture.run(&["replay", &id, "--yes"]).exit_code, Some(1), "no delivery, no replay");
    let said = fixture.run_json(&["replay", "--handler", "crm", "--all"]);
    assert_eq!(bulk_counts(&said), (1, 0), "{said}");
    assert!(said["counts"][0]["excluded_reason"].as_str().unwrap().contains("state `none`"), "{said}");
    assert_eq!(bulk_counts(&fixture.run_json(&["replay", &id, "--handler", "crm", "--yes"])), (1, 1));
    assert_eq!(crm.take_attempts(1), ["call_1 call_started/1 again"]);
    fixture.local.stop();
}

#[test]
fn events_before_a_handler_was_registered_can_be_replayed() {
    let (first, second) = (CrmHandler::default(), CrmHandler::default());
    let fixture = ReplayFixture::with_crm(&first);
    fixture.post_event("call_ended", "call_1");
    fixture.wait_for_deliveries("succeeded", 1);
    let (home, handler) = (fixture.home, second.clone());
    fixture.local.stop();
    let local = LocalReceiver::start(home.path(), |builder| {
        builder.handler("crm", Filter::all(), first).handler("new", Filter::all(), handler)
    });
    let fixture = ReplayFixture { home, local };
    let id = fixture.find_event_id("call_1", "call_ended");
    let outlooks = fixture.list_deliveries(&["--event-id", &id]);
    assert_eq!((&outlooks[0]["state"], &outlooks[1]["state"]), (&json!("succeeded"), &json!("before_handler")));
    assert_eq!(bulk_counts(&fixture.run_json(&["replay", "--handler", "new", "--state", "none", "--yes"])), (1, 1));
    assert_eq!(second.take_attempts(1), ["call_1 call_ended/1 again"]);
    fixture.local.stop();
}

#[test]
fn commands_create_no_store_and_reject_another_version() {
    let home = TestEnv::new();
    for args in
        [&["deliveries", "list"][..], &["dead", "list"], &["replay", "--all"], &["dead", "discard", "--all", "--yes"]]
    {
        let ran = home.run(args);
        assert!(ran.exit_code == Some(1) && ran.stderr.contains("no store at"), "{args:?}: {ran:?}");
    }
    assert!(!home.path().join("data").exists());
    drop(home.start_server());
    home.open_database().pragma_update(None, "user_version", 99).unwrap();
    let ran = home.run(&["replay", "--all", "--yes"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("newer version"), "{ran:?}");
    assert!(Path::new(&home.database_path()).exists());
}
