//! `log` and `call_store` in a running receiver.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bodies::sample_payload;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

fn call_event_body(event: &str, call: &Value) -> Vec<u8> {
    json!({ "event": event, "call": call }).to_string().into()
}

/// The row of `calls list` once `ready` holds for it.
fn wait_for_call_row(home: &TestEnv, call_id: &str, ready: impl Fn(&Value) -> bool) -> Value {
    let mut current = Value::Null;
    let in_time = wait_until(Duration::from_secs(10), || {
        let rows = home.run_ok(&["calls", "list", "--json"]).json();
        current = rows.as_array().unwrap().iter().find(|row| row["call_id"] == call_id).cloned().unwrap_or_default();
        ready(&current)
    });
    assert!(in_time, "{current}");
    current
}

#[test]
fn events_in_any_order_give_the_same_row() {
    let home = TestEnv::new();
    let server = home.start_server();
    let analyzed = json!({ "call_id": "call_1", "call_status": "ended", "duration_ms": 25_245,
        "call_analysis": { "user_sentiment": "Positive", "call_successful": true } });
    let ended = json!({ "call_id": "call_1", "call_status": "ended", "duration_ms": 25_000, "end_timestamp": 20,
        "disconnection_reason": "agent_hangup", "user_sentiment": null });
    let started = json!({ "call_id": "call_1", "call_status": "ongoing", "agent_name": "Nora", "start_timestamp": 10,
        "from_number": "+12025550143", "direction": "inbound", "duration_ms": 1 });
    server.post_signed(&call_event_body("call_analyzed", &analyzed));
    wait_for_call_row(&home, "call_1", |row| row["user_sentiment"] == "Positive");
    server.post_signed(&call_event_body("call_ended", &ended));
    wait_for_call_row(&home, "call_1", |row| row["ended_at_ms"] == 20);
    server.post_signed(&call_event_body("call_started", &started));
    let row = wait_for_call_row(&home, "call_1", |row| row["agent_name"] == "Nora");
    let expected = json!({ "call_status": "ended", "user_sentiment": "Positive", "call_successful": true,
        "duration_ms": 25_245, "disconnection_reason": "agent_hangup", "started_at_ms": 10, "ended_at_ms": 20,
        "direction": "inbound", "stage": "analyzed", "transfer_state": null });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&row[field], value, "{field}");
    }
    assert_ne!(row["from_number"], "+12025550143", "numbers are redacted without --reveal");
    let revealed = home.run_ok(&["calls", "show", "call_1", "--json", "--reveal"]).json();
    assert_eq!(revealed["from_number"], "+12025550143");
}

#[test]
fn transfer_state_does_not_depend_on_event_order() {
    let home = TestEnv::new();
    let server = home.start_server();
    let transfer = |event: &str, call_id: &str, number: u32| {
        let body = json!({ "event": event, "call": { "call_id": call_id }, "transfer_destination": { "n": number } });
        assert_eq!(server.post_signed(body.to_string().as_bytes()).status, 200);
    };
    transfer("transfer_cancelled", "call_1", 1);
    transfer("transfer_started", "call_1", 1);
    wait_for_call_row(&home, "call_1", |row| row["transfer_state"] == "cancelled");
    transfer("transfer_started", "call_1", 2);
    wait_for_call_row(&home, "call_1", |row| row["transfer_state"] == "started");
    transfer("transfer_bridged", "call_1", 2);
    wait_for_call_row(&home, "call_1", |row| row["transfer_state"] == "bridged");
    server.post_signed(&call_event_body("call_ended", &json!({ "call_id": "call_1" })));
    wait_for_call_row(&home, "call_1", |row| row["stage"] == "ended" && row["transfer_state"] == "bridged");
    for name in ["transfer_ended", "transfer_bridged", "transfer_started"] {
        transfer(name, "call_2", 1);
    }
    wait_for_call_row(&home, "call_2", |row| row["transfer_state"] == "ended");
}

#[test]
fn the_log_line_has_call_fields_and_no_personal_data() {
    let home = TestEnv::new();
    let server = home.start_server();
    for prefix in ["02_", "05_", "12_"] {
        assert_eq!(server.post_signed(&sample_payload(prefix)).status, 200);
    }
    assert!(server.wait_for_output("webhook event event=transfer_started"));
    for wanted in [
        "webhook event event=call_started",
        "call_11aa22bb33cc44dd55ee66ff770",
        "direction=\"outbound\" agent=\"Northwind Clinic Reception\" duration_ms=25",
        "disconnection_reason=\"agent_hangup\"",
        "call_3e4f5a6b7c8d9e0f1a2b3c4d5e6",
        "event_id=evt_",
    ] {
        assert!(server.output().contains(wanted), "{wanted}");
    }
    for personal in ["2025550", "eyJhbGciOiJIUzI1NiJ9", "Am I speaking with", "Dana", "Sam", "cust_5521"] {
        assert!(!server.output().contains(personal), "{personal}");
    }
}

#[test]
fn built_in_handlers_run_beside_others_unless_they_are_replaced_or_disabled() {
    for (table, running) in [
        ("", "log, call_store"),
        ("[[handlers]]\nname = \"crm\"\nkind = \"exec\"\ncommand = [\"/bin/true\"]\n", "crm, log, call_store"),
        ("[[handlers]]\nname = \"team\"\nkind = \"log\"\nevents = [\"alarm_*\"]\n", "team, call_store"),
        (
            "[[handlers]]\nname = \"log\"\nkind = \"log\"\nenabled = false\n\
             [[handlers]]\nname = \"call_store\"\nkind = \"call_store\"\nenabled = false\n",
            "log (disabled), call_store (disabled)",
        ),
        ("[[handlers]]\nname = \"log\"\nkind = \"file\"\npath = \"events.jsonl\"\n", "log, call_store"),
    ] {
        let home = TestEnv::new();
        home.write_config(table);
        let server = home.start_server();
        assert!(server.output().contains(&format!("handlers   {running}\n")), "{running}: {}", server.output());
    }
}

/// The sample of the page on alarms has the only table, and calls are listed all the same.
#[test]
fn calls_are_stored_with_the_sample_of_the_alarms() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/alarms.md")).unwrap();
    let (_, sample) = page.split_once("```toml\n").unwrap();
    let home = TestEnv::new();
    home.write_config(sample.split_once("```").unwrap().0);
    let server = home.start_server();
    server.post_signed(&call_event_body("call_ended", &json!({ "call_id": "call_1" })));
    let listed = || home.run_ok(&["calls", "list", "--json"]).json();
    assert!(wait_until(Duration::from_secs(15), || listed()[0]["call_id"] == "call_1"), "{}", server.output());
}

#[test]
fn configured_handlers_replace_the_built_in_ones() {
    let home = TestEnv::new();
    std::fs::create_dir(home.path().join("config")).unwrap();
    let table = "[[handlers]]\nname = \"ends\"\nkind = \"log\"\nevents = [\"call_ended\"]\n
                 [[handlers]]\nname = \"off\"\nkind = \"call_store\"\nenabled = false\n";
    std::fs::write(home.path().join("config/default.toml"), table).unwrap();
    let server = home.start_server();
    assert!(server.output().contains("handlers   ends, off (disabled)\n"), "{}", server.output());
    server.post_signed(&call_event_body("call_started", &json!({ "call_id": "call_quiet" })));
    server.post_signed(&call_event_body("call_ended", &json!({ "call_id": "call_loud" })));
    assert!(server.wait_for_output("webhook event event=call_ended"));
    assert!(!server.output().contains("webhook event event=call_started"));
    assert_eq!(home.run_ok(&["calls", "list", "--json"]).json(), json!([]));
}
