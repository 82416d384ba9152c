//! Alarms: when they begin, that they are said once, and that they are over.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retell_webhook::Clock;
use retell_webhook::Filter;
use retell_webhook::internals::AlarmSettings;
use retell_webhook::{Context, Event, EventHandler, Outcome, Settings, async_trait};
use serde_json::Value;

use crate::support::bodies::event_body;
use crate::support::client::post;
use crate::support::local::LocalReceiver;
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, OTHER_KEY, now_ms, sign_with};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// Looks often, and of the disk this machine happens to have says nothing.
const FAST_CHECKS_CONFIG: &str = "check_interval_ms = 100\nresolve_after_ms = 0\ndisk_free_bytes = 0\n";
const NO_DISK_ALARM_CONFIG: &str = "disk_free_percent = 0\n";
const ALARM_HANDLERS_CONFIG: &str = "[[handlers]]\nname = \"log\"\nkind = \"log\"\n\
                    [[handlers]]\nname = \"team\"\nkind = \"log\"\nevents = [\"alarm_*\"]\n";

fn write_alarm_config(home: &TestEnv, alarms: &str, handlers: &str) {
    let folder = home.path().join("config");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("local.toml"), format!("[alarms]\n{alarms}{handlers}")).unwrap();
}

/// A receiver, and a home whose verbs look for it on its port.
fn start_with_alarms(alarms: &str, handlers: &str) -> (TestEnv, ReceiverProcess) {
    let mut home = TestEnv::new();
    write_alarm_config(&home, &format!("{FAST_CHECKS_CONFIG}{alarms}"), handlers);
    let server = home.start_server();
    home.set_env("RETELL_WEBHOOK__SERVER__PORT", &server.address().port().to_string());
    (home, server)
}

fn list_alarms(home: &TestEnv) -> Vec<Value> {
    home.run_ok(&["status", "--json"]).json()["alarms"].as_array().unwrap().clone()
}

/// The metric of one kind.
fn is_raised(server: &ReceiverProcess, alarm: &str) -> bool {
    let page = server.get("/metrics").text();
    let line = |on: u8| format!("retell_webhook_alarm_raised{{alarm=\"{alarm}\"}} {on}.0\n");
    assert!(page.contains(&line(0)) || page.contains(&line(1)), "{page}");
    page.contains(&line(1))
}

/// Names of the events of alarms in the journal, and which alarms they are about.
fn alarm_events(home: &TestEnv) -> Vec<(String, String)> {
    let exported = home.export_events();
    let alarms = exported.iter().filter(|event| event.event().is_some_and(|name| name.starts_with("alarm_")));
    let about = |event: &crate::support::test_env::ExportedEvent| {
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        assert!(event.signature().is_none(), "nobody signed it");
        (event.event().unwrap().to_owned(), body["alarm"]["name"].as_str().unwrap().to_owned())
    };
    alarms.map(about).collect()
}

#[test]
fn dead_deliveries_are_an_alarm_until_somebody_sees_to_them() {
    let (home, server) = start_with_alarms(NO_DISK_ALARM_CONFIG, ALARM_HANDLERS_CONFIG);
    assert!(!server.output().contains("nobody sends today"), "{}", server.output());
    for number in 0..3 {
        server.post_signed(&event_body("call_ended", &format!("call_{number}")));
    }
    let die =
        || home.open_database().execute("UPDATE deliveries SET state = 4, updated_ms = ?1 WHERE state = 3", [now_ms()]);
    let mut dead = 0;
    assert!(wait_until(WAIT_LIMIT, || {
        dead += die().unwrap();
        dead == 3
    }));
    assert!(server.wait_for_output("alarm: handler `log` gave up on"), "{}", server.output());
    let seen = || list_alarms(&home).first().is_some_and(|on| on["text"].as_str().unwrap().contains("gave up on 3 "));
    assert!(wait_until(WAIT_LIMIT, seen), "{:?}", list_alarms(&home));
    let on = &list_alarms(&home)[0];
    assert_eq!((on["alarm"].as_str(), on["subject"].as_str()), (Some("dead_deliveries"), Some("log")));
    assert!(is_raised(&server, "dead_deliveries") && !is_raised(&server, "silence"));
    let text = home.run_ok(&["status"]).stdout;
    assert!(text.contains("ALARM (dead_deliveries, for "), "{text}");
    home.run_ok(&["dead", "discard", "--handler", "log", "--yes"]);
    assert!(server.wait_for_output("alarm is over after"), "{}", server.output());
    assert!(wait_until(WAIT_LIMIT, || list_alarms(&home).is_empty() && alarm_events(&home).len() == 2));
    let expected = [("alarm_triggered", "dead_deliveries"), ("alarm_resolved", "dead_deliveries")];
    assert_eq!(alarm_events(&home), expected.map(|(name, alarm)| (name.to_owned(), alarm.to_owned())));
    assert_eq!(server.output().matches("alarm: ").count(), 1, "{}", server.output());
    let listed = home.list_events(&["--event", "alarm_triggered"]);
    assert_eq!(listed[0]["company"], "default");
    let last = home.run_ok(&["status", "--json"]).json()["last_event"]["event"].clone();
    assert_eq!(last, "call_ended", "an alarm is no event that came in");
}

#[test]
fn refused_requests_are_an_alarm_and_a_reload_changes_what_is_watched() {
    let (home, server) = start_with_alarms(&format!("{NO_DISK_ALARM_CONFIG}rejected_per_minute = 3\n"), "");
    let body = event_body("call_ended", "call_1");
    for number in 0..6 {
        assert_eq!(post(server.address(), &body, &sign_with(OTHER_KEY, &body, now_ms() + number)).status, 401);
    }
    assert!(server.wait_for_output("most of them as `no_key_matched`"), "{}", server.output());
    assert!(wait_until(WAIT_LIMIT, || is_raised(&server, "rejected_requests")));
    write_alarm_config(&home, &format!("{FAST_CHECKS_CONFIG}{NO_DISK_ALARM_CONFIG}rejected_per_minute = 0\n"), "");
    server.send_signal("-HUP");
    assert!(server.wait_for_output("alarm is over after"), "{}", server.output());
    assert!(wait_until(WAIT_LIMIT, || !is_raised(&server, "rejected_requests")));
    assert!(!server.output().contains("restart"), "{}", server.output());
    assert_eq!(alarm_events(&home), [], "nobody asked for events about alarms");
}

#[test]
fn silence_is_an_alarm_until_an_event_comes() {
    let (home, server) = start_with_alarms(&format!("{NO_DISK_ALARM_CONFIG}silence_after_ms = 1500\n"), "");
    assert!(!is_raised(&server, "silence"), "who never sent anything is not missed");
    server.post_signed(&event_body("call_ended", "call_1"));
    let says = |wanted: &str| server.output().contains(wanted);
    assert!(wait_until(WAIT_LIMIT, || says("no event of company `default` for ")), "{}", server.output());
    assert!(says(" s (alarms.silence_after_ms)"), "{}", server.output());
    // A look that comes late finds the next silence already: events come until one look has seen that there are some.
    let mut sent = 1;
    let over = || {
        sent += 1;
        server.post_signed(&event_body("call_ended", &format!("call_{sent}")));
        says("alarm is over after")
    };
    assert!(wait_until(WAIT_LIMIT, over), "{}", server.output());
    let hours = "SELECT ifnull(sum(events), 0), ifnull(max(last_ms), 0) FROM activity WHERE agent_id = ''";
    let counted = || home.open_database().query_row(hours, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let is_counted = |(events, last_ms): (i64, i64)| events == sent && (now_ms() - last_ms).abs() < 60_000;
    assert!(wait_until(WAIT_LIMIT, || is_counted(counted())), "{:?} of {sent}", counted());
}

#[test]
fn a_full_disk_is_an_alarm_that_a_restart_does_not_repeat() {
    let (home, mut server) = start_with_alarms("disk_free_percent = 100\n", "");
    assert!(server.wait_for_output("of the disk under the store are free"), "{}", server.output());
    assert!(wait_until(WAIT_LIMIT, || list_alarms(&home).len() == 1));
    server.stop();
    let text = home.run(&["status"]).stdout;
    assert!(text.contains("ALARM (disk, for ") && text.contains("as of when the receiver stopped"), "{text}");
    let mut again = home.start_server();
    assert!(wait_until(WAIT_LIMIT, || is_raised(&again, "disk")));
    again.stop();
    assert!(!again.output().contains("alarm: "), "{}", again.output());
}

#[test]
fn a_wrong_clock_is_told_by_signatures_refused_and_accepted() {
    let (_home, server) = start_with_alarms(NO_DISK_ALARM_CONFIG, "");
    let send = |call: &str, age_ms: i64| {
        let body = event_body("call_ended", call);
        post(server.address(), &body, &sign_with(KEY, &body, now_ms() - age_ms)).status
    };
    for number in 0..3 {
        assert_eq!(send(&format!("call_{number}"), 400_000), 401);
    }
    assert!(server.wait_for_output("alarm: this machine's clock is 6 min ahead"), "{}", server.output());
    assert_eq!(send("call_fresh", 0), 200);
    assert!(server.wait_for_output("alarm is over after"), "{}", server.output());
    assert_eq!(send("call_future", -90_000), 200);
    assert!(server.wait_for_output(" s behind that of whoever signs"), "{}", server.output());
}

#[test]
fn events_that_cannot_be_stored_are_an_alarm() {
    let (home, server) = start_with_alarms(NO_DISK_ALARM_CONFIG, "");
    let poison = "CREATE TRIGGER poison BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'poisoned'); END";
    home.open_database().execute_batch(poison).unwrap();
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 503);
    assert!(server.wait_for_output("alarm: 1 events could not be stored within a minute (503)"), "{}", server.output());
}

/// Answers `retry` while it is down, and notes what it was given.
struct CrmStub {
    down: Arc<AtomicBool>,
    seen: RecordedAlarms,
}

/// Notes what it was given.
struct AlarmRecorder(RecordedAlarms);

type RecordedAlarms = Arc<Mutex<Vec<String>>>;

#[async_trait]
impl EventHandler for CrmStub {
    fn has_external_effects(&self) -> bool {
        true
    }

    async fn handle(&self, event: &Event, _: &Context) -> Outcome {
        self.seen.lock().unwrap().push(event.name().to_owned());
        if self.down.load(Ordering::Relaxed) { Outcome::retry("down") } else { Outcome::Done }
    }
}

#[async_trait]
impl EventHandler for AlarmRecorder {
    async fn handle(&self, event: &Event, _: &Context) -> Outcome {
        let body: Value = serde_json::from_str(&event.to_json()).unwrap();
        let (alarm, subject) = (body["alarm"]["name"].as_str(), body["alarm"]["subject"].as_str());
        self.0.lock().unwrap().push(format!("{} {} {}", event.name(), alarm.unwrap(), subject.unwrap()));
        Outcome::Done
    }
}

#[test]
fn an_open_breaker_reaches_whoever_names_alarms_once() {
    let folder = tempfile::tempdir().unwrap();
    let (down, ahead_ms) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicI64::new(0)));
    let (crm_saw, team_saw): (RecordedAlarms, RecordedAlarms) = Default::default();
    let watched = AlarmSettings {
        check_interval_ms: 100,
        resolve_after_ms: 1_000,
        breaker_open_ms: 1,
        oldest_undelivered_ms: 0,
        disk_free_percent: 0,
        disk_free_bytes: 0,
        ..AlarmSettings::default()
    };
    let settings = Settings { handlers: Vec::new(), alarms: watched, ..Settings::default() };
    let clock = Arc::clone(&ahead_ms);
    let local = LocalReceiver::start(folder.path(), |builder| {
        builder
            .settings(settings)
            .clock(Clock::from_fn(move || now_ms() + clock.load(Ordering::Relaxed)))
            .handler("crm", Filter::all(), CrmStub { down: Arc::clone(&down), seen: Arc::clone(&crm_saw) })
            .handler("team", Filter::all().events(["alarm_*"]), AlarmRecorder(Arc::clone(&team_saw)))
    });
    for number in 0..8 {
        assert_eq!(local.post_signed(&event_body("call_ended", &format!("call_{number}"))).status, 200);
    }
    let told = || team_saw.lock().unwrap().clone();
    assert!(wait_until(WAIT_LIMIT, || !told().is_empty()));
    // Probes fail, the state goes back and forth, and more and more attempts are made: still one alarm.
    for _ in 0..4 {
        let before = crm_saw.lock().unwrap().len();
        let probed = || {
            ahead_ms.fetch_add(2_000, Ordering::Relaxed);
            crm_saw.lock().unwrap().len() > before
        };
        assert!(wait_until(WAIT_LIMIT, probed));
    }
    assert_eq!(told(), ["alarm_triggered breaker_open crm"]);
    down.store(false, Ordering::Relaxed);
    let resolved = || {
        ahead_ms.fetch_add(2_000, Ordering::Relaxed);
        told().len() > 1
    };
    assert!(wait_until(WAIT_LIMIT, resolved), "{:?}", told());
    assert_eq!(told(), ["alarm_triggered breaker_open crm", "alarm_resolved breaker_open crm"]);
    assert!(crm_saw.lock().unwrap().iter().all(|name| name == "call_ended"), "who names no alarm gets none");
    local.stop();
}
