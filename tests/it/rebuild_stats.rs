//! Statistics from totals: `doctor --store` finds damaged ones, `rebuild-stats` corrects them, and totals follow what
//! `erase` deletes.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::bodies::event_body;
use crate::support::client::post_to;
use crate::support::destination::DestinationServer;
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, now_ms, sign_with};
use crate::support::test_env::{CommandOutput, TestEnv};
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// Three calls, each delivered to three handlers (`log` is always there), and two invocations.
fn start_with_data(sink: &DestinationServer) -> (TestEnv, ReceiverProcess) {
    let home = TestEnv::new();
    home.write_config(&format!(
        "[[handlers]]\nname = \"calls\"\nkind = \"call_store\"\n\
         [[handlers]]\nname = \"crm\"\nkind = \"forward\"\nurl = \"{url}/events\"\n\
         [[functions]]\nname = \"weather\"\nurl = \"{url}/f\"\n",
        url = sink.url()
    ));
    let server = home.start_server();
    for call in ["call_1", "call_2", "call_3"] {
        assert_eq!(server.post_signed(&event_body("call_ended", call)).status, 200);
    }
    for call in ["call_1", "call_2"] {
        let body = json!({ "name": "weather", "call": { "call_id": call }, "args": {} }).to_string();
        let signature = sign_with(KEY, body.as_bytes(), now_ms());
        let answer = post_to(server.address(), "/api/v1/function/weather", body.as_bytes(), &signature);
        assert_eq!(answer.status, 200);
    }
    let counted = || ["calls", "deliveries", "functions"].map(|noun| count(&home, noun));
    assert!(wait_until(WAIT_LIMIT, || counted() == [3, 9, 2]), "{:?}", counted());
    (home, server)
}

fn stats(home: &TestEnv, noun: &str) -> Value {
    home.run_ok(&[noun, "stats", "--json"]).json()
}

/// The number of calls, attempts or invocations in the statistics.
fn count(home: &TestEnv, noun: &str) -> u64 {
    let stats = stats(home, noun);
    let of_calls = stats["total"]["count"].as_u64();
    of_calls.unwrap_or_else(|| {
        stats["groups"].as_array().unwrap().iter().map(|group| group["count"].as_u64().unwrap()).sum()
    })
}

fn store_findings(ran: &CommandOutput) -> Vec<String> {
    let findings = ran.json();
    let about_files = findings.as_array().unwrap().iter().filter(|finding| finding["check"] == "store files");
    about_files.map(|finding| format!("{}: {}", finding["level"], finding["text"])).collect()
}

/// Damages totals by SQL, and lets the commands find and correct the damage.
fn damage_and_rebuild(home: &TestEnv, noun: &str, conn: &Connection, damage: &str, rebuilt: &str) {
    let expected = stats(home, noun);
    let doctor = || home.run(&["doctor", "--store", "--json"]);
    assert!(!doctor().stdout.contains("rebuild-stats"), "{:?}", doctor());
    conn.execute_batch(damage).unwrap();
    assert_ne!(stats(home, noun), expected);
    let ran = doctor();
    let findings = store_findings(&ran);
    assert_eq!((ran.exit_code, findings.len()), (Some(1), 1), "{findings:?}");
    let remedy = format!("so statistics are wrong; correct them with `{noun} rebuild-stats`");
    assert!(findings[0].starts_with("\"problem\"") && findings[0].contains(&remedy), "{findings:?}");
    let printed = home.run_ok(&[noun, "rebuild-stats"]).stdout;
    assert!(printed.starts_with(rebuilt) && printed.contains("corrected"), "{printed}");
    assert_eq!(stats(home, noun), expected);
    assert!(!doctor().stdout.contains("rebuild-stats"), "{:?}", doctor());
    let again = home.run_ok(&[noun, "rebuild-stats", "--json"]).json();
    assert_eq!(again["corrected_totals"], 0, "{again}");
}

#[test]
fn damaged_totals_are_found_and_corrected_while_the_receiver_runs() {
    let sink = DestinationServer::start();
    let (home, _server) = start_with_data(&sink);
    let (store, ledger) = (home.open_database(), home.open_invocation_ledger());
    let damage = "UPDATE call_totals SET calls = calls + 2 WHERE span > 1; DELETE FROM call_totals WHERE span = 1";
    damage_and_rebuild(&home, "calls", &store, damage, "3 calls and chats counted, ");
    let damage = "UPDATE attempt_totals SET count = count + 7 WHERE name = 'crm';
                  INSERT INTO attempt_totals VALUES (0, 24, 20000, 'gone', 'done', 1, 1)";
    damage_and_rebuild(&home, "deliveries", &store, damage, "9 attempts counted, ");
    damage_and_rebuild(&home, "functions", &ledger, "DELETE FROM invocation_totals", "2 invocations counted, ");
}

#[test]
fn totals_follow_what_is_erased() {
    let sink = DestinationServer::start();
    let (home, _server) = start_with_data(&sink);
    home.run_ok(&["erase", "--call", "call_1", "--yes"]);
    assert_eq!(["calls", "deliveries", "functions"].map(|noun| count(&home, noun)), [2, 6, 1]);
}
