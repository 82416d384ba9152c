//! Appointments as an operator sees them: the verbs, the events for handlers, and erasure.

use std::sync::Arc;
use std::time::Duration;

use retell_webhook::internals::Supervisor;
use retell_webhook::internals::built_in_functions;
use retell_webhook::internals::{DEFAULT_COMPANY_ID, Store};
use retell_webhook::internals::{SqliteStore, SqliteUrl};
use retell_webhook::{Clock, Settings};
use retell_webhook::{FunctionContext, FunctionOutcome};
use serde_json::{Value, json};

use crate::support::bodies::event_body;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(20);
/// 2026-11-21T09:00:00Z.
const BOOKED_AT_MS: i64 = 1_795_251_600_000;
const SINCE_ARGS: [&str; 2] = ["--since", "2026-11-01"];
const HANDLERS_CONFIG: &str = r#"
[[handlers]]
name = "bookings"
kind = "file"
path = "data/bookings.jsonl"
events = ["appointment_*"]
[[handlers]]
name = "everything"
kind = "file"
path = "data/everything.jsonl"
"#;

/// Books as a call would, in the store of a receiver that is stopped.
fn book_appointment(home: &TestEnv, number: &str, name: &str, time: &str) -> Value {
    let mut settings = Settings::default();
    settings.appointments.enabled = true;
    "Europe/Berlin".clone_into(&mut settings.appointments.time_zone);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let supervisor = Supervisor::default();
        let store = Arc::new(SqliteStore::open(&SqliteUrl::file(home.database_path()), &supervisor).unwrap());
        let functions = built_in_functions(&settings, store.clone(), Clock::from_fn(|| BOOKED_AT_MS)).unwrap();
        let deadline = tokio::time::Instant::now() + WAIT_LIMIT;
        let company = (DEFAULT_COMPANY_ID, "default");
        let mut context =
            FunctionContext::new(&functions[0].name, company, &format!("{name}{time}"), BOOKED_AT_MS, deadline);
        context.from_number = Some(number.to_owned());
        context.call_id = Some("call_1".to_owned());
        let arguments = json!({"name": name, "date": "2026-11-23", "time": time, "service": "Check-up"});
        let called = functions[0].function.call(arguments.as_object().unwrap(), &context).await;
        store.close().await.unwrap();
        match called {
            FunctionOutcome::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    })
}

/// A home whose handlers are known to the store, with one appointment.
fn env_with_appointment() -> (TestEnv, String) {
    let home = TestEnv::new();
    home.write_config(HANDLERS_CONFIG);
    home.start_server().stop();
    let booked = book_appointment(&home, "+12025550143", "Ada Lovelace", "14:30");
    assert_eq!(booked["result"], "booked", "{booked}");
    let number = booked["confirmation_number"].as_str().unwrap().to_owned();
    (home, number)
}

#[test]
fn the_verbs_show_names_and_numbers_only_when_asked() {
    let (home, number) = env_with_appointment();
    let run = |args: &[&str]| home.run_ok(args).stdout;
    let list = run(&[&["appointments", "list"][..], &SINCE_ARGS].concat());
    assert!(
        list.contains(&number) && list.contains("Mon 2026-11-23 14:30") && list.contains("Europe/Berlin"),
        "{list}"
    );
    assert!(!list.contains("Ada") && !list.contains("5550143"), "{list}");
    let shown = run(&["appointments", "show", &number, "--json"]);
    assert!(!shown.contains("Ada") && shown.contains("2026-11-23T14:30:00+01:00"), "{shown}");
    let revealed = run(&["appointments", "show", &number.to_lowercase(), "--reveal"]);
    assert!(revealed.contains("Ada Lovelace") && revealed.contains("+12025550143"), "{revealed}");
    let none = run(&["appointments", "list", "--since", "2026-11-24", "--json"]);
    assert_eq!(none.trim(), "[]");
    let unknown = home.run(&["appointments", "show", "ZZZZZZ"]);
    assert!(unknown.exit_code == Some(1) && unknown.stderr.contains("appointments list"), "{unknown:?}");
}

#[test]
fn lists_and_exports_are_of_a_time_and_a_company() {
    let (home, first) = env_with_appointment();
    let second = book_appointment(&home, "+12025550111", "Grace Hopper", "16:30")["confirmation_number"]
        .as_str()
        .unwrap()
        .to_owned();
    let run = |args: &[&str]| home.run_ok(&[args, &SINCE_ARGS].concat()).stdout;
    for verb in [&["appointments", "list"][..], &["appointments", "export", "--ics"]] {
        let with = |more: &[&str]| run(&[verb, more].concat());
        let early = with(&["--until", "2026-11-23T15:00:00Z"]);
        assert!(early.contains(&first) && !early.contains(&second), "{early}");
        let own = with(&["--company", "default"]);
        assert!(own.contains(&first) && own.contains(&second), "{own}");
        let others = with(&["--company", "acme"]);
        assert!(!others.contains(&first) && !others.contains(&second), "{others}");
    }
    home.run_ok(&["appointments", "cancel", &first]);
    let booked = run(&["appointments", "list", "--booked"]);
    assert!(booked.contains(&second) && !booked.contains(&first), "{booked}");
    assert!(run(&["appointments", "list"]).contains(&first), "unless it is asked for");
}

#[test]
fn the_export_is_a_calendar_and_says_what_is_in_it() {
    let (home, number) = env_with_appointment();
    let exported = home.run_ok(&[&["appointments", "export", "--ics"][..], &SINCE_ARGS].concat());
    assert!(exported.stderr.contains("1 appointments, with names and phone numbers"), "{exported:?}");
    let text = exported.stdout;
    assert!(text.starts_with("BEGIN:VCALENDAR\r\n") && text.contains("DTSTART:20261123T133000Z\r\n"), "{text}");
    assert!(text.contains("SUMMARY:Check-up: Ada Lovelace\r\n") && text.contains(&number), "{text}");
    assert_eq!(home.run(&["appointments", "export"]).exit_code, Some(2));
}

#[test]
fn cancelling_beside_the_receiver_frees_the_time() {
    let (home, number) = env_with_appointment();
    let mut server = home.start_server();
    let cancelled = home.run_ok(&["appointments", "cancel", &number]).stdout;
    assert!(cancelled.contains("cancelled"), "{cancelled}");
    home.run_ok(&["appointments", "cancel", &number]);
    let read = || std::fs::read_to_string(home.path().join("data/bookings.jsonl")).unwrap_or_default();
    assert!(wait_until(WAIT_LIMIT, || read().contains("appointment_cancelled")), "{}", server.output());
    // The receiver goes on behind it, and takes it for what it is after a restart.
    assert_eq!(server.post_signed(&event_body("call_ended", "call_2")).json(), json!({"received": true}));
    server.stop();
    let mut server = home.start_server();
    assert_eq!(server.post_signed(&event_body("call_ended", "call_2")).json()["duplicate"], true);
    assert_eq!(server.post_signed(&event_body("call_ended", "call_3")).json(), json!({"received": true}));
    let names: Vec<_> = home.export_events().iter().filter_map(|event| event.event().map(str::to_owned)).collect();
    assert_eq!(names, ["appointment_booked", "appointment_cancelled", "call_ended", "call_ended"]);
    server.stop();
    assert_eq!(
        read().lines().filter(|line| line.contains("appointment_cancelled")).count(),
        1,
        "told once: {}",
        read()
    );
    assert_eq!(book_appointment(&home, "+12025550111", "Grace Hopper", "14:30")["result"], "booked");
    let ics = home.run_ok(&[&["appointments", "export", "--ics"][..], &SINCE_ARGS].concat()).stdout;
    assert!(ics.contains("STATUS:CANCELLED") && ics.contains("STATUS:CONFIRMED"), "{ics}");
}

#[test]
fn handlers_that_name_the_event_get_it_and_others_do_not() {
    let (home, number) = env_with_appointment();
    let server = home.start_server();
    assert!(!server.output().contains("nobody sends today"), "{}", server.output());
    let read = |name: &str| std::fs::read_to_string(home.path().join("data").join(name)).unwrap_or_default();
    assert!(wait_until(WAIT_LIMIT, || read("bookings.jsonl").contains(&number)), "{}", server.output());
    let told = read("bookings.jsonl");
    assert!(told.contains("appointment_booked") && told.contains("2026-11-23T14:30:00+01:00"), "{told}");
    assert!(!read("everything.jsonl").contains("appointment_"), "it was not named");
    assert_eq!(home.list_events(&["--event", "appointment_booked"])[0]["call_id"], "call_1");
}

#[test]
fn a_person_is_erased_with_the_appointments() {
    let (home, number) = env_with_appointment();
    book_appointment(&home, "+12025550111", "Grace Hopper", "15:30");
    let looked = home.run_ok(&["erase", "--phone", "+12025550143", "--json"]).json();
    assert_eq!(looked["erased"]["appointments"], 2, "both were booked in one call: {looked}");
    home.run_ok(&["erase", "--phone", "+12025550143", "--yes"]);
    assert_eq!(home.run(&["appointments", "show", &number]).exit_code, Some(1));
    let left: i64 =
        home.open_database().query_row("SELECT count(*) FROM appointment_slots", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
    let bytes = std::fs::read(home.database_path()).unwrap();
    assert!(!bytes.windows(12).any(|part| part == b"Ada Lovelace"), "no byte is left");
}
