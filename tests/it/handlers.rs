//! Handlers: who gets what, what happens when one fails, and what survives a restart.

mod away;
mod built_in;
mod exec;
mod file;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retell_webhook::base::clock::Clock;
use retell_webhook::base::id::EventIds;
use retell_webhook::base::supervise::Supervisor;
use retell_webhook::handlers::Filter;
use retell_webhook::storage::sqlite::{SqliteStore, SqliteUrl};
use retell_webhook::storage::{DEFAULT_COMPANY, DeliveryState, NewEvent, Store};
use retell_webhook::{Call, Context, Event, EventHandler, Outcome, async_trait};
use serde_json::json;

use crate::support::bodies::event;
use crate::support::local::{Local, database_path, runtime};
use crate::support::signing::now_ms;
use crate::support::wait_until;

const SOON: Duration = Duration::from_secs(10);

/// What handlers saw, in the order they saw it.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn reaches(&self, count: usize) -> bool {
        wait_until(SOON, || self.all().len() >= count)
    }
}

/// Notes every event as `name/attempt` and answers what it was told to.
struct Recorder {
    seen: Seen,
    answer: fn(&Event) -> Outcome,
}

#[async_trait]
impl EventHandler for Recorder {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        self.seen.note(format!("{}/{}", event.name(), context.attempt));
        (self.answer)(event)
    }

    async fn unparsed(&self, body: &[u8], context: &Context) -> Outcome {
        self.seen.note(format!("unparsed {} bytes/{}", body.len(), context.attempt));
        Outcome::Done
    }
}

fn recorder(answer: fn(&Event) -> Outcome) -> (Seen, Recorder) {
    let seen = Seen::default();
    (seen.clone(), Recorder { seen, answer })
}

fn done(_: &Event) -> Outcome {
    Outcome::Done
}

/// Deliveries that did not succeed: handler, state, attempts, what went wrong.
fn deliveries(folder: &Path) -> Vec<(String, String, u32, String)> {
    let conn = rusqlite::Connection::open(database_path(folder)).unwrap();
    let sql = "SELECT h.name, d.state, d.attempts, d.note FROM deliveries d JOIN handlers h ON h.id = d.handler_id
               WHERE d.state IN (2, 4) ORDER BY 1, 2";
    let mut rows = conn.prepare(sql).unwrap();
    let state = |number| DeliveryState::from_number(number).as_str().to_owned();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, state(row.get(1)?), row.get(2)?, row.get(3)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn three_closures_get_the_typed_call() {
    let folder = tempfile::tempdir().unwrap();
    let seen = Seen::default();
    let noting = |what: &'static str| {
        let seen = seen.clone();
        move |call: Call, context: Context| {
            let seen = seen.clone();
            async move {
                assert!(context.event_id.to_string().starts_with("evt_") && context.attempt == 1);
                seen.note(format!("{what} {} by {}", call.call_id.unwrap(), call.agent_id.unwrap()));
                Outcome::Done
            }
        }
    };
    let local = Local::start(folder.path(), |builder| {
        builder.on_call_started(noting("started")).on_call_ended(noting("ended")).on_call_analyzed(noting("analyzed"))
    });
    for name in ["call_started", "call_ended", "chat_ended", "call_analyzed"] {
        assert_eq!(local.deliver(&event(name, "call_1")).status, 200);
    }
    assert!(seen.reaches(3));
    assert_eq!(seen.all(), ["started call_1 by agent_1", "ended call_1 by agent_1", "analyzed call_1 by agent_1"]);
    local.stop();
    assert!(deliveries(folder.path()).is_empty());
}

#[test]
fn filters_choose_by_event_and_agent() {
    let folder = tempfile::tempdir().unwrap();
    let (ended, ended_recorder) = recorder(done);
    let (agent, agent_recorder) = recorder(done);
    let (all, all_recorder) = recorder(done);
    let (company, company_recorder) = recorder(done);
    let local = Local::start(folder.path(), |builder| {
        builder
            .handler("ended", Filter::all().events(["call_ended", "chat_ended"]), ended_recorder)
            .handler("agent", Filter::all().agents(["agent_2"]), agent_recorder)
            .handler("company", Filter::all().companies(["elsewhere"]), company_recorder)
            .handler("all", Filter::all(), all_recorder)
    });
    local.deliver(&event("call_ended", "call_1"));
    local.deliver(&event("call_started", "call_1"));
    local.deliver(br#"{"event":"call_started","call":{"call_id":"call_2","agent_id":"agent_2"}}"#);
    local.deliver(b"no json");
    local.deliver(&event("call_teleported", "call_3"));
    assert!(all.reaches(5));
    local.stop();
    let mut everything = all.all();
    everything.sort();
    let expected = ["call_ended/1", "call_started/1", "call_started/1", "call_teleported/1", "unparsed 7 bytes/1"];
    assert_eq!(everything, expected);
    assert_eq!(ended.all(), ["call_ended/1"]);
    assert_eq!(agent.all(), ["call_started/1"]);
    assert!(company.all().is_empty());
}

#[test]
fn a_retry_is_scheduled_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (seen, flaky) = recorder(|_| Outcome::retry("the other side is down"));
    let local = Local::start(folder.path(), |builder| builder.handler("flaky", Filter::all(), flaky));
    local.deliver(&event("call_ended", "call_1"));
    assert!(seen.reaches(1) && wait_until(SOON, || deliveries(folder.path()).len() == 1));
    let row = ("flaky".into(), "scheduled".into(), 1, "the other side is down".into());
    assert_eq!(deliveries(folder.path()), [row]);
    local.stop();
    assert_eq!(seen.all().len(), 1, "not before its time");

    let (seen, mended) = recorder(done);
    let later = Clock::from_fn(|| now_ms() + 6_000);
    let local = Local::start(folder.path(), |builder| builder.clock(later).handler("flaky", Filter::all(), mended));
    assert!(seen.reaches(1) && wait_until(SOON, || deliveries(folder.path()).is_empty()));
    assert_eq!(seen.all(), ["call_ended/2"]);
    local.stop();
}

#[test]
fn a_failure_is_dead_and_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (seen, strict) = recorder(|_| Outcome::fail("not for us"));
    let local = Local::start(folder.path(), |builder| builder.handler("strict", Filter::all(), strict));
    local.deliver(&event("call_ended", "call_1"));
    assert!(wait_until(SOON, || deliveries(folder.path()).len() == 1));
    local.stop();
    assert_eq!(deliveries(folder.path()), [("strict".into(), "dead".into(), 1, "not for us".into())]);
    let (again, strict) = recorder(done);
    let later = Clock::from_fn(|| now_ms() + 90_000_000);
    let local = Local::start(folder.path(), |builder| builder.clock(later).handler("strict", Filter::all(), strict));
    std::thread::sleep(Duration::from_millis(300));
    local.stop();
    assert_eq!((seen.all().len(), again.all().len()), (1, 0));
}

#[test]
fn a_panicking_handler_stops_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (panicked, panicking) =
        recorder(|event| if event.name() == "call_ended" { panic!("on purpose") } else { Outcome::Done });
    let (calm, steady) = recorder(done);
    let local = Local::start(folder.path(), |builder| {
        builder.handler("panicking", Filter::all(), panicking).handler("steady", Filter::all(), steady)
    });
    for (name, call_id) in [("call_ended", "call_1"), ("call_started", "call_2"), ("call_analyzed", "call_3")] {
        assert_eq!(local.deliver(&event(name, call_id)).status, 200);
    }
    assert!(panicked.reaches(3) && calm.reaches(3));
    assert!(!local.receiver.supervisor().is_stopping());
    assert_eq!(local.deliver(&event("call_started", "call_4")).status, 200);
    assert!(calm.reaches(4));
    local.stop();
    let rows = deliveries(folder.path());
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].0.as_str(), rows[0].1.as_str()), ("panicking", "scheduled"));
}

#[test]
fn events_of_a_call_come_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let seen = Seen::default();
    let noted = seen.clone();
    let local = Local::start(folder.path(), |builder| {
        builder.on_other(move |event, _| {
            let noted = noted.clone();
            async move {
                let call_id = event.head().call_id.unwrap();
                if call_id == "call_0" {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                noted.note(format!("{call_id} {}", event.to_json().len()));
                Outcome::Done
            }
        })
    });
    for number in 1..=30_usize {
        for call in 0..2 {
            let body = json!({ "event": "transcript_updated", "call": { "call_id": format!("call_{call}") },
                "pad": "x".repeat(number) });
            local.deliver(body.to_string().as_bytes());
        }
    }
    assert!(seen.reaches(60));
    local.stop();
    for call in ["call_0", "call_1"] {
        let lengths: Vec<usize> =
            seen.all().iter().filter_map(|line| line.strip_prefix(call)?.trim().parse().ok()).collect();
        assert_eq!(lengths.len(), 30);
        assert!(lengths.is_sorted(), "{call}: {lengths:?}");
    }
}

/// Stores events as the receiver does, with no receiver running.
fn append_unattended(folder: &Path, bodies: &[Vec<u8>]) {
    let url = SqliteUrl::file(database_path(folder));
    let supervisor = Supervisor::default();
    runtime().block_on(async {
        let store = SqliteStore::open(&url, &supervisor).unwrap();
        let ids = EventIds::default();
        for (number, body) in (1..).zip(bodies) {
            let event = NewEvent {
                event: Some("call_ended".into()),
                call_id: Some(format!("call_{number}")),
                revisable: true,
                ..NewEvent::new(ids.next(now_ms()), DEFAULT_COMPANY, now_ms(), body.clone())
            };
            store.append(event).await.unwrap();
        }
        supervisor.stop();
        supervisor.wait().await;
        store.close().await.unwrap();
    });
}

#[test]
fn what_was_stored_while_no_handler_ran_is_handled_after_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (before, first) = recorder(done);
    let local = Local::start(folder.path(), |builder| builder.handler("crm", Filter::all(), first));
    local.deliver(&event("call_started", "call_0"));
    assert!(before.reaches(1));
    local.stop();
    append_unattended(folder.path(), &[event("call_ended", "call_1"), event("call_ended", "call_2")]);
    let ((after, second), (newcomer, new)) = (recorder(done), recorder(done));
    let local = Local::start(folder.path(), |builder| {
        builder.handler("crm", Filter::all(), second).handler("newcomer", Filter::all(), new)
    });
    assert!(after.reaches(2));
    local.deliver(&event("call_analyzed", "call_1"));
    assert!(after.reaches(3) && newcomer.reaches(1));
    local.stop();
    assert_eq!(after.all(), ["call_ended/1", "call_ended/1", "call_analyzed/1"]);
    assert_eq!(newcomer.all(), ["call_analyzed/1"], "a new handler starts with what comes from now on");
}
