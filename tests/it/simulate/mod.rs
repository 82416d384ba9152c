//! `simulate`: its events arrive as expected, and events that are missing in the store are reported.

mod appointment;

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::support::local::RouterServer;
use crate::support::server::ReceiverProcess;
use crate::support::signing::OTHER_KEY;
use crate::support::test_env::{ExportedEvent, TestEnv};

const SCENARIOS: [&str; 11] = [
    "happy",
    "failed-dial",
    "transfers",
    "transcript-storm",
    "duplicates",
    "retries",
    "analyzed-first",
    "long-call",
    "chat",
    "revision",
    "appointment",
];

fn start_server() -> (TestEnv, ReceiverProcess) {
    let home = TestEnv::new();
    let server = home.start_server();
    (home, server)
}

/// The names of all stored events in order, with ` revision` and the number of duplicates.
fn stored_event_names(home: &TestEnv) -> Vec<String> {
    let mut rows = home.list_events(&["--limit", "1000"]);
    rows.reverse();
    let name = |row: &Value| {
        let mark = if row["revision_of"].is_null() { "" } else { " revision" };
        let event = row["event"].as_str().unwrap();
        match row["duplicates"].as_u64().unwrap() {
            0 => format!("{event}{mark}"),
            duplicates => format!("{event}{mark} +{duplicates}"),
        }
    };
    rows.iter().map(name).collect()
}

fn simulate(home: &TestEnv, server: &ReceiverProcess, args: &[&str]) -> Value {
    home.run_ok(&[&["simulate", "--to", &server.url(), "--json"], args].concat()).json()
}

#[test]
fn every_scenario_stores_its_events_in_order() {
    let usual = ["call_started", "call_ended", "call_analyzed"].map(str::to_owned);
    let [started, ended, analyzed] = usual.clone();
    let updated = "transcript_updated".to_owned();
    let storm = [vec![started.clone()], vec![updated.clone(); 60], usual[1..].to_vec()].concat();
    let table: [(&str, Vec<String>); 9] = [
        ("happy", [&[started.clone()][..], &vec![updated.clone(); 3], &usual[1..]].concat()),
        ("failed-dial", usual[1..].to_vec()),
        (
            "transfers",
            [
                "call_started",
                "transfer_started",
                "transfer_cancelled",
                "transfer_started",
                "transfer_bridged",
                "call_ended",
                "call_analyzed",
                "transfer_ended",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
        ("transcript-storm", storm),
        ("duplicates", vec![started.clone(), format!("{ended} +1"), format!("{analyzed} +1")]),
        ("retries", vec![started.clone(), format!("{ended} +2"), format!("{analyzed} +2")]),
        ("analyzed-first", vec![started.clone(), analyzed.clone(), ended.clone()]),
        ("chat", ["chat_started", "chat_ended", "chat_analyzed"].map(str::to_owned).to_vec()),
        ("revision", vec![started, ended, analyzed.clone(), format!("{analyzed} revision")]),
    ];
    for (scenario, events) in table {
        let (home, server) = start_server();
        let report = simulate(&home, &server, &[scenario, "--calls", "1"]);
        assert_eq!(stored_event_names(&home), events, "{scenario}");
        assert_eq!((&report["ok"], &report["store"]["checked"]), (&json!(true), &json!(true)), "{report}");
        assert_eq!(report["store"]["found"], events.len(), "{report}");
        let ids: Vec<_> = home.list_events(&[]).iter().map(|row| row["call_id"].as_str().unwrap().to_owned()).collect();
        let prefix = if scenario == "chat" { "chat_test_" } else { "call_test_" };
        assert!(ids[0].starts_with(prefix) && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

#[test]
fn an_hour_long_call_has_a_body_of_more_than_a_megabyte() {
    let (home, server) = start_server();
    simulate(&home, &server, &["long-call", "--calls", "1"]);
    let rows = home.list_events(&["--event", "call_analyzed"]);
    assert!((1_150_000..1_350_000).contains(&rows[0]["size_bytes"].as_u64().unwrap()), "{rows:?}");
}

/// The bodies that a run stored. Everything that differs between runs is masked: the 27 digits of ids, and times (13
/// digits).
fn masked_bodies(home: &TestEnv) -> Vec<String> {
    let masked = |event: &ExportedEvent| {
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        let id = body["chat"]["chat_id"].as_str().or(body["call"]["call_id"].as_str()).unwrap();
        let text = body.to_string().replace(&id["call_test_".len()..], "ID");
        let parts = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == 13);
        parts.fold(text.clone(), |text, time| text.replace(time, "TIME"))
    };
    let mut bodies: Vec<_> = home.export_events().iter().map(masked).collect();
    bodies.sort();
    bodies
}

#[test]
fn equal_seeds_give_equal_conversations_with_different_ids() {
    let runs = ["7", "7", "8"].map(|seed| {
        let (home, server) = start_server();
        let report =
            simulate(&home, &server, &["--calls", "12", "--seed", seed, "happy", "failed-dial", "chat", "transfers"]);
        assert_eq!(report["seed"].to_string(), seed);
        let ids = home.list_events(&[]).iter().map(|row| row["call_id"].to_string()).collect::<Vec<_>>();
        (masked_bodies(&home), ids)
    });
    assert_eq!(runs[0].0, runs[1].0);
    assert_ne!(runs[0].0, runs[2].0);
    assert!(runs[0].1.iter().all(|id| !runs[1].1.contains(id)));
}

#[test]
fn a_mix_is_reported_by_scenario_and_event_and_found_in_the_store() {
    let (home, server) = start_server();
    let url = server.url();
    let ran = home.run_ok(&["simulate", "--to", &url, "--rate", "100"]);
    for scenario in SCENARIOS.into_iter().filter(|name| *name != "appointment") {
        assert!(ran.stdout.contains(scenario), "{scenario}: {ran:?}");
    }
    assert!(ran.stdout.contains("acknowledged events are stored") && ran.stdout.contains("p99"), "{ran:?}");
    assert!(ran.stdout.contains("6 duplicates counted, 1 revisions marked"), "{ran:?}");
    let seed = ran.stderr.trim().rsplit(' ').next().unwrap();
    assert!(seed.parse::<u64>().is_ok() && ran.stdout.contains(seed), "{ran:?}");
    let report = simulate(&home, &server, &[]);
    let sum =
        |key: &str| report["events"].as_array().unwrap().iter().map(|row| row[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("sent"), sum("stored") + sum("duplicate"));
    assert_eq!((sum("duplicate"), sum("in_store")), (6, sum("stored")));
    assert_eq!(home.export_events().len() as u64, 2 * sum("stored"), "the first run stored the same number");
}

#[test]
fn effects_are_requested_in_the_query() {
    let (home, server) = start_server();
    for (args, query) in [(&["--effects"][..], json!("effects=true")), (&[], Value::Null)] {
        simulate(&home, &server, &[&["failed-dial", "--calls", "1"], args].concat());
        assert_eq!(home.list_events(&["--limit", "1"])[0]["query"], query);
    }
}

#[test]
fn a_company_has_its_own_route_and_key() {
    let home = TestEnv::new();
    std::fs::create_dir(home.path().join("config")).unwrap();
    let company = format!("[[companies]]\nslug = \"acme\"\nkeys = [\"{OTHER_KEY}\"]\n");
    std::fs::write(home.path().join("config/local.toml"), company).unwrap();
    let server = home.start_server();
    let report = simulate(&home, &server, &["chat", "--calls", "2", "--company", "acme"]);
    assert_eq!(report["store"]["found"], 6, "{report}");
    assert!(home.list_events(&[]).iter().all(|row| row["company"] == "acme"));
}

#[test]
fn scenarios_are_listed_and_invalid_arguments_are_rejected() {
    let home = TestEnv::new();
    let rows = home.run_ok(&["simulate", "--list", "--json"]).json();
    let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, SCENARIOS);
    assert!(home.run_ok(&["simulate", "--list"]).stdout.contains("A call of one hour"));
    for invalid in [&["simulate", "nonsense"][..], &["simulate", "--calls", "0"], &["simulate", "--rate", "0"]] {
        assert_eq!(home.run(invalid).exit_code, Some(2), "{invalid:?}");
    }
}

#[test]
fn a_receiver_that_is_down_or_has_another_key_is_reported() {
    let home = TestEnv::new();
    let ran = home.run(&["simulate", "--to", "http://127.0.0.1:1"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("is the receiver running"), "{ran:?}");
    let (home, server) = start_server();
    let stranger = TestEnv::without_key().with_env("RETELL_API_KEY", OTHER_KEY);
    let ran = stranger.run(&["simulate", "--to", &server.url(), "--calls", "40"]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("status 401"), "{ran:?}");
    assert!(ran.stdout.contains("another key") && ran.stdout.contains("not checked"), "{ran:?}");
    assert!(home.list_events(&[]).is_empty());
}

#[test]
fn more_than_a_few_calls_to_another_machine_must_be_confirmed() {
    let home = TestEnv::new();
    for more in [&[][..], &["--yes-really"], &["--i-own-this-server"]] {
        let ran = home.run(&[&["simulate", "--to", "http://192.0.2.1", "--calls", "21"], more].concat());
        assert!(ran.exit_code == Some(1) && ran.stderr.contains("--yes-really --i-own-this-server"), "{ran:?}");
    }
}

/// A server that sends the same response to every request and stores nothing.
fn fake_receiver(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> (RouterServer, SocketAddr) {
    let routes = RouterServer::start(Router::new().fallback(move || std::future::ready(answer())));
    let address = routes.address;
    (routes, address)
}

#[test]
fn acknowledged_events_that_are_not_stored_are_reported_as_missing() {
    let (home, server) = start_server();
    let (_routes, address) = fake_receiver(|| axum::Json(json!({ "received": true })).into_response());
    let to = format!("http://{address}");
    let ran = home.run(&["simulate", "happy", "chat", "--calls", "2", "--to", &to]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("9 of 9 acknowledged events are MISSING"), "{ran:?}");
    assert!(ran.stdout.contains("WRONG  call_analyzed of call_test_"), "{ran:?}");
    let report = home.run(&["simulate", "chat", "--calls", "1", "--to", &to, "--json"]).json();
    assert_eq!((&report["ok"], &report["store"]["missing"]), (&json!(false), &json!(3)), "{report}");
    assert_eq!(report["store"]["problems"][2]["event"], "chat_analyzed", "{report}");
    drop(server);
    let elsewhere = TestEnv::new().run_ok(&["simulate", "chat", "--calls", "1", "--to", &to]);
    assert!(elsewhere.stdout.contains("not checked"), "without a store, no comparison: {elsewhere:?}");
}

#[test]
fn requests_to_a_busy_receiver_are_retried_until_the_run_stops() {
    let home = TestEnv::new();
    let (_routes, address) =
        fake_receiver(|| (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response());
    let to = format!("http://{address}");
    let ran = home.run(&["simulate", "chat", "--calls", "20", "--to", &to, "--json"]);
    let report = ran.json();
    assert_eq!((ran.exit_code, &report["ok"]), (Some(1), &json!(false)), "{report}");
    assert!(report["retries"].as_u64().unwrap() >= 3 && report["not_acknowledged"]["not sent"].is_u64(), "{report}");
    assert!(report["stop_reason"].as_str().unwrap().contains("in a row"), "{report}");
}
