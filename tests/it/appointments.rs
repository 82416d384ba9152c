//! Appointments for operators: the commands, the events for handlers, and erasure.

use std::time::Duration;

use retell_webhook::internals::DEFAULT_COMPANY_ID;
use retell_webhook::internals::Supervisor;
use retell_webhook::internals::built_in_functions;
use retell_webhook::internals::{Role, open_store};
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

/// Books as a call would, directly in the store. The receiver must be stopped.
fn book_appointment(home: &TestEnv, number: &str, name: &str, time: &str) -> Value {
    let mut settings = Settings::default();
    settings.appointments.enabled = true;
    "Europe/Berlin".clone_into(&mut settings.appointments.time_zone);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let supervisor = Supervisor::default();
        let url = format!("sqlite://{}", home.database_path().display()).parse().unwrap();
        let store = open_store(&url, Role::Receiver, &supervisor).unwrap();
        let functions = built_in_functions(&settings, store.clone(), Clock::from_fn(|| BOOKED_AT_MS)).unwrap();
        let deadline = tokio::time::Instant::now() + WAIT_LIMIT;
        let function = &functions[0].name;
        let invocation = format!("{name}{time}");
        let mut context =
            FunctionContext::new(function, DEFAULT_COMPANY_ID, "default", &invocation, BOOKED_AT_MS, deadline);
        context.from_number = Some(number.to_owned());
        context.call_id = Some("call_1".to_owned());
        let arguments = json!({"name": name, "date": "2026-11-23", "time": time, "service": "Check-up"});
        let outcome = functions[0].function.call(arguments.as_object().unwrap(), &context).await;
        store.close().await.unwrap();
        match outcome {
            FunctionOutcome::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    })
}

/// An environment whose handlers are registered in the store, with one appointment.
fn env_with_appointment() -> (TestEnv, String) {
    let home = TestEnv::new();
    home.write_config(HANDLERS_CONFIG);
    // Registers the handlers; without it, the event of the booking would have no deliveries.
    home.start_server().stop();
    let booked = book_appointment(&home, "+12025550143", "Ada Lovelace", "14:30");
    assert_eq!(booked["result"], "booked", "{booked}");
    let number = booked["confirmation_number"].as_str().unwrap().to_owned();
    (home, number)
}

#[test]
fn commands_show_names_and_numbers_with_reveal_only() {
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
fn list_and_export_filter_by_time_and_company() {
    let (home, first) = env_with_appointment();
    let second = book_appointment(&home, "+12025550111", "Grace Hopper", "16:30")["confirmation_number"]
        .as_str()
        .unwrap()
        .to_owned();
    let run = |args: &[&str]| home.run_ok(&[args, &SINCE_ARGS].concat()).stdout;
    for command in [&["appointments", "list"][..], &["appointments", "export", "--ics"]] {
        let with = |more: &[&str]| run(&[command, more].concat());
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
    assert!(run(&["appointments", "list"]).contains(&first), "cancelled ones are listed by default");
}

#[test]
fn export_is_a_calendar_and_warns_about_personal_data() {
    let (home, number) = env_with_appointment();
    let exported = home.run_ok(&[&["appointments", "export", "--ics"][..], &SINCE_ARGS].concat());
    assert!(exported.stderr.contains("1 appointments, with names and phone numbers"), "{exported:?}");
    let text = exported.stdout;
    assert!(text.starts_with("BEGIN:VCALENDAR\r\n") && text.contains("DTSTART:20261123T133000Z\r\n"), "{text}");
    assert!(text.contains("SUMMARY:Check-up: Ada Lovelace\r\n") && text.contains(&number), "{text}");
    assert_eq!(home.run(&["appointments", "export"]).exit_code, Some(2));
}

#[test]
fn cancelling_while_the_receiver_runs_frees_the_slot() {
    let (home, number) = env_with_appointment();
    let mut server = home.start_server();
    let cancelled = home.run_ok(&["appointments", "cancel", &number]).stdout;
    assert!(cancelled.contains("cancelled"), "{cancelled}");
    home.run_ok(&["appointments", "cancel", &number]);
    let read = || std::fs::read_to_string(home.path().join("data/bookings.jsonl")).unwrap_or_default();
    assert!(wait_until(WAIT_LIMIT, || read().contains("appointment_cancelled")), "{}", server.output());
    // Events that follow get the next sequence numbers, and duplicates of them are recognized after a restart.
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
        "delivered once: {}",
        read()
    );
    assert_eq!(book_appointment(&home, "+12025550111", "Grace Hopper", "14:30")["result"], "booked");
    let ics = home.run_ok(&[&["appointments", "export", "--ics"][..], &SINCE_ARGS].concat()).stdout;
    assert!(ics.contains("STATUS:CANCELLED") && ics.contains("STATUS:CONFIRMED"), "{ics}");
}

#[test]
fn only_handlers_that_list_the_event_receive_it() {
    let (home, number) = env_with_appointment();
    let server = home.start_server();
    assert!(!server.output().contains("unknown event names"), "{}", server.output());
    let read = |name: &str| std::fs::read_to_string(home.path().join("data").join(name)).unwrap_or_default();
    assert!(wait_until(WAIT_LIMIT, || read("bookings.jsonl").contains(&number)), "{}", server.output());
    let delivered = read("bookings.jsonl");
    assert!(delivered.contains("appointment_booked") && delivered.contains("2026-11-23T14:30:00+01:00"), "{delivered}");
    assert!(!read("everything.jsonl").contains("appointment_"), "the handler does not list it");
    assert_eq!(home.list_events(&["--event", "appointment_booked"])[0]["call_id"], "call_1");
}

#[test]
fn erasure_deletes_the_appointments_of_a_person() {
    let (home, number) = env_with_appointment();
    book_appointment(&home, "+12025550111", "Grace Hopper", "15:30");
    let preview = home.run_ok(&["erase", "--phone", "+12025550143", "--json"]).json();
    assert_eq!(preview["erased"]["appointments"], 2, "both were booked in one call: {preview}");
    home.run_ok(&["erase", "--phone", "+12025550143", "--yes"]);
    assert_eq!(home.run(&["appointments", "show", &number]).exit_code, Some(1));
    let list = home.run_ok(&[&["appointments", "list", "--json"][..], &SINCE_ARGS].concat());
    assert_eq!(list.json(), json!([]));
    let bytes = std::fs::read(home.database_path()).unwrap();
    assert!(!bytes.windows(12).any(|part| part == b"Ada Lovelace"), "the name is still in the database file");
    let other = book_appointment(&home, "+12025550144", "Eve", "14:30");
    assert_eq!(other["result"], "booked", "the slot is free again: {other}");
}
