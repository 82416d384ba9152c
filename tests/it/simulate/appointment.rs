//! Scenario `appointment`: an appointment is booked and canceled by function calls.

use axum::Router;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::{fake_receiver, simulate, start_server, stored_event_names};
use crate::support::local::RouterServer;
use crate::support::server::ReceiverProcess;
use crate::support::signing::OTHER_KEY;
use crate::support::test_env::TestEnv;

const APPOINTMENTS_CONFIG: &str = r#"
[appointments]
enabled = true
time_zone = "Europe/Berlin"
services = [{ name = "Check-up", duration_minutes = 60 }]

[[functions]]
name = "collect_appointment_information"
builtin = "collect_appointment_information"
timeout_ms = 1000

[[companies]]
slug = "acme"
keys = ["OTHER_KEY"]
time_zone = "America/New_York"
"#;

/// Starts a receiver with appointments enabled and `more` configuration.
fn start_with_appointments(more: &str) -> (TestEnv, ReceiverProcess) {
    let home = TestEnv::new();
    home.write_config(&(APPOINTMENTS_CONFIG.replace("OTHER_KEY", OTHER_KEY) + more));
    let server = home.start_server();
    (home, server)
}

/// Step and result of every request in the report.
fn step_results(report: &Value) -> Vec<String> {
    let rows = report["requests"].as_array().unwrap();
    rows.iter().map(|row| format!("{}: {}", row["step"].as_str().unwrap(), row["result"].as_str().unwrap())).collect()
}

#[test]
fn an_appointment_is_booked_once_and_canceled() {
    let (home, server) = start_with_appointments("");
    for company in ["default", "acme"] {
        let report = simulate(&home, &server, &["appointment", "--calls", "1", "--company", company]);
        let steps = [
            "call_inbound: empty",
            "call_started: stored",
            "collect, wrong arguments: invalid",
            "collect: booked",
            "collect, again: booked",
            "collect, late: booked",
            "cancel: cancelled",
            "call_ended: stored",
            "call_analyzed: stored",
        ];
        assert_eq!(step_results(&report), steps, "{report}");
        assert_eq!((&report["ok"], &report["not_run"]), (&json!(true), &json!(0)), "{report}");
        assert_eq!(report["store"]["found"], 4, "{report}");
        let deadlines: Vec<_> =
            report["requests"].as_array().unwrap().iter().map(|row| row["deadline_ms"].as_u64().unwrap()).collect();
        assert_eq!(deadlines, [1_500, 10_000, 1_000, 1_000, 1_000, 1_000, 10_000, 10_000, 10_000]);
        assert_eq!(report["function_calls"], 5);
        let requests = &report["requests"];
        let path = if company == "acme" { "/api/v1/function/acme/" } else { "/api/v1/function/" };
        let collect = json!({"method": "POST", "path": format!("{path}collect_appointment_information"),
            "arguments": requests[3]["request"]["arguments"]});
        assert_eq!(requests[3]["request"], collect);
        assert!(collect["arguments"]["date"].is_string() && requests[2]["request"]["arguments"]["time"].is_null());
        assert_eq!(requests[0]["request"]["arguments"]["to_number"].as_str().unwrap().get(5..10), Some("55501"));
        let (booked, late) = (&requests[3]["answer"], &requests[5]);
        assert!(booked["confirmation_number"].is_string() && late["answer"] == *booked, "{report}");
        let outcomes: Vec<_> = (2..=6).map(|at| requests[at]["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["answered", "answered", "duplicate", "duplicate", "answered"]);
        let expectation = late["expectation"].as_str().unwrap();
        assert!(expectation.contains("s after the first request, after its deadline"), "{expectation}");
    }
    let events: Vec<_> = home.export_events().iter().filter_map(|event| event.event().map(str::to_owned)).collect();
    let count = |name: &str| events.iter().filter(|event| *event == name).count();
    assert_eq!(count("appointment_booked"), 2, "one booking per call, despite the repeated requests: {events:?}");
    assert_eq!(count("appointment_cancelled"), 2, "every booking is canceled: {events:?}");
}

#[test]
fn requests_are_printed_one_by_one_without_phone_numbers() {
    let (home, server) = start_with_appointments("[inbound]\ntimeout_ms = 3000\n");
    let ran = home.run_ok(&["simulate", "appointment", "--calls", "20", "--to", &server.url()]);
    for text in ["collect, wrong arguments", "200 invalid", "200 booked", "200 cancelled", "3000 ms", "10000 ms"] {
        assert!(ran.stdout.contains(text), "{text}: {ran:?}");
    }
    assert!(ran.stdout.contains("more requests; --json lists them") && !ran.stdout.contains("WRONG"), "{ran:?}");
    for text in
        ["200 booked (answered)", "    POST /api/v1/function/collect_appointment_information {\"date\":", "    -> "]
    {
        assert!(ran.stdout.contains(text), "{text}: {ran:?}");
    }
    assert!(ran.stdout.contains("after its deadline: the stored answer") && !ran.stdout.contains("55501"), "{ran:?}");
    // Four events and five function requests per call; from the 17th call on, the request after the deadline is left
    // out.
    let sent = ran.stdout.lines().find(|line| line.starts_with("sent ")).unwrap();
    let numbers: Vec<u64> = sent.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] == 20 && numbers[1] == 80 + numbers[2] && numbers[2] >= 96, "{sent}");
    let mix = simulate(&home, &server, &["--calls", "11"]);
    assert_eq!(step_results(&mix).len(), 9, "one of eleven calls in the default mix: {mix}");
}

#[test]
fn an_offered_alternative_is_booked_when_a_slot_is_taken() {
    let (home, server) = start_with_appointments("");
    // The settings of the simulation allow one slot per day, so that many calls ask for the same slot.
    let stranger = TestEnv::new();
    let narrow = "closes = \"10:00\"\n[[functions]]";
    stranger.write_config(&APPOINTMENTS_CONFIG.replace("OTHER_KEY", OTHER_KEY).replacen("[[functions]]", narrow, 1));
    let ran = stranger.run(&["simulate", "appointment", "--calls", "60", "--to", &server.url(), "--json"]);
    let report = ran.json();
    assert_eq!(ran.exit_code, Some(0), "{report}");
    let offered = step_results(&report).iter().filter(|step| *step == "collect: unavailable").count();
    let booked = step_results(&report).iter().filter(|step| *step == "collect: booked").count();
    assert!(offered > 0 && booked == 60, "{offered} {booked}");
    drop(home);
}

#[test]
fn a_receiver_without_appointments_is_reported() {
    let (home, server) = start_server();
    let ran = home.run(&["simulate", "appointment", "--calls", "2", "--to", &server.url()]);
    assert_eq!(ran.exit_code, Some(1), "{ran:?}");
    let message = "NOT RUN  the functions of 2 calls of `appointment`";
    assert!(ran.stdout.contains(message) && ran.stdout.contains("appointments.enabled = true"), "{ran:?}");
    let stored = stored_event_names(&home);
    assert!(
        stored.len() == 8 && stored.contains(&"call_analyzed".to_owned()),
        "the other events were sent: {stored:?}"
    );
    home.write_config("[appointments]\nenabled = true\n");
    let mix = simulate(&home, &server, &["--calls", "11"]);
    assert_eq!((&mix["not_run"], &mix["ok"]), (&json!(1), &json!(true)), "not requested by name: {mix}");
}

#[test]
fn a_wrong_or_late_answer_is_a_failure() {
    let home = TestEnv::new();
    let (_routes, address) =
        fake_receiver(|| axum::Json(json!({ "received": true, "result": "booked" })).into_response());
    let to = format!("http://{address}");
    let ran = home.run(&["simulate", "appointment", "--calls", "1", "--to", &to]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("WRONG: expected `invalid`"), "{ran:?}");
    assert!(ran.stdout.contains("WRONG: call_inbound: ") && ran.stdout.contains("no confirmation number"), "{ran:?}");
    let slow = Router::new().fallback(|| async {
        tokio::time::sleep(std::time::Duration::from_millis(900)).await;
        axum::Json(json!({}))
    });
    let slow = RouterServer::start(slow);
    home.write_config("[inbound]\ntimeout_ms = 500\n");
    let to = format!("http://{}", slow.address);
    let report = home.run(&["simulate", "appointment", "--calls", "1", "--to", &to, "--json"]).json();
    assert_eq!(report["requests"][0]["problem"], "later than 500 ms", "{report}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_cancels_its_bookings() {
    use crate::support::server::wait_for_exit;
    use crate::support::wait_until;
    use std::time::Duration;
    let home = TestEnv::new();
    home.write_config("[appointments]\nenabled = true\n");
    let server = home.start_server();
    let mut run = home.command(&["simulate", "appointment", "--calls", "2", "--to", &server.url(), "--json"]);
    let mut run = run.spawn().unwrap();
    let states = || {
        let rows = home.run_ok(&["appointments", "list", "--json"]).json();
        rows.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Both calls now wait for the deadline of ten seconds, to send the late request.
    assert!(wait_until(Duration::from_secs(8), || states().len() == 2), "{:?}", states());
    let signalled = std::process::Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    assert_eq!(wait_for_exit(&mut run, Duration::from_secs(30)), Some(1));
    assert_eq!(states(), ["cancelled"; 2]);
    let report: Value = serde_json::from_reader(run.stdout.take().unwrap()).unwrap();
    assert!(report["stop_reason"].as_str().unwrap().contains("canceled"), "{report}");
}
