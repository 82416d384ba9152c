//! `calls` and `chats`: lists, details and statistics, and what they hide.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bodies::{event_body, sample_payload};
use crate::support::client::post_to;
use crate::support::server::ReceiverProcess;
use crate::support::signing::{now_ms, sign_with};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const DAY_MS: i64 = 24 * 3_600_000;
/// 2026-11-21T00:00:00Z.
const TODAY_MS: i64 = 1_795_219_200_000;
/// Confidential texts of the sample `call_analyzed` event.
const PRIVATE_TEXTS: [&str; 4] = ["moved it from Thursday", "rescheduled", "+12025550178", "+12025550199"];

fn post_event(server: &ReceiverProcess, event: &str, kind: &str, about: &Value) {
    let body = json!({ "event": event, kind: about }).to_string();
    assert_eq!(server.post_signed(body.as_bytes()).status, 200);
}

/// Waits until `noun list` prints this number of rows, and returns them.
fn wait_for_rows(home: &TestEnv, noun: &str, rows: usize) -> Vec<Value> {
    let mut found = Vec::new();
    let in_time = wait_until(Duration::from_secs(15), || {
        found.clone_from(home.run_ok(&[noun, "list", "--json"]).json().as_array().unwrap());
        found.len() == rows
    });
    assert!(in_time, "{found:?}");
    found
}

/// Calls of two agents over four days, one of them a test, and one that has not ended.
fn start_with_calls() -> (TestEnv, ReceiverProcess) {
    let home = TestEnv::new();
    let server = home.start_server();
    let call = |id: &str, day: i64, agent: &str, reason: &str, successful: bool| {
        json!({ "call_id": id, "agent_id": agent, "agent_name": format!("Agent {agent}"), "call_type": "phone_call",
            "start_timestamp": TODAY_MS + day * DAY_MS + 1000, "duration_ms": 60_000 + day * 1000,
            "disconnection_reason": reason, "call_cost": { "combined_cost": 0.1 },
            "call_analysis": { "call_successful": successful, "user_sentiment": "Positive" } })
    };
    for about in [
        call("call_1", -3, "a", "user_hangup", true),
        call("call_2", -1, "a", "agent_hangup", true),
        call("call_3", -1, "b", "user_hangup", false),
        call("call_4", 0, "a", "user_hangup", true),
        call("call_test_5", 0, "a", "user_hangup", true),
    ] {
        post_event(&server, "call_analyzed", "call", &about);
    }
    post_event(&server, "call_started", "call", &json!({ "call_id": "call_6", "start_timestamp": TODAY_MS }));
    wait_for_rows(&home, "calls", 6);
    (home, server)
}

fn calls_stats(home: &TestEnv, args: &[&str]) -> Value {
    home.run_ok(&[&["calls", "stats", "--json"], args].concat()).json()
}

fn group_counts(stats: &Value, by: &str) -> Vec<(String, u64)> {
    let groups = stats["by"][by].as_array().unwrap_or_else(|| panic!("{stats}"));
    let key = |group: &Value| group["key"].as_str().unwrap_or("-").to_owned();
    groups.iter().map(|group| (key(group), group["count"].as_u64().unwrap())).collect()
}

fn owned_pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(key, calls)| ((*key).to_owned(), *calls)).collect()
}

#[test]
fn calls_are_counted_by_every_group_without_tests() {
    let (home, _server) = start_with_calls();
    let all = calls_stats(&home, &[]);
    assert_eq!((&all["tests_excluded"], &all["time_zone"]), (&json!(1), &json!("UTC")));
    let total = json!({ "count": 5, "duration_ms": 235_000, "average_duration_ms": 58_750, "cost_cents": "0.4",
        "evaluated": 4, "successful": 3, "success_rate": 0.75 });
    assert_eq!(all["total"], total);
    assert_eq!(group_counts(&all, "day"), owned_pairs(&[("2026-11-18", 1), ("2026-11-20", 2), ("2026-11-21", 2)]));
    assert_eq!(group_counts(&all, "agent"), owned_pairs(&[("a", 3), ("b", 1), ("-", 1)]));
    assert_eq!(group_counts(&all, "reason"), owned_pairs(&[("user_hangup", 3), ("agent_hangup", 1), ("-", 1)]));
    assert_eq!(group_counts(&all, "sentiment"), owned_pairs(&[("Positive", 4), ("-", 1)]));
    assert_eq!(group_counts(&all, "success"), owned_pairs(&[("yes", 3), ("no", 1), ("-", 1)]));
    assert_eq!(group_counts(&all, "company"), owned_pairs(&[("default", 5)]));
    assert_eq!((&all["by"]["agent"][0]["name"], &all["by"]["agent"][0]["share"]), (&json!("Agent a"), &json!(0.6)));
    let table = home.run_ok(&["calls", "stats"]).stdout;
    for wanted in [
        "5 calls, 0:58 on average, 0:03:55 in total, 0.4 cents, 75 % successful of 4 evaluated (1 test call excluded)",
        "2026-11-18 ▄·██ 2026-11-21, at most 2 per day",
        "a (Agent a)",
        "ENDED BY",
        "SUCCESSFUL",
    ] {
        assert!(table.contains(wanted), "{wanted}\n{table}");
    }
    assert!(!table.contains("COMPANY"), "a single company has no table\n{table}");
}

#[test]
fn statistics_can_be_filtered() {
    let (home, _server) = start_with_calls();
    let count = |args: &[&str]| calls_stats(&home, args)["total"]["count"].as_u64().unwrap();
    assert_eq!(count(&["--since", "2026-11-20"]), 4);
    assert_eq!(count(&["--since", "2026-11-20", "--until", "2026-11-21T00:00:00Z"]), 2);
    assert_eq!(count(&["--agent", "b"]), 1);
    assert_eq!((count(&["--company", "default"]), count(&["--company", "unknown"])), (5, 0));
    let by_reason = calls_stats(&home, &["--by", "reason"]);
    assert_eq!(by_reason["by"].as_object().unwrap().keys().collect::<Vec<_>>(), ["reason"]);
    let table = home.run_ok(&["calls", "stats", "--by", "reason", "--agent", "a"]).stdout;
    assert!(table.contains("user_hangup   2      67 %"), "{table}");
    assert!(!table.contains('█') && !table.contains("SENTIMENT"), "{table}");
    let none = home.run_ok(&["calls", "stats", "--company", "unknown"]).stdout;
    assert_eq!(none, "no calls to count\n");
    assert_eq!(home.run(&["calls", "stats", "--by", "mood"]).exit_code, Some(2));
}

#[test]
fn lists_mark_tests_and_can_exclude_them() {
    let (home, _server) = start_with_calls();
    let table = home.run_ok(&["calls", "list"]).stdout;
    let marked: Vec<_> = table.lines().filter(|line| line.ends_with(" test")).collect();
    assert!(marked.len() == 1 && marked[0].contains("call_test_5"), "{table}");
    let list = |args: &[&str]| {
        let rows = home.run_ok(&[&["calls", "list", "--json"], args].concat()).json();
        rows.as_array().unwrap().iter().map(|row| row["call_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(!list(&["--no-tests"]).contains(&"call_test_5".to_owned()) && list(&["--no-tests"]).len() == 5);
    assert_eq!((list(&["--agent", "b"]), list(&["--company", "unknown"]).len()), (vec!["call_3".to_owned()], 0));
    let shown = home.run_ok(&["calls", "show", "call_test_5"]).stdout;
    assert!(shown.contains("excluded from statistics"), "{shown}");
}

#[test]
fn confidential_texts_need_reveal() {
    let home = TestEnv::new();
    let server = home.start_server();
    assert_eq!(server.post_signed(&sample_payload("05_")).status, 200);
    let id = wait_for_rows(&home, "calls", 1)[0]["call_id"].as_str().unwrap().to_owned();
    let hidden: [&[&str]; 6] = [
        &["calls", "list"],
        &["calls", "list", "--json"],
        &["calls", "show", &id],
        &["calls", "show", &id, "--json"],
        &["calls", "stats"],
        &["calls", "stats", "--json"],
    ];
    for args in hidden {
        let printed = home.run_ok(args).stdout;
        assert!(PRIVATE_TEXTS.iter().all(|private| !printed.contains(private)), "{args:?}: {printed}");
    }
    let listed = home.run_ok(&["calls", "list", "--json", "--reveal"]).stdout;
    assert!(!listed.contains(PRIVATE_TEXTS[0]) && !listed.contains(PRIVATE_TEXTS[1]), "{listed}");
    let shown = home.run_ok(&["calls", "show", &id]).stdout;
    assert!(shown.contains("summary        (hidden; --reveal prints it)"), "{shown}");
    let whole: Value = serde_json::from_slice(&sample_payload("05_")).unwrap();
    let analysis = &whole["call"]["call_analysis"];
    let plain = home.run_ok(&["calls", "show", &id, "--json"]).json();
    assert_eq!((&plain["has_summary"], &plain["summary"]), (&json!(true), &Value::Null));
    let revealed = home.run_ok(&["calls", "show", &id, "--json", "--reveal"]).json();
    assert_eq!(revealed["summary"], analysis["call_summary"]);
    assert_eq!(revealed["custom_analysis_data"], analysis["custom_analysis_data"]);
    assert_eq!(revealed["in_voicemail"], analysis["in_voicemail"]);
    assert_eq!(revealed["agent_version"], whole["call"]["agent_version"]);
    assert_eq!(revealed["company"], "default");
    assert!(
        PRIVATE_TEXTS.iter().all(|private| revealed.to_string().contains(private)),
        "--reveal prints all of it: {revealed}"
    );
    let text = home.run_ok(&["calls", "show", &id, "--reveal"]).stdout;
    assert!(text.contains(analysis["call_summary"].as_str().unwrap()), "{text}");
    assert!(!text.contains("https://"), "the URL of the recording may open it: {text}");
}

#[test]
fn chats_are_separate_from_calls() {
    let home = TestEnv::new();
    let server = home.start_server();
    // In reverse order, and with a call that has the same id.
    for prefix in ["14b_", "14_"] {
        assert_eq!(server.post_signed(&sample_payload(prefix)).status, 200);
    }
    let rows = wait_for_rows(&home, "chats", 1);
    let id = rows[0]["chat_id"].as_str().unwrap().to_owned();
    post_event(&server, "call_ended", "call", &json!({ "call_id": id }));
    post_event(&server, "chat_ended", "chat", &json!({ "chat_id": "chat_test_1", "agent_id": "a" }));
    wait_for_rows(&home, "calls", 1);
    wait_for_rows(&home, "chats", 2);
    let sent: Value = serde_json::from_slice(&sample_payload("14b_")).unwrap();
    let chat = home.run_ok(&["chats", "show", &id, "--json", "--reveal"]).json();
    for (field, of_sample) in [("chat_status", "chat_status"), ("chat_type", "chat_type"), ("agent_id", "agent_id")] {
        assert_eq!(chat[field], sent["chat"][of_sample], "{chat}");
    }
    assert_eq!(chat["summary"], sent["chat"]["chat_analysis"]["chat_summary"]);
    for args in
        [&["chats", "show", &id][..], &["chats", "show", &id, "--json"], &["chats", "list", "--json", "--reveal"]]
    {
        let printed = home.run_ok(args).stdout;
        assert!(!printed.contains(chat["summary"].as_str().unwrap()), "{args:?}: {printed}");
    }
    assert_eq!(chat["chat_successful"], sent["chat"]["chat_analysis"]["chat_successful"]);
    assert_eq!((&chat["stage"], &chat["kind"], &chat["call_id"]), (&json!("analyzed"), &json!("chat"), &Value::Null));
    let table = home.run_ok(&["chats", "list"]).stdout;
    assert!(table.contains("CHAT") && table.contains("sms_chat") && table.contains(" test\n"), "{table}");
    let stats = home.run_ok(&["chats", "stats", "--json"]).json();
    assert_eq!((&stats["total"]["count"], &stats["tests_excluded"]), (&json!(1), &json!(1)));
    assert!(stats["by"]["reason"].is_null() && stats["by"]["sentiment"][0]["count"] == 1, "{stats}");
    assert!(home.run_ok(&["chats", "stats"]).stdout.starts_with("1 chat, "));
    assert_eq!(home.run(&["chats", "stats", "--by", "reason"]).exit_code, Some(1));
    let missing = home.run(&["chats", "show", "chat_nowhere"]);
    assert!(missing.exit_code == Some(1) && missing.stderr.contains("chats list"), "{missing:?}");
}

#[test]
fn companies_are_counted_separately() {
    let home = TestEnv::new();
    std::fs::create_dir(home.path().join("config")).unwrap();
    let acme = "key_acme_0123456789abcdef";
    let table = format!("[[companies]]\nslug = \"acme\"\nkeys = [\"{acme}\"]\n");
    std::fs::write(home.path().join("config/local.toml"), table).unwrap();
    let server = home.start_server();
    for number in 1..=2 {
        let body = event_body("call_ended", &format!("call_{number}"));
        let route = "/api/v1/webhook/retell/acme";
        assert_eq!(post_to(server.address(), route, &body, &sign_with(acme, &body, now_ms())).status, 200);
    }
    assert_eq!(server.post_signed(&event_body("call_ended", "call_3")).status, 200);
    wait_for_rows(&home, "calls", 3);
    assert_eq!(
        group_counts(&calls_stats(&home, &["--by", "company"]), "company"),
        owned_pairs(&[("acme", 2), ("default", 1)])
    );
    assert_eq!(calls_stats(&home, &["--company", "acme"])["total"]["count"], 2);
    let table = home.run_ok(&["calls", "stats"]).stdout;
    assert!(table.contains("COMPANY") && table.contains("acme     2      67 %"), "{table}");
    let of_acme = home.run_ok(&["calls", "list", "--json", "--company", "acme"]).json();
    assert!(of_acme.as_array().unwrap().len() == 2 && of_acme[0]["company"] == "acme", "{of_acme}");
}

#[test]
fn the_example_in_the_documentation_stores_calls() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/handlers/call_store.md")).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let home = TestEnv::new();
    std::fs::create_dir(home.path().join("config")).unwrap();
    std::fs::write(home.path().join("config/local.toml"), example).unwrap();
    let server = home.start_server();
    assert!(server.output().contains("handlers   call_store, log\n"), "{}", server.output());
    post_event(&server, "call_ended", "call", &json!({ "call_id": "call_1" }));
    wait_for_rows(&home, "calls", 1);
}
