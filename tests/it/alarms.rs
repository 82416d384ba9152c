//! Alarms: when they are raised, that each is reported once, and when they are resolved.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retell_webhook::Clock;
use retell_webhook::Filter;
use retell_webhook::internals::AlarmSettings;
use retell_webhook::{Context, Event, EventHandler, Outcome, Settings, async_trait};
use serde_json::{Value, json};

use crate::support::bodies::event_body;
use crate::support::client::post;
use crate::support::local::LocalReceiver;
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, OTHER_KEY, now_ms, sign_with};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// Checks every 100 ms, resolves at once, and ignores the free bytes of the disk that the tests run on.
const FAST_CHECKS_CONFIG: &str = "check_interval_ms = 100\nresolve_after_ms = 0\ndisk_free_bytes = 0\n";
const NO_DISK_ALARM_CONFIG: &str = "disk_free_percent = 0\n";
const ALARM_HANDLERS_CONFIG: &str = "[[handlers]]\nname = \"log\"\nkind = \"log\"\n\
                    [[handlers]]\nname = \"team\"\nkind = \"log\"\nevents = [\"alarm_*\"]\n";

fn write_alarm_config(home: &TestEnv, alarms: &str, handlers: &str) {
    let folder = home.path().join("config");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("local.toml"), format!("[alarms]\n{alarms}{handlers}")).unwrap();
}

/// Starts a receiver, and returns it with an environment whose commands use its port.
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

/// Whether `/metrics` shows an alarm of this kind as raised.
fn is_raised(server: &ReceiverProcess, alarm: &str) -> bool {
    let page = server.metrics().text();
    let line = |value: u8| format!("retell_webhook_alarm_raised{{alarm=\"{alarm}\"}} {value}.0\n");
    assert!(page.contains(&line(0)) || page.contains(&line(1)), "{page}");
    page.contains(&line(1))
}

/// The alarm events in the journal as (event name, alarm name).
fn alarm_events(home: &TestEnv) -> Vec<(String, String)> {
    let exported = home.export_events();
    let alarms = exported.iter().filter(|event| event.event().is_some_and(|name| name.starts_with("alarm_")));
    let names = |event: &crate::support::test_env::ExportedEvent| {
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        assert!(event.signature().is_none(), "internal events are not signed");
        (event.event().unwrap().to_owned(), body["alarm"]["name"].as_str().unwrap().to_owned())
    };
    alarms.map(names).collect()
}

#[test]
fn dead_deliveries_are_an_alarm_until_they_are_discarded() {
    let (home, server) = start_with_alarms(NO_DISK_ALARM_CONFIG, ALARM_HANDLERS_CONFIG);
    assert!(!server.output().contains("unknown event names"), "{}", server.output());
    for number in 0..3 {
        server.post_signed(&event_body("call_ended", &format!("call_{number}")));
    }
    let mark_dead = || {
        home.open_database().execute(
            "UPDATE deliveries SET state = 4, updated_ms = ?1 WHERE state = 3
            AND handler_id = (SELECT id FROM handlers WHERE name = 'log')",
            [now_ms()],
        )
    };
    let mut dead = 0;
    assert!(wait_until(WAIT_LIMIT, || {
        dead += mark_dead().unwrap();
        dead == 3
    }));
    assert!(server.wait_for_output("handler `log` gave up on"), "{}", server.output());
    let all_counted =
        || list_alarms(&home).first().is_some_and(|alarm| alarm["text"].as_str().unwrap().contains("gave up on 3 "));
    assert!(wait_until(WAIT_LIMIT, all_counted), "{:?}", list_alarms(&home));
    let alarm = &list_alarms(&home)[0];
    assert_eq!((alarm["alarm"].as_str(), alarm["subject"].as_str()), (Some("dead_deliveries"), Some("log")));
    assert!(is_raised(&server, "dead_deliveries") && !is_raised(&server, "silence"));
    let text = home.run_ok(&["status"]).stdout;
    assert!(text.contains("ALARM (dead_deliveries, for "), "{text}");
    home.run_ok(&["dead", "discard", "--handler", "log", "--yes"]);
    assert!(server.wait_for_output("alarm resolved"), "{}", server.output());
    assert!(wait_until(WAIT_LIMIT, || list_alarms(&home).is_empty() && alarm_events(&home).len() == 2));
    let expected = [("alarm_triggered", "dead_deliveries"), ("alarm_resolved", "dead_deliveries")];
    assert_eq!(alarm_events(&home), expected.map(|(name, alarm)| (name.to_owned(), alarm.to_owned())));
    assert_eq!(server.output().matches("alarm raised").count(), 1, "{}", server.output());
    let listed = home.list_events(&["--event", "alarm_triggered"]);
    assert_eq!((&listed[0]["company"], &listed[0]["origin"]), (&json!("default"), &json!("internal")));
    assert_eq!(listed[0]["key_fingerprint"], Value::Null);
    let last = home.run_ok(&["status", "--json"]).json()["last_event"]["event"].clone();
    assert_eq!(last, "call_ended", "an alarm event is not a received event");
}

#[test]
fn rejected_requests_are_an_alarm_and_a_reload_turns_it_off() {
    let (home, server) = start_with_alarms(&format!("{NO_DISK_ALARM_CONFIG}rejected_per_minute = 3\n"), "");
    let body = event_body("call_ended", "call_1");
    for number in 0..6 {
        assert_eq!(post(server.address(), &body, &sign_with(OTHER_KEY, &body, now_ms() + number)).status, 401);
    }
    assert!(server.wait_for_output("most of them with reason `no_key_matched`"), "{}", server.output());
    assert!(wait_until(WAIT_LIMIT, || is_raised(&server, "rejected_requests")));
    write_alarm_config(&home, &format!("{FAST_CHECKS_CONFIG}{NO_DISK_ALARM_CONFIG}rejected_per_minute = 0\n"), "");
    server.send_signal("-HUP");
    assert!(server.wait_for_output("alarm resolved"), "{}", server.output());
    assert!(wait_until(WAIT_LIMIT, || !is_raised(&server, "rejected_requests")));
    assert!(!server.output().contains("changed settings need a restart"), "{}", server.output());
    assert_eq!(alarm_events(&home), [], "no handler selects alarm events");
}

#[test]
fn silence_is_an_alarm_until_an_event_comes() {
    let (_home, server) = start_with_alarms(&format!("{NO_DISK_ALARM_CONFIG}silence_after_ms = 1500\n"), "");
    assert!(!is_raised(&server, "silence"), "a company that never sent an event is not checked");
    server.post_signed(&event_body("call_ended", "call_1"));
    let is_logged = |wanted: &str| server.output().contains(wanted);
    assert!(wait_until(WAIT_LIMIT, || is_logged("no event from company `default` for ")), "{}", server.output());
    assert!(is_logged(" s (alarms.silence_after_ms)"), "{}", server.output());
    // A late check already sees the next silence, so events are sent until one check has seen activity.
    let mut sent = 1;
    let resolved = || {
        sent += 1;
        server.post_signed(&event_body("call_ended", &format!("call_{sent}")));
        is_logged("alarm resolved")
    };
    assert!(wait_until(WAIT_LIMIT, resolved), "{}", server.output());
}

#[test]
fn a_full_disk_is_an_alarm_that_a_restart_does_not_repeat() {
    let (home, mut server) = start_with_alarms("disk_free_percent = 100\n", "");
    assert!(server.wait_for_output("of the disk under the store is free"), "{}", server.output());
    assert!(wait_until(WAIT_LIMIT, || list_alarms(&home).len() == 1));
    server.stop();
    let text = home.run(&["status"]).stdout;
    assert!(text.contains("ALARM (disk, for ") && text.contains("as of when the receiver stopped"), "{text}");
    let mut again = home.start_server();
    assert!(wait_until(WAIT_LIMIT, || is_raised(&again, "disk")));
    again.stop();
    assert!(!again.output().contains("alarm raised"), "{}", again.output());
}

#[test]
fn a_wrong_clock_is_detected_by_rejected_and_accepted_signatures() {
    let (_home, server) = start_with_alarms(NO_DISK_ALARM_CONFIG, "");
    let send = |call: &str, age_ms: i64| {
        let body = event_body("call_ended", call);
        post(server.address(), &body, &sign_with(KEY, &body, now_ms() - age_ms)).status
    };
    for number in 0..3 {
        assert_eq!(send(&format!("call_{number}"), 400_000), 401);
    }
    assert!(server.wait_for_output("this machine's clock is 6 min ahead"), "{}", server.output());
    assert_eq!(send("call_fresh", 0), 200);
    assert!(server.wait_for_output("alarm resolved"), "{}", server.output());
    assert_eq!(send("call_future", -90_000), 200);
    assert!(server.wait_for_output(" s behind the clock of the signer"), "{}", server.output());
}

#[test]
fn events_that_cannot_be_stored_are_an_alarm() {
    let (home, server) = start_with_alarms(NO_DISK_ALARM_CONFIG, "");
    let poison = "CREATE TRIGGER poison BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'poisoned'); END";
    home.open_database().execute_batch(poison).unwrap();
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 503);
    assert!(
        server.wait_for_output("1 events of the last minute could not be stored (answered 503"),
        "{}",
        server.output()
    );
}

/// Returns a retry while it is down, and records the events that it receives.
struct CrmStub {
    down: Arc<AtomicBool>,
    seen: RecordedAlarms,
}

/// Records the alarm events that it receives.
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
fn an_open_breaker_reaches_the_handler_that_selects_alarms_once() {
    let folder = tempfile::tempdir().unwrap();
    let (down, ahead_ms) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicI64::new(0)));
    let crm_events = RecordedAlarms::default();
    let team_events = RecordedAlarms::default();
    let alarms = AlarmSettings {
        check_interval: Duration::from_millis(100),
        resolve_after: Duration::from_millis(1_000),
        breaker_open: Duration::from_millis(1),
        oldest_undelivered: Duration::from_millis(0),
        disk_free_percent: 0,
        disk_free_bytes: 0,
        ..AlarmSettings::default()
    };
    let settings = Settings { handlers: Vec::new(), alarms, ..Settings::default() };
    let clock = Arc::clone(&ahead_ms);
    let local = LocalReceiver::start(folder.path(), |builder| {
        builder
            .settings(settings)
            .clock(Clock::from_fn(move || now_ms() + clock.load(Ordering::Relaxed)))
            .handler("crm", Filter::all(), CrmStub { down: Arc::clone(&down), seen: Arc::clone(&crm_events) })
            .handler("team", Filter::all().events(["alarm_*"]), AlarmRecorder(Arc::clone(&team_events)))
    });
    for number in 0..8 {
        assert_eq!(local.post_signed(&event_body("call_ended", &format!("call_{number}"))).status, 200);
    }
    let reported = || team_events.lock().unwrap().clone();
    assert!(wait_until(WAIT_LIMIT, || !reported().is_empty()));
    // Probe attempts fail and the breaker alternates between open and half-open: still one alarm.
    for _ in 0..4 {
        let before = crm_events.lock().unwrap().len();
        let probed = || {
            ahead_ms.fetch_add(2_000, Ordering::Relaxed);
            crm_events.lock().unwrap().len() > before
        };
        assert!(wait_until(WAIT_LIMIT, probed));
    }
    assert_eq!(reported(), ["alarm_triggered breaker_open crm"]);
    down.store(false, Ordering::Relaxed);
    let resolved = || {
        ahead_ms.fetch_add(2_000, Ordering::Relaxed);
        reported().len() > 1
    };
    assert!(wait_until(WAIT_LIMIT, resolved), "{:?}", reported());
    assert_eq!(reported(), ["alarm_triggered breaker_open crm", "alarm_resolved breaker_open crm"]);
    assert!(
        crm_events.lock().unwrap().iter().all(|name| name == "call_ended"),
        "a handler that does not select alarms receives none"
    );
    local.stop();
}
