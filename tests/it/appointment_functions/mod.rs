//! Appointment functions over HTTP: repeated and concurrent requests, and a receiver that was killed.

mod idempotency;

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::server::ReceiverProcess;
use crate::support::signing::sign;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const APPOINTMENTS_CONFIG: &str = r#"
[appointments]
enabled = true
days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
time_zone = "Europe/Berlin"
"#;

fn appointments_env() -> TestEnv {
    let home = TestEnv::new();
    home.write_config(APPOINTMENTS_CONFIG);
    home
}

fn call_function(server: &ReceiverProcess, function: &str, call_id: &str, args: &Value) -> Value {
    let body = function_request_body(function, call_id, args);
    send_function_request(server, function, &body, &sign(&body))
}

fn function_request_body(function: &str, call_id: &str, args: &Value) -> Vec<u8> {
    let call = json!({"call_id": call_id, "from_number": "+12025550143", "to_number": "+12025550199"});
    json!({"name": function, "call": call, "args": args}).to_string().into_bytes()
}

fn send_function_request(server: &ReceiverProcess, function: &str, body: &[u8], signature: &str) -> Value {
    let headers = [("Content-Type", "application/json"), ("X-Retell-Signature", signature)];
    let answer = request(server.address(), "POST", &format!("/api/v1/function/{function}"), &headers, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn book_appointment(server: &ReceiverProcess, call_id: &str, name: &str, time: &str) -> Value {
    call_function(
        server,
        "collect_appointment_information",
        call_id,
        &json!({"name": name, "date": "in 3 days", "time": time}),
    )
}

#[test]
fn calls_book_change_and_cancel() {
    let home = appointments_env();
    let server = home.start_server();
    let booked = book_appointment(&server, "call_1", "Ada", "2:30 PM");
    assert_eq!((&booked["result"], &booked["time"]), (&json!("booked"), &json!("14:30")), "{booked}");
    let changed =
        call_function(&server, "change_appointment_details", "call_2", &json!({"name": "ada", "time": "15:00"}));
    assert_eq!((&changed["result"], &changed["time"]), (&json!("changed"), &json!("15:00")), "{changed}");
    assert_eq!(changed["confirmation_number"], booked["confirmation_number"]);
    let number = json!({"confirmation_number": booked["confirmation_number"]});
    assert_eq!(call_function(&server, "cancel_appointment", "call_3", &number)["result"], "cancelled");
    assert_eq!(call_function(&server, "cancel_appointment", "call_4", &number)["result"], "cancelled");
    let unclear = book_appointment(&server, "call_5", "Ada", "2:30");
    assert_eq!(unclear["result"], "invalid", "{unclear}");
    let events: Vec<_> = home.export_events().iter().filter_map(|event| event.event().map(str::to_owned)).collect();
    assert_eq!(events, ["appointment_booked", "appointment_changed", "appointment_cancelled"]);
    let output = server.output();
    assert!(!output.contains("Ada") && !output.contains("5550143"), "{output}");
}

#[test]
fn restart_after_a_crash_gives_the_same_confirmation() {
    let home = appointments_env();
    let mut server = home.start_server();
    let booked = book_appointment(&server, "call_1", "Ada", "10:00");
    server.kill();
    // As if it had been killed before the answer was recorded.
    home.open_invocation_ledger().execute("DELETE FROM invocations", []).unwrap();
    let server = home.start_server();
    assert_eq!(book_appointment(&server, "call_1", "Ada", "10:00"), booked);
    assert_eq!(home.export_events().len(), 1, "one event for handlers");
}

#[test]
fn a_thousand_concurrent_requests_fill_exactly_ten_slots() {
    let home = appointments_env();
    let server = home.start_server();
    let next = AtomicUsize::new(0);
    let run_caller = || {
        let mut results = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= 1_000 {
                return results;
            }
            let minutes = 600 + number % 10 * 30;
            let time = format!("{:02}:{:02}", minutes / 60, minutes % 60);
            let answer = book_appointment(&server, &format!("call_{number}"), &format!("Caller {number}"), &time);
            results.push(answer["result"].as_str().unwrap().to_owned());
        }
    };
    let results: Vec<String> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..100).map(|_| scope.spawn(run_caller)).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let count = |wanted: &str| results.iter().filter(|result| *result == wanted).count();
    assert_eq!((count("booked"), count("unavailable")), (10, 990));
    let listed = home.run_ok(&["appointments", "list", "--json"]).json();
    assert_eq!((listed.as_array().unwrap().len(), home.export_events().len()), (10, 10));
}

#[test]
fn missing_arguments_are_asked_for() {
    let home = appointments_env();
    let server = home.start_server();
    let collect =
        |call_id: &str, args: Value| call_function(&server, "collect_appointment_information", call_id, &args);
    let missing = collect("call_1", json!({"name": "Ada", "date": "in 3 days"}));
    assert_eq!((&missing["result"], &missing["message"]), (&json!("invalid"), &json!("What time would you like?")));
    assert!(missing["today"].is_string() && missing["time_zone"] == "Europe/Berlin", "{missing}");
    let test = |args: &str| {
        let name = "collect_appointment_information";
        home.run(&["functions", "test", name, "--args", args, "--to", &server.url()])
    };
    let refused = test(r#"{"name":"Ada","date":"in 3 days"}"#);
    assert_eq!(refused.exit_code, Some(1), "{refused:?}");
    assert!(refused.stdout.contains("What time would you like?"), "{refused:?}");
    assert_eq!(test(r#"{"name":"Ada","date":"in 3 days","time":"11:00"}"#).exit_code, Some(0));
    let nulls = collect("call_2", json!({"name": "Ada", "date": "in 3 days", "time": null, "service": null}));
    assert_eq!(nulls, missing);
    let booked = collect("call_3", json!({"name": "Ada", "date": "in 3 days", "time": "10:00", "service": null}));
    assert_eq!(booked["result"], "booked", "{booked}");
}

#[test]
fn locked_store_is_answered_with_an_apology() {
    let home = appointments_env();
    let server = home.start_server();
    let other = home.open_database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = book_appointment(&server, "call_1", "Ada", "10:00");
    assert_eq!((&answer["result"], &answer["alternatives"]), (&json!("unavailable"), &json!([])), "{answer}");
    let message = answer["message"].as_str().unwrap();
    assert!(message.starts_with("Sorry, I cannot reach our calendar right now."), "{message}");
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    assert!(wait_until(std::time::Duration::from_secs(20), || server.is_ready()));
    assert_eq!(book_appointment(&server, "call_1", "Ada", "10:00")["result"], "booked");
}
