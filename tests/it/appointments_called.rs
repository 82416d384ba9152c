//! Appointments as Retell calls them: over HTTP, sent twice, at once, and to a receiver that was killed.

use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::home::Home;
use crate::support::server::Server;
use crate::support::signing::sign;

const SETTINGS: &str = r#"
[appointments]
enabled = true
days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
time_zone = "Europe/Berlin"
"#;

fn home() -> Home {
    let home = Home::new();
    home.configure(SETTINGS);
    home
}

fn call(server: &Server, function: &str, call_id: &str, args: &Value) -> Value {
    let about = json!({"call_id": call_id, "from_number": "+12025550143", "to_number": "+12025550199"});
    let body = json!({"name": function, "call": about, "args": args}).to_string().into_bytes();
    let signature = sign(&body);
    let headers = [("Content-Type", "application/json"), ("X-Retell-Signature", signature.as_str())];
    let answer = request(server.address(), "POST", &format!("/api/v1/function/{function}"), &headers, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn book(server: &Server, call_id: &str, name: &str, time: &str) -> Value {
    call(server, "collect_appointment_information", call_id, &json!({"name": name, "date": "in 3 days", "time": time}))
}

#[test]
fn a_call_books_changes_and_cancels() {
    let home = home();
    let server = home.start();
    let booked = book(&server, "call_1", "Ada", "2:30 PM");
    assert_eq!((&booked["result"], &booked["time"]), (&json!("booked"), &json!("14:30")), "{booked}");
    let changed = call(&server, "change_appointment_details", "call_2", &json!({"name": "ada", "time": "15:00"}));
    assert_eq!((&changed["result"], &changed["time"]), (&json!("changed"), &json!("15:00")), "{changed}");
    assert_eq!(changed["confirmation_number"], booked["confirmation_number"]);
    let number = json!({"confirmation_number": booked["confirmation_number"]});
    assert_eq!(call(&server, "cancel_appointment", "call_3", &number)["result"], "cancelled");
    assert_eq!(call(&server, "cancel_appointment", "call_4", &number)["result"], "cancelled");
    let unclear = book(&server, "call_5", "Ada", "2:30");
    assert_eq!(unclear["result"], "invalid", "{unclear}");
    let events: Vec<_> = home.export().iter().filter_map(|event| event.event().map(str::to_owned)).collect();
    assert_eq!(events, ["appointment_booked", "appointment_changed", "appointment_cancelled"]);
    let output = server.output();
    assert!(!output.contains("Ada") && !output.contains("5550143"), "{output}");
}

#[test]
fn a_receiver_killed_before_it_answered_gives_the_same_confirmation() {
    let home = home();
    let mut server = home.start();
    let booked = book(&server, "call_1", "Ada", "10:00");
    server.kill();
    // As if it had been killed before the answer was written down.
    home.ledger().execute("DELETE FROM invocations", []).unwrap();
    let server = home.start();
    assert_eq!(book(&server, "call_1", "Ada", "10:00"), booked);
    assert_eq!(home.export().len(), 1, "and handlers are told once");
}

#[test]
fn many_callers_at_once_get_the_times_there_are() {
    let home = home();
    let server = home.start();
    let attempt = |number: usize| {
        let answer =
            book(&server, &format!("call_{number}"), &format!("Caller {number}"), ["10:00", "11:00"][number % 2]);
        answer["result"].as_str().unwrap().to_owned()
    };
    let results: Vec<String> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..40).map(|number| scope.spawn(move || attempt(number))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let count = |wanted: &str| results.iter().filter(|result| *result == wanted).count();
    assert_eq!((count("booked"), count("unavailable")), (2, 38), "{results:?}");
    let listed = home.run_well(&["appointments", "list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
}
