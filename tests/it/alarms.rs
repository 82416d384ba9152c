//! Alarms: when they begin, that they are said once, and that they are over.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retell_webhook::base::clock::Clock;
use retell_webhook::config::AlarmSettings;
use retell_webhook::handlers::Filter;
use retell_webhook::{Context, Event, EventHandler, Outcome, Settings, async_trait};
use serde_json::Value;

use crate::support::bodies::event;
use crate::support::client::post;
use crate::support::home::Home;
use crate::support::local::Local;
use crate::support::server::Server;
use crate::support::signing::{KEY, OTHER_KEY, now_ms, sign_with};
use crate::support::wait_until;

const SOON: Duration = Duration::from_secs(20);

/// Looks often, and of the disk this machine happens to have says nothing.
const QUICK: &str = "look_ms = 100\ncalm_ms = 0\ndisk_free_bytes = 0\n";
const ANY_DISK: &str = "disk_free_percent = 0\n";
const TEAM: &str = "[[handlers]]\nname = \"log\"\nkind = \"log\"\n\
                    [[handlers]]\nname = \"team\"\nkind = \"log\"\nevents = [\"alarm_*\"]\n";

fn configure(home: &Home, alarms: &str, handlers: &str) {
    let folder = home.path().join("config");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("local.toml"), format!("[alarms]\n{alarms}{handlers}")).unwrap();
}

/// A receiver, and a home whose verbs look for it on its port.
fn running(alarms: &str, handlers: &str) -> (Home, Server) {
    let mut home = Home::new();
    configure(&home, &format!("{QUICK}{alarms}"), handlers);
    let server = home.start();
    home.set("RETELL_WEBHOOK__SERVER__PORT", &server.address().port().to_string());
    (home, server)
}

fn alarms(home: &Home) -> Vec<Value> {
    home.run_well(&["status", "--json"]).json()["alarms"].as_array().unwrap().clone()
}

/// The metric of one kind.
fn is_on(server: &Server, alarm: &str) -> bool {
    let page = server.get("/metrics").text();
    let line = |on: u8| format!("retell_webhook_alarm{{alarm=\"{alarm}\"}} {on}.0\n");
    assert!(page.contains(&line(0)) || page.contains(&line(1)), "{page}");
    page.contains(&line(1))
}

/// Names of the events of alarms in the journal, and which alarms they are about.
fn told(home: &Home) -> Vec<(String, String)> {
    let exported = home.export();
    let alarms = exported.iter().filter(|event| event.event().is_some_and(|name| name.starts_with("alarm_")));
    let about = |event: &crate::support::home::Exported| {
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        assert!(event.signature().is_none(), "nobody signed it");
        (event.event().unwrap().to_owned(), body["alarm"]["name"].as_str().unwrap().to_owned())
    };
    alarms.map(about).collect()
}

#[test]
fn dead_deliveries_are_an_alarm_until_somebody_sees_to_them() {
    let (home, server) = running(ANY_DISK, TEAM);
    assert!(!server.output().contains("nobody sends today"), "{}", server.output());
    for number in 0..3 {
        server.deliver(&event("call_ended", &format!("call_{number}")));
    }
    let die =
        || home.database().execute("UPDATE deliveries SET state = 4, updated_ms = ?1 WHERE state = 3", [now_ms()]);
    let mut dead = 0;
    assert!(wait_until(SOON, || {
        dead += die().unwrap();
        dead == 3
    }));
    assert!(server.prints("alarm: handler `log` gave up on"), "{}", server.output());
    let seen = || alarms(&home).first().is_some_and(|on| on["text"].as_str().unwrap().contains("gave up on 3 "));
    assert!(wait_until(SOON, seen), "{:?}", alarms(&home));
    let on = &alarms(&home)[0];
    assert_eq!((on["alarm"].as_str(), on["subject"].as_str()), (Some("dead_deliveries"), Some("log")));
    assert!(is_on(&server, "dead_deliveries") && !is_on(&server, "silence"));
    let text = home.run_well(&["status"]).stdout;
    assert!(text.contains("ALARM (dead_deliveries, for "), "{text}");
    home.run_well(&["dead", "discard", "--handler", "log", "--yes"]);
    assert!(server.prints("alarm is over after"), "{}", server.output());
    assert!(wait_until(SOON, || alarms(&home).is_empty() && told(&home).len() == 2));
    let expected = [("alarm_triggered", "dead_deliveries"), ("alarm_resolved", "dead_deliveries")];
    assert_eq!(told(&home), expected.map(|(name, alarm)| (name.to_owned(), alarm.to_owned())));
    assert_eq!(server.output().matches("alarm: ").count(), 1, "{}", server.output());
    let listed = home.events(&["--event", "alarm_triggered"]);
    assert_eq!(listed[0]["company"], "default");
    let last = home.run_well(&["status", "--json"]).json()["last_event"]["event"].clone();
    assert_eq!(last, "call_ended", "an alarm is no event that came in");
}

#[test]
fn refused_requests_are_an_alarm_and_a_reload_changes_what_is_watched() {
    let (home, server) = running(&format!("{ANY_DISK}refused_per_minute = 3\n"), "");
    let body = event("call_ended", "call_1");
    for number in 0..6 {
        assert_eq!(post(server.address(), &body, &sign_with(OTHER_KEY, &body, now_ms() + number)).status, 401);
    }
    assert!(server.prints("most of them as `no_key_matched`"), "{}", server.output());
    assert!(wait_until(SOON, || is_on(&server, "refused")));
    configure(&home, &format!("{QUICK}{ANY_DISK}refused_per_minute = 0\n"), "");
    server.signal("-HUP");
    assert!(server.prints("alarm is over after"), "{}", server.output());
    assert!(wait_until(SOON, || !is_on(&server, "refused")));
    assert!(!server.output().contains("restart"), "{}", server.output());
    assert_eq!(told(&home), [], "nobody asked for events about alarms");
}

#[test]
fn silence_is_an_alarm_until_an_event_comes() {
    let (home, server) = running(&format!("{ANY_DISK}silence_ms = 1500\n"), "");
    assert!(!is_on(&server, "silence"), "who never sent anything is not missed");
    server.deliver(&event("call_ended", "call_1"));
    let says = |wanted: &str| server.output().contains(wanted);
    assert!(wait_until(SOON, || says("no event of company `default` for ")), "{}", server.output());
    assert!(says(" s (alarms.silence_ms)"), "{}", server.output());
    // A look that comes late finds the next silence already: events come until one look has seen that there are some.
    let mut sent = 1;
    let over = || {
        sent += 1;
        server.deliver(&event("call_ended", &format!("call_{sent}")));
        says("alarm is over after")
    };
    assert!(wait_until(SOON, over), "{}", server.output());
    let hours = "SELECT ifnull(sum(events), 0), ifnull(max(last_ms), 0) FROM activity WHERE agent_id = ''";
    let counted = || home.database().query_row(hours, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let is_counted = |(events, last_ms): (i64, i64)| events == sent && (now_ms() - last_ms).abs() < 60_000;
    assert!(wait_until(SOON, || is_counted(counted())), "{:?} of {sent}", counted());
}

#[test]
fn a_full_disk_is_an_alarm_that_a_restart_does_not_repeat() {
    let (home, mut server) = running("disk_free_percent = 100\n", "");
    assert!(server.prints("of the disk under the store are free"), "{}", server.output());
    assert!(wait_until(SOON, || alarms(&home).len() == 1));
    server.stop();
    let text = home.run(&["status"]).stdout;
    assert!(text.contains("ALARM (disk, for ") && text.contains("as of when the receiver stopped"), "{text}");
    let mut again = home.start();
    assert!(wait_until(SOON, || is_on(&again, "disk")));
    again.stop();
    assert!(!again.output().contains("alarm: "), "{}", again.output());
}

#[test]
fn a_wrong_clock_is_told_by_signatures_refused_and_accepted() {
    let (_home, server) = running(ANY_DISK, "");
    let send = |call: &str, age_ms: i64| {
        let body = event("call_ended", call);
        post(server.address(), &body, &sign_with(KEY, &body, now_ms() - age_ms)).status
    };
    for number in 0..3 {
        assert_eq!(send(&format!("call_{number}"), 400_000), 401);
    }
    assert!(server.prints("alarm: this machine's clock is 6 min ahead"), "{}", server.output());
    assert_eq!(send("call_fresh", 0), 200);
    assert!(server.prints("alarm is over after"), "{}", server.output());
    assert_eq!(send("call_future", -90_000), 200);
    assert!(server.prints(" s behind that of whoever signs"), "{}", server.output());
}

#[test]
fn events_that_cannot_be_stored_are_an_alarm() {
    let (home, server) = running(ANY_DISK, "");
    let poison = "CREATE TRIGGER poison BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'poisoned'); END";
    home.database().execute_batch(poison).unwrap();
    assert_eq!(server.deliver(&event("call_ended", "call_1")).status, 503);
    assert!(server.prints("alarm: 1 events could not be stored within a minute (503)"), "{}", server.output());
}

/// Answers `retry` while it is down, and notes what it was given.
struct Crm {
    down: Arc<AtomicBool>,
    seen: Seen,
}

/// Notes what it was given.
struct Team(Seen);

type Seen = Arc<Mutex<Vec<String>>>;

#[async_trait]
impl EventHandler for Crm {
    fn has_outside_effects(&self) -> bool {
        true
    }

    async fn handle(&self, event: &Event, _: &Context) -> Outcome {
        self.seen.lock().unwrap().push(event.name().to_owned());
        if self.down.load(Ordering::Relaxed) { Outcome::retry("down") } else { Outcome::Done }
    }
}

#[async_trait]
impl EventHandler for Team {
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
    let (crm_saw, team_saw): (Seen, Seen) = Default::default();
    let watched = AlarmSettings {
        look_ms: 100,
        calm_ms: 1_000,
        breaker_open_ms: 1,
        oldest_undelivered_ms: 0,
        disk_free_percent: 0,
        disk_free_bytes: 0,
        ..AlarmSettings::default()
    };
    let settings = Settings { handlers: Vec::new(), alarms: watched, ..Settings::default() };
    let clock = Arc::clone(&ahead_ms);
    let local = Local::start(folder.path(), |builder| {
        builder
            .settings(settings)
            .clock(Clock::from_fn(move || now_ms() + clock.load(Ordering::Relaxed)))
            .handler("crm", Filter::all(), Crm { down: Arc::clone(&down), seen: Arc::clone(&crm_saw) })
            .handler("team", Filter::all().events(["alarm_*"]), Team(Arc::clone(&team_saw)))
    });
    for number in 0..8 {
        assert_eq!(local.deliver(&event("call_ended", &format!("call_{number}"))).status, 200);
    }
    let told = || team_saw.lock().unwrap().clone();
    assert!(wait_until(SOON, || !told().is_empty()));
    // Probes fail, the state goes back and forth, and more and more attempts are made: still one alarm.
    for _ in 0..4 {
        let before = crm_saw.lock().unwrap().len();
        let probed = || {
            ahead_ms.fetch_add(2_000, Ordering::Relaxed);
            crm_saw.lock().unwrap().len() > before
        };
        assert!(wait_until(SOON, probed));
    }
    assert_eq!(told(), ["alarm_triggered breaker_open crm"]);
    down.store(false, Ordering::Relaxed);
    let resolved = || {
        ahead_ms.fetch_add(2_000, Ordering::Relaxed);
        told().len() > 1
    };
    assert!(wait_until(SOON, resolved), "{:?}", told());
    assert_eq!(told(), ["alarm_triggered breaker_open crm", "alarm_resolved breaker_open crm"]);
    assert!(crm_saw.lock().unwrap().iter().all(|name| name == "call_ended"), "who names no alarm gets none");
    local.stop();
}
