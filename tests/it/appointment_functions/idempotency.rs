//! A repeated HTTP request gets its recorded answer; a repeated question in the same call is answered by the current
//! state.

use serde_json::{Value, json};

use super::{appointments_env, book_appointment, call_function, function_request_body, send_function_request};
use crate::support::server::ReceiverProcess;
use crate::support::signing::sign;
use crate::support::test_env::TestEnv;

const COLLECT_FUNCTION: &str = "collect_appointment_information";

fn confirmation_number_args(booked: &Value) -> Value {
    json!({"confirmation_number": booked["confirmation_number"]})
}

fn change_appointment(server: &ReceiverProcess, booked: &Value, time: &str) -> Value {
    let mut args = confirmation_number_args(booked);
    args["time"] = time.into();
    call_function(server, "change_appointment_details", "call_1", &args)
}

fn list_booked_numbers(home: &TestEnv) -> Vec<Value> {
    let list = home.run_ok(&["appointments", "list", "--booked", "--json"]).json();
    list.as_array().unwrap().iter().map(|it| it["confirmation_number"].clone()).collect()
}

#[test]
fn outdated_answers_are_not_repeated() {
    let home = appointments_env();
    let server = home.start_server();
    let first = book_appointment(&server, "call_1", "Ada", "10:00");
    assert_eq!(book_appointment(&server, "call_1", "Ada", "10:00"), first, "still true");
    assert_eq!(
        call_function(&server, "cancel_appointment", "call_1", &confirmation_number_args(&first))["result"],
        "cancelled"
    );
    let second = book_appointment(&server, "call_1", "Ada", "10:00");
    assert_eq!(second["result"], "booked", "{second}");
    assert_ne!(second["confirmation_number"], first["confirmation_number"]);
    assert_eq!(list_booked_numbers(&home), [second["confirmation_number"].clone()]);
    for time in ["12:00", "11:00", "12:00"] {
        let changed = change_appointment(&server, &second, time);
        assert_eq!((&changed["result"], &changed["time"]), (&json!("changed"), &json!(time)), "{changed}");
        assert_eq!(change_appointment(&server, &second, time), changed);
    }
    let shown = home.run_ok(&["appointments", "show", second["confirmation_number"].as_str().unwrap()]).stdout;
    assert!(shown.contains("12:00"), "{shown}");
    let events = home.export_events();
    let count = |name: &str| events.iter().filter(|event| event.event() == Some(name)).count();
    let counts = ["appointment_booked", "appointment_changed", "appointment_cancelled"].map(count);
    assert_eq!(counts, [2, 3, 1]);
}

#[test]
fn name_can_be_corrected_back() {
    let home = appointments_env();
    let server = home.start_server();
    let results: Vec<_> = ["Jon", "John", "Jon", "Jon"]
        .map(|name| book_appointment(&server, "call_1", name, "10:00"))
        .iter()
        .map(|answer| (answer["result"].clone(), answer["name"].clone()))
        .collect();
    let expected = [("booked", "Jon"), ("changed", "John"), ("changed", "Jon"), ("changed", "Jon")];
    assert_eq!(results, expected.map(|(result, name)| (json!(result), json!(name))));
    assert_eq!((list_booked_numbers(&home).len(), home.export_events().len()), (1, 3));
}

#[test]
fn repeated_cancellation_by_name_finds_the_next_appointment() {
    let home = appointments_env();
    let server = home.start_server();
    let cancel = || call_function(&server, "cancel_appointment", "call_1", &json!({"name": "Ada"}));
    let first = book_appointment(&server, "call_1", "Ada", "10:00");
    assert_eq!(cancel()["confirmation_number"], first["confirmation_number"]);
    let second = book_appointment(&server, "call_1", "Ada", "11:00");
    assert_eq!(cancel()["confirmation_number"], second["confirmation_number"]);
    assert_eq!(cancel()["confirmation_number"], second["confirmation_number"], "the one cancelled last");
    assert!(list_booked_numbers(&home).is_empty());
}

#[test]
fn slot_that_was_taken_can_be_booked_once_it_is_free() {
    let home = appointments_env();
    let server = home.start_server();
    let other = book_appointment(&server, "call_1", "Ada", "10:00");
    assert_eq!(book_appointment(&server, "call_2", "Bob", "10:00")["result"], "unavailable");
    home.run_ok(&["appointments", "cancel", other["confirmation_number"].as_str().unwrap()]);
    assert_eq!(book_appointment(&server, "call_2", "Bob", "10:00")["result"], "booked");
}

#[test]
fn identical_request_gets_the_same_answer_and_books_once() {
    let home = appointments_env();
    let mut server = home.start_server();
    let body = function_request_body(
        COLLECT_FUNCTION,
        "call_1",
        &json!({"name": "Ada", "date": "in 3 days", "time": "10:00"}),
    );
    let signature = sign(&body);
    let first = send_function_request(&server, COLLECT_FUNCTION, &body, &signature);
    assert_eq!(first["result"], "booked", "{first}");
    server.kill();
    let server = home.start_server();
    assert_eq!(send_function_request(&server, COLLECT_FUNCTION, &body, &signature), first, "after a crash");
    assert_eq!(
        call_function(&server, "cancel_appointment", "call_1", &confirmation_number_args(&first))["result"],
        "cancelled"
    );
    assert_eq!(
        send_function_request(&server, COLLECT_FUNCTION, &body, &signature),
        first,
        "no second booking, even after the cancellation"
    );
    assert!(list_booked_numbers(&home).is_empty());
    assert_eq!(home.export_events().len(), 2);
}

#[test]
fn invocation_interrupted_by_a_crash_is_completed_with_the_same_result() {
    let home = appointments_env();
    let mut server = home.start_server();
    let first = book_appointment(&server, "call_1", "Ada", "10:00");
    server.kill();
    // As if the process had been killed between the booking and the record of the answer.
    let mark_interrupted = || {
        let sql = "UPDATE invocations SET state = 'running', answer = NULL, ended_at_ms = NULL WHERE function = ?1";
        assert_eq!(home.open_invocation_ledger().execute(sql, [COLLECT_FUNCTION]).unwrap(), 1);
    };
    mark_interrupted();
    let mut server = home.start_server();
    assert_eq!(book_appointment(&server, "call_1", "Ada", "10:00"), first);
    let row = home.run_ok(&["functions", "calls", "--json"]).json()[0].clone();
    assert_eq!((&row["runs"], &row["state"]), (&json!(2), &json!("done")));
    assert_eq!(home.export_events().len(), 1, "one event for handlers");
    call_function(&server, "cancel_appointment", "call_1", &confirmation_number_args(&first));
    server.kill();
    mark_interrupted();
    let server = home.start_server();
    let second = book_appointment(&server, "call_1", "Ada", "10:00");
    assert_eq!(
        (&second["result"], list_booked_numbers(&home)),
        (&json!("booked"), vec![second["confirmation_number"].clone()])
    );
}

#[test]
fn replayed_arguments_are_rejected_for_another_call() {
    let home = appointments_env();
    let server = home.start_server();
    let body = br#"{"name":"Ada","date":"in 3 days","time":"10:00"}"#;
    let signature = sign(body);
    let headers = [("Content-Type", "application/json"), ("X-Retell-Signature", &*signature)];
    let post = |query: &str| {
        let path = format!("/api/v1/function/{COLLECT_FUNCTION}{query}");
        crate::support::client::request(server.address(), "POST", &path, &headers, body).status
    };
    assert_eq!((post("?call_id=call_1"), post("?call_id=call_1")), (200, 200));
    assert_eq!((post("?call_id=call_2"), post("")), (401, 401));
    assert_eq!(list_booked_numbers(&home).len(), 1);
}
