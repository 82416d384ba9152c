//! Dead letters and replay: the program changes deliveries beside a receiver that runs.

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

/// Notes `call name/attempt`, with `again` behind replays, and does what it is told to.
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

    /// Forgets what it saw, once it was so much.
    fn take_attempts(&self, count: usize) -> Vec<String> {
        assert!(wait_until(WAIT_LIMIT, || self.recorded_attempts().len() >= count), "{:?}", self.recorded_attempts());
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// A receiver in this process, and the program's verbs on the same store.
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

    /// What a verb says it did, as JSON.
    fn run_json(&self, args: &[&str]) -> Value {
        self.home.run_ok(&[args, &["--json"]].concat()).json()
    }
}

fn bulk_counts(said: &Value) -> (u64, u64) {
    (said["selected"].as_u64().unwrap(), said["changed"].as_u64().unwrap())
}

#[test]
fn a_dead_letter_is_listed_explained_and_retried() {
    let crm = CrmHandler::down();
    let both = ReplayFixture::with_crm(&crm);
    both.post_event("call_ended", "call_1");
    both.wait_for_deliveries("dead", 1);
    let id = both.find_event_id("call_1", "call_ended");
    let listed = both.run(&["dead", "list"]).stdout;
    assert!(listed.contains(&id) && listed.contains("crm") && listed.contains("refused: 422"), "{listed}");
    let shown = both.run(&["deliveries", "show", &id]).stdout;
    assert!(shown.contains("attempt 1: fail") && shown.contains("error: refused: 422"), "{shown}");

    crm.recover();
    crm.take_attempts(1);
    let ran = both.run(&["dead", "retry", &id, "--handler", "crm"]);
    assert_eq!((ran.exit_code, ran.stdout.as_str()), (Some(0), "1 retried\n"), "{ran:?}");
    assert_eq!(crm.take_attempts(1), ["call_1 call_ended/1"], "a retry is no replay, and begins the schedule anew");
    both.wait_for_deliveries("succeeded", 1);
    let shown = both.run_json(&["deliveries", "show", &format!("{id}:crm")]);
    let attempts = shown[0]["attempt_records"].as_array().unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["fail", "done"], "the record of the first attempt stays");
    let ran = both.run(&["dead", "retry", &id]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("no such delivery"), "{ran:?}");
    both.local.stop();
}

#[test]
fn dead_letters_are_counted_before_many_are_discarded() {
    let crm = CrmHandler::down();
    let both = ReplayFixture::with_crm(&crm);
    (0..4).for_each(|call| both.post_event("call_ended", &format!("call_{call}")));
    both.wait_for_deliveries("dead", 4);
    let ran = both.run(&["dead", "discard", "--handler", "crm"]);
    assert!(ran.exit_code == Some(0) && ran.stdout.contains("Nothing was changed. With --yes: 4 discarded"), "{ran:?}");
    assert_eq!(both.count_deliveries("dead"), 4);
    assert_eq!(bulk_counts(&both.run_json(&["dead", "discard", "--all", "--limit", "3", "--yes"])), (3, 3));
    assert_eq!((both.count_deliveries("dead"), both.count_deliveries("skipped")), (1, 3));
    let rows = both.list_deliveries(&["--state", "skipped"]);
    assert!(rows.iter().all(|row| row["reason"] == "discarded"), "{rows:?}");
    let left = both.list_deliveries(&["--state", "dead"]);
    assert_eq!(left[0]["call_id"], "call_3", "those of the oldest events go first");
    both.local.stop();
}

#[test]
fn what_waits_for_another_attempt_can_be_cancelled_or_tried_now() {
    let crm = CrmHandler::default();
    crm.is_slow.store(true, Ordering::Relaxed);
    let both = ReplayFixture::with_crm(&crm);
    for name in ["call_started", "call_ended"] {
        both.post_event(name, "call_1");
    }
    both.post_event("call_started", "call_2");
    both.wait_for_deliveries("scheduled", 2);
    both.wait_for_deliveries("pending", 1);
    crm.take_attempts(2);
    let (first, second) = (both.find_event_id("call_1", "call_started"), both.find_event_id("call_2", "call_started"));
    crm.recover();
    assert_eq!(bulk_counts(&both.run_json(&["deliveries", "cancel", &first])), (1, 1));
    assert_eq!(crm.take_attempts(1), ["call_1 call_ended/1"], "the next event of the call goes on at once");
    assert_eq!(both.list_deliveries(&["--event-id", &first])[0]["reason"], "cancelled");
    assert_eq!(bulk_counts(&both.run_json(&["deliveries", "retry", &second])), (1, 1));
    assert_eq!(crm.take_attempts(1), ["call_2 call_started/1"]);
    both.wait_for_deliveries("succeeded", 2);
    let ran = both.run(&["deliveries", "cancel", &second]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("left out: done already"), "{ran:?}");
    both.local.stop();
}

/// Waits for its turn, which a test gives it.
struct Waiting(Arc<tokio::sync::Semaphore>);

#[async_trait]
impl EventHandler for Waiting {
    async fn handle(&self, _: &Event, _: &Context) -> Outcome {
        drop(self.0.acquire().await);
        Outcome::Done
    }
}

#[test]
fn an_attempt_under_way_is_left_alone() {
    let turn = Arc::new(tokio::sync::Semaphore::new(0));
    let handler = Waiting(Arc::clone(&turn));
    let both = ReplayFixture::start(|builder| builder.handler("crm", Filter::all(), handler));
    both.post_event("call_ended", "call_1");
    both.wait_for_deliveries("running", 1);
    let id = both.find_event_id("call_1", "call_ended");
    for verb in [["deliveries", "cancel"], ["deliveries", "retry"]] {
        let ran = both.run(&[&verb[..], &[&id]].concat());
        assert!(ran.exit_code == Some(1) && ran.stdout.contains("left out: an attempt is under way"), "{ran:?}");
    }
    let ran = both.run(&["replay", &id, "--yes"]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("an attempt is under way"), "{ran:?}");
    turn.add_permits(1);
    both.wait_for_deliveries("succeeded", 1);
    both.local.stop();
}

#[test]
fn a_replay_is_counted_first_and_says_that_it_is_one() {
    let crm = CrmHandler::default();
    let both = ReplayFixture::with_crm(&crm);
    both.post_event("call_started", "call_1");
    both.post_event("call_ended", "call_1");
    both.wait_for_deliveries("succeeded", 2);
    crm.take_attempts(2);
    let id = both.find_event_id("call_1", "call_ended");
    let before = both.list_deliveries(&[]);
    for dry in [&["replay", &id][..], &["replay", "--all", "--dry-run"]] {
        let ran = both.run(dry);
        assert!(ran.exit_code == Some(0) && ran.stdout.contains("selected"), "{ran:?}");
        assert!(ran.stdout.contains("Nothing was changed. With --yes:"), "{ran:?}");
    }
    let said = both.run_json(&["replay", "--call", "call_1"]);
    assert_eq!((said["dry_run"].as_bool(), bulk_counts(&said)), (Some(true), (2, 0)));
    let counts = json!([{"handler": "crm", "state": "succeeded", "reason": null, "count": 2, "left_out": null}]);
    assert_eq!(said["counts"], counts);
    assert_eq!(both.list_deliveries(&[]), before, "counting changes nothing");

    assert_eq!(both.run(&["replay", &id, "--yes"]).stdout, "1 replayed\n");
    assert_eq!(crm.take_attempts(1), ["call_1 call_ended/1 again"]);
    both.wait_for_deliveries("succeeded", 2);
    let row = &both.list_deliveries(&["--event-id", &id])[0];
    assert_eq!((row["replay"].as_bool(), row["event_id"].as_str()), (Some(true), Some(id.as_str())));
    both.local.stop();
}

#[test]
fn a_replay_is_narrowed_by_call_name_handler_time_and_state() {
    let (crm, other) = (CrmHandler::default(), CrmHandler::down());
    let handlers = (crm.clone(), other.clone());
    let both = ReplayFixture::start(|builder| {
        builder.handler("crm", Filter::all(), handlers.0).handler("other", Filter::all(), handlers.1)
    });
    for call_id in ["call_1", "call_2"] {
        both.post_event("call_started", call_id);
        both.post_event("call_ended", call_id);
    }
    both.wait_for_deliveries("succeeded", 4);
    both.wait_for_deliveries("dead", 4);
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
        let ran = both.run(&[&["replay", "--json"], narrow].concat());
        assert_eq!(ran.exit_code, Some(i32::from(expected.is_none())), "{narrow:?}: {ran:?}");
        assert_eq!(ran.json()["selected"], expected.unwrap_or(0), "{narrow:?}: {ran:?}");
    }
    assert_eq!(both.run(&["replay"]).exit_code, Some(2), "everything only with --all");
    assert_eq!(both.run(&["replay", "--yes"]).exit_code, Some(2));
    assert_eq!(both.run(&["replay", "--state", "none", "--call", "call_1"]).exit_code, Some(2));
    let ran = both.run(&["replay", "--handler", "nobody"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("it knows: crm, other"), "{ran:?}");
    let said = both.run_json(&["replay", "--state", "dead", "--event", "call_ended", "--yes"]);
    assert_eq!(bulk_counts(&said), (2, 2));
    other.take_attempts(6);
    assert_eq!(crm.recorded_attempts().len(), 4);
    both.local.stop();
}

#[test]
fn events_of_a_call_are_replayed_in_their_order() {
    let crm = CrmHandler::default();
    let both = ReplayFixture::with_crm(&crm);
    let names = ["call_started", "transcript_updated", "call_ended", "call_analyzed"];
    for name in names {
        both.post_event(name, "call_1");
    }
    both.wait_for_deliveries("succeeded", 4);
    crm.take_attempts(4);
    assert_eq!(bulk_counts(&both.run_json(&["replay", "--call", "call_1", "--rate", "5", "--yes"])), (4, 4));
    let again: Vec<_> = names.iter().map(|name| format!("call_1 {name}/1 again")).collect();
    assert_eq!(crm.take_attempts(4), again, "slowly, too");
    assert_eq!(bulk_counts(&both.run_json(&["replay", "--call", "call_1", "--yes"])), (4, 4));
    assert_eq!(crm.take_attempts(4), again);
    both.local.stop();
}

/// What a replay puts back goes in front of what waits, and no request is refused meanwhile.
#[test]
fn events_go_on_coming_in_while_many_are_replayed() {
    let crm = CrmHandler::default();
    let both = ReplayFixture::with_crm(&crm);
    for number in 0..600 {
        both.post_event("call_started", &format!("call_{number}"));
    }
    crm.take_attempts(600);
    both.wait_for_deliveries("pending", 0);
    both.wait_for_deliveries("running", 0);
    std::thread::scope(|scope| {
        let replay = scope.spawn(|| both.run_json(&["replay", "--event", "call_started", "--rate", "2000", "--yes"]));
        for number in 0..200 {
            both.post_event("call_ended", &format!("call_{number}"));
        }
        assert_eq!(bulk_counts(&replay.join().unwrap()), (600, 600));
    });
    let seen = crm.take_attempts(800);
    let (again, ended): (Vec<_>, Vec<_>) = seen.iter().partition(|line| line.ends_with("call_started/1 again"));
    assert_eq!((again.len(), ended.len()), (600, 200));
    assert!(ended.iter().all(|line| line.ends_with(" call_ended/1")), "{ended:?}");
    both.local.stop();
}

#[test]
fn what_no_handler_wanted_is_told_and_delivered_only_where_it_is_asked_for() {
    let (crm, ended) = (CrmHandler::default(), Filter::all().events(["call_ended"]));
    let handler = crm.clone();
    let both = ReplayFixture::start(|builder| builder.handler("crm", ended, handler));
    both.post_event("call_started", "call_1");
    both.post_event("call_ended", "call_1");
    both.wait_for_deliveries("succeeded", 1);
    crm.take_attempts(1);
    let id = both.find_event_id("call_1", "call_started");
    let shown = both.run(&["events", "show", &id]).stdout;
    assert!(shown.contains("filtered: not wanted") && shown.contains("no handler wanted this event"), "{shown}");
    let shown = both.run_json(&["events", "show", &id]);
    assert_eq!(shown["wanted"], false);
    assert_eq!(shown["deliveries"], json!([{"handler": "crm", "state": "filtered"}]));
    assert_eq!(both.list_deliveries(&["--event-id", &id])[0]["state"], "filtered");
    assert_eq!(both.run_json(&["events", "show", &both.find_event_id("call_1", "call_ended")])["wanted"], true);

    assert_eq!(both.run(&["replay", &id, "--yes"]).exit_code, Some(1), "no delivery, no replay");
    let said = both.run_json(&["replay", "--handler", "crm", "--all"]);
    assert_eq!(bulk_counts(&said), (1, 0), "{said}");
    assert!(said["counts"][0]["left_out"].as_str().unwrap().contains("--state none"), "{said}");
    assert_eq!(bulk_counts(&both.run_json(&["replay", &id, "--handler", "crm", "--yes"])), (1, 1));
    assert_eq!(crm.take_attempts(1), ["call_1 call_started/1 again"]);
    both.local.stop();
}

#[test]
fn events_before_a_handler_was_known_can_be_given_to_it() {
    let (first, second) = (CrmHandler::default(), CrmHandler::default());
    let both = ReplayFixture::with_crm(&first);
    both.post_event("call_ended", "call_1");
    both.wait_for_deliveries("succeeded", 1);
    let (home, handler) = (both.home, second.clone());
    both.local.stop();
    let local = LocalReceiver::start(home.path(), |builder| {
        builder.handler("crm", Filter::all(), first).handler("new", Filter::all(), handler)
    });
    let both = ReplayFixture { home, local };
    let id = both.find_event_id("call_1", "call_ended");
    let fates = both.list_deliveries(&["--event-id", &id]);
    assert_eq!((&fates[0]["state"], &fates[1]["state"]), (&json!("succeeded"), &json!("before_handler")));
    assert_eq!(bulk_counts(&both.run_json(&["replay", "--handler", "new", "--state", "none", "--yes"])), (1, 1));
    assert_eq!(second.take_attempts(1), ["call_1 call_ended/1 again"]);
    both.local.stop();
}

#[test]
fn the_verbs_make_no_store_and_refuse_a_strange_one() {
    let home = TestEnv::new();
    for args in
        [&["deliveries", "list"][..], &["dead", "list"], &["replay", "--all"], &["dead", "discard", "--all", "--yes"]]
    {
        let ran = home.run(args);
        assert!(ran.exit_code == Some(1) && ran.stderr.contains("there is no store"), "{args:?}: {ran:?}");
    }
    assert!(!home.path().join("data").exists());
    drop(home.start_server());
    home.open_database().pragma_update(None, "user_version", 99).unwrap();
    let ran = home.run(&["replay", "--all", "--yes"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("newer version"), "{ran:?}");
    assert!(Path::new(&home.database_path()).exists());
}
