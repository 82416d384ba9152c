//! `calls` and `chats`: what is listed, shown and counted, and what is hidden.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bodies::{event, sample};
use crate::support::client::post_to;
use crate::support::home::Home;
use crate::support::server::Server;
use crate::support::signing::{now_ms, sign_with};
use crate::support::wait_until;

const DAY_MS: i64 = 24 * 3_600_000;
/// 2026-11-21T00:00:00Z.
const TODAY_MS: i64 = 1_795_219_200_000;
/// What the sample of an analyzed call says in confidence.
const PRIVATE: [&str; 4] = ["moved it from Thursday", "rescheduled", "+12025550178", "+12025550199"];

fn deliver(server: &Server, event: &str, kind: &str, about: &Value) {
    let body = json!({ "event": event, kind: about }).to_string();
    assert_eq!(server.deliver(body.as_bytes()).status, 200);
}

/// Waits until the verb lists so many rows.
fn listed(home: &Home, noun: &str, rows: usize) -> Vec<Value> {
    let mut found = Vec::new();
    let in_time = wait_until(Duration::from_secs(15), || {
        found.clone_from(home.run_well(&[noun, "list", "--json"]).json().as_array().unwrap());
        found.len() == rows
    });
    assert!(in_time, "{found:?}");
    found
}

/// Calls of two agents over four days, one of a test, and one that is still on.
fn with_calls() -> (Home, Server) {
    let home = Home::new();
    let server = home.start();
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
        deliver(&server, "call_analyzed", "call", &about);
    }
    deliver(&server, "call_started", "call", &json!({ "call_id": "call_6", "start_timestamp": TODAY_MS }));
    listed(&home, "calls", 6);
    (home, server)
}

fn stats(home: &Home, args: &[&str]) -> Value {
    home.run_well(&[&["calls", "stats", "--json"], args].concat()).json()
}

fn counts(stats: &Value, by: &str) -> Vec<(String, u64)> {
    let groups = stats["by"][by].as_array().unwrap_or_else(|| panic!("{stats}"));
    let key = |group: &Value| group["key"].as_str().unwrap_or("-").to_owned();
    groups.iter().map(|group| (key(group), group["calls"].as_u64().unwrap())).collect()
}

fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(key, calls)| ((*key).to_owned(), *calls)).collect()
}

#[test]
fn calls_are_counted_by_everything_and_tests_left_out() {
    let (home, _server) = with_calls();
    let all = stats(&home, &[]);
    assert_eq!((&all["tests_left_out"], &all["time_zone"]), (&json!(1), &json!("UTC")));
    let total = json!({ "calls": 5, "duration_ms": 235_000, "average_duration_ms": 58_750, "cost_cents": "0.4",
        "judged": 4, "successful": 3, "success_rate": 0.75 });
    assert_eq!(all["total"], total);
    assert_eq!(counts(&all, "day"), pairs(&[("2026-11-18", 1), ("2026-11-20", 2), ("2026-11-21", 2)]));
    assert_eq!(counts(&all, "agent"), pairs(&[("a", 3), ("b", 1), ("-", 1)]));
    assert_eq!(counts(&all, "reason"), pairs(&[("user_hangup", 3), ("agent_hangup", 1), ("-", 1)]));
    assert_eq!(counts(&all, "sentiment"), pairs(&[("Positive", 4), ("-", 1)]));
    assert_eq!(counts(&all, "success"), pairs(&[("yes", 3), ("no", 1), ("-", 1)]));
    assert_eq!(counts(&all, "company"), pairs(&[("default", 5)]));
    assert_eq!((&all["by"]["agent"][0]["name"], &all["by"]["agent"][0]["share"]), (&json!("Agent a"), &json!(0.6)));
    let table = home.run_well(&["calls", "stats"]).stdout;
    for wanted in [
        "5 calls, 0:58 on average, 0:03:55 in total, 0.4 cents, 75 % successful of 4 judged (1 test call left out)",
        "2026-11-18 ▄·██ 2026-11-21, at most 2 a day",
        "a (Agent a)",
        "ENDED BY",
        "SUCCESSFUL",
    ] {
        assert!(table.contains(wanted), "{wanted}\n{table}");
    }
    assert!(!table.contains("COMPANY"), "one company needs no table\n{table}");
}

#[test]
fn statistics_are_narrowed() {
    let (home, _server) = with_calls();
    let narrowed = |args: &[&str]| stats(&home, args)["total"]["calls"].as_u64().unwrap();
    assert_eq!(narrowed(&["--since", "2026-11-20"]), 4);
    assert_eq!(narrowed(&["--since", "2026-11-20", "--until", "2026-11-21T00:00:00Z"]), 2);
    assert_eq!(narrowed(&["--agent", "b"]), 1);
    assert_eq!((narrowed(&["--company", "default"]), narrowed(&["--company", "nobody"])), (5, 0));
    let by_reason = stats(&home, &["--by", "reason"]);
    assert_eq!(by_reason["by"].as_object().unwrap().keys().collect::<Vec<_>>(), ["reason"]);
    let table = home.run_well(&["calls", "stats", "--by", "reason", "--agent", "a"]).stdout;
    assert!(table.contains("user_hangup   2      67 %"), "{table}");
    assert!(!table.contains('█') && !table.contains("MOOD"), "{table}");
    let none = home.run_well(&["calls", "stats", "--company", "nobody"]).stdout;
    assert_eq!(none, "no calls to count\n");
    assert_eq!(home.run(&["calls", "stats", "--by", "mood"]).code, Some(2));
}

#[test]
fn lists_mark_tests_and_can_leave_them_out() {
    let (home, _server) = with_calls();
    let table = home.run_well(&["calls", "list"]).stdout;
    let marked: Vec<_> = table.lines().filter(|line| line.ends_with(" test")).collect();
    assert!(marked.len() == 1 && marked[0].contains("call_test_5"), "{table}");
    let list = |args: &[&str]| {
        let rows = home.run_well(&[&["calls", "list", "--json"], args].concat()).json();
        rows.as_array().unwrap().iter().map(|row| row["call_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(!list(&["--no-tests"]).contains(&"call_test_5".to_owned()) && list(&["--no-tests"]).len() == 5);
    assert_eq!((list(&["--agent", "b"]), list(&["--company", "nobody"]).len()), (vec!["call_3".to_owned()], 0));
    let shown = home.run_well(&["calls", "show", "call_test_5"]).stdout;
    assert!(shown.contains("left out of statistics"), "{shown}");
}

#[test]
fn what_was_said_is_shown_only_when_asked_for() {
    let home = Home::new();
    let server = home.start();
    assert_eq!(server.deliver(&sample("05_")).status, 200);
    let id = listed(&home, "calls", 1)[0]["call_id"].as_str().unwrap().to_owned();
    let hidden: [&[&str]; 6] = [
        &["calls", "list"],
        &["calls", "list", "--json"],
        &["calls", "show", &id],
        &["calls", "show", &id, "--json"],
        &["calls", "stats"],
        &["calls", "stats", "--json"],
    ];
    for args in hidden {
        let said = home.run_well(args).stdout;
        assert!(PRIVATE.iter().all(|private| !said.contains(private)), "{args:?}: {said}");
    }
    let listed = home.run_well(&["calls", "list", "--json", "--reveal"]).stdout;
    assert!(!listed.contains(PRIVATE[0]) && !listed.contains(PRIVATE[1]), "{listed}");
    let shown = home.run_well(&["calls", "show", &id]).stdout;
    assert!(shown.contains("summary            (hidden; --reveal prints it)"), "{shown}");
    let whole: Value = serde_json::from_slice(&sample("05_")).unwrap();
    let analysis = &whole["call"]["call_analysis"];
    let plain = home.run_well(&["calls", "show", &id, "--json"]).json();
    assert_eq!((&plain["has_summary"], &plain["summary"]), (&json!(true), &Value::Null));
    let revealed = home.run_well(&["calls", "show", &id, "--json", "--reveal"]).json();
    assert_eq!(revealed["summary"], analysis["call_summary"]);
    assert_eq!(revealed["custom_analysis_data"], analysis["custom_analysis_data"]);
    assert_eq!(revealed["in_voicemail"], analysis["in_voicemail"]);
    assert_eq!(revealed["agent_version"], whole["call"]["agent_version"]);
    assert_eq!(revealed["company"], "default");
    assert!(PRIVATE.iter().all(|private| revealed.to_string().contains(private)), "the hidden is there: {revealed}");
    let text = home.run_well(&["calls", "show", &id, "--reveal"]).stdout;
    assert!(text.contains(analysis["call_summary"].as_str().unwrap()), "{text}");
    assert!(!text.contains("https://"), "the recording's address may open it: {text}");
}

#[test]
fn chats_have_rows_of_their_own() {
    let home = Home::new();
    let server = home.start();
    // In the wrong order, and beside a call of the same id.
    for prefix in ["14b_", "14_"] {
        assert_eq!(server.deliver(&sample(prefix)).status, 200);
    }
    let rows = listed(&home, "chats", 1);
    let id = rows[0]["chat_id"].as_str().unwrap().to_owned();
    deliver(&server, "call_ended", "call", &json!({ "call_id": id }));
    deliver(&server, "chat_ended", "chat", &json!({ "chat_id": "chat_test_1", "agent_id": "a" }));
    listed(&home, "calls", 1);
    listed(&home, "chats", 2);
    let sent: Value = serde_json::from_slice(&sample("14b_")).unwrap();
    let chat = home.run_well(&["chats", "show", &id, "--json", "--reveal"]).json();
    for (field, of_sample) in [("chat_status", "chat_status"), ("chat_type", "chat_type"), ("agent_id", "agent_id")] {
        assert_eq!(chat[field], sent["chat"][of_sample], "{chat}");
    }
    assert_eq!(chat["summary"], sent["chat"]["chat_analysis"]["chat_summary"]);
    for args in
        [&["chats", "show", &id][..], &["chats", "show", &id, "--json"], &["chats", "list", "--json", "--reveal"]]
    {
        let said = home.run_well(args).stdout;
        assert!(!said.contains(chat["summary"].as_str().unwrap()), "{args:?}: {said}");
    }
    assert_eq!(chat["chat_successful"], sent["chat"]["chat_analysis"]["chat_successful"]);
    assert_eq!((&chat["stage"], &chat["kind"], &chat["call_id"]), (&json!("analyzed"), &json!("chat"), &Value::Null));
    let table = home.run_well(&["chats", "list"]).stdout;
    assert!(table.contains("CHAT") && table.contains("sms_chat") && table.contains(" test\n"), "{table}");
    let stats = home.run_well(&["chats", "stats", "--json"]).json();
    assert_eq!((&stats["total"]["calls"], &stats["tests_left_out"]), (&json!(1), &json!(1)));
    assert!(stats["by"]["reason"].is_null() && stats["by"]["sentiment"][0]["calls"] == 1, "{stats}");
    assert!(home.run_well(&["chats", "stats"]).stdout.starts_with("1 chat, "));
    assert_eq!(home.run(&["chats", "stats", "--by", "reason"]).code, Some(1));
    let missing = home.run(&["chats", "show", "chat_nowhere"]);
    assert!(missing.code == Some(1) && missing.stderr.contains("chats list"), "{missing:?}");
}

#[test]
fn companies_are_counted_apart() {
    let home = Home::new();
    std::fs::create_dir(home.path().join("config")).unwrap();
    let acme = "key_acme_0123456789abcdef";
    let table = format!("[[companies]]\nslug = \"acme\"\nkeys = [\"{acme}\"]\n");
    std::fs::write(home.path().join("config/local.toml"), table).unwrap();
    let server = home.start();
    for number in 1..=2 {
        let body = event("call_ended", &format!("call_{number}"));
        let route = "/api/v1/webhook/retell/acme";
        assert_eq!(post_to(server.address(), route, &body, &sign_with(acme, &body, now_ms())).status, 200);
    }
    assert_eq!(server.deliver(&event("call_ended", "call_3")).status, 200);
    listed(&home, "calls", 3);
    assert_eq!(counts(&stats(&home, &["--by", "company"]), "company"), pairs(&[("acme", 2), ("default", 1)]));
    assert_eq!(stats(&home, &["--company", "acme"])["total"]["calls"], 2);
    let table = home.run_well(&["calls", "stats"]).stdout;
    assert!(table.contains("COMPANY") && table.contains("acme     2      67 %"), "{table}");
    let of_acme = home.run_well(&["calls", "list", "--json", "--company", "acme"]).json();
    assert!(of_acme.as_array().unwrap().len() == 2 && of_acme[0]["company"] == "acme", "{of_acme}");
}

/// The migrations of versions that knew no chats.
fn older_migrations() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_string_lossy().as_ref() < "0004");
    files.sort();
    files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn rows_of_an_older_store_are_carried_over_and_merged_into() {
    let home = Home::new();
    std::fs::create_dir(home.path().join("data")).unwrap();
    let older = home.database();
    older.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
    let migrations = older_migrations();
    for step in &migrations {
        older.execute_batch(step).unwrap();
    }
    older.pragma_update(None, "user_version", migrations.len()).unwrap();
    older
        .execute_batch(
            "INSERT INTO calls (company_id, call_id, stage, agent_id, agent_name, call_status, started_at_ms, duration_ms,
               cost_cents, transfers, first_event_at_ms, last_event_at_ms)
             VALUES (1, 'call_old', 3, 'a', 'Nora', 'ended', 1795219200000, 61000, '12.5', '{}', 1795219200000, 1795219262000)",
        )
        .unwrap();
    drop(older);
    let server = home.start();
    let row = listed(&home, "calls", 1).remove(0);
    assert_eq!(
        (&row["agent_name"], &row["duration_ms"], &row["latency_e2e"]),
        (&json!("Nora"), &json!(61_000), &Value::Null)
    );
    assert_eq!(stats(&home, &[])["total"]["cost_cents"], "12.5");
    // A late event of an earlier stage, and then the analysis.
    let late =
        json!({ "call_id": "call_old", "agent_name": "Other", "call_status": "ongoing", "direction": "inbound" });
    deliver(&server, "call_started", "call", &late);
    let analyzed =
        json!({ "call_id": "call_old", "duration_ms": 61_500, "call_analysis": { "call_summary": "Well." } });
    deliver(&server, "call_analyzed", "call", &analyzed);
    let show = || home.run_well(&["calls", "show", "call_old", "--json", "--reveal"]).json();
    assert!(wait_until(Duration::from_secs(10), || show()["summary"] == "Well."), "{}", show());
    let row = show();
    assert_eq!((&row["agent_name"], &row["call_status"]), (&json!("Nora"), &json!("ended")));
    assert_eq!((&row["direction"], &row["duration_ms"]), (&json!("inbound"), &json!(61_500)));
}

#[test]
fn the_example_in_its_page_keeps_calls() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/handlers/call_store.md")).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let home = Home::new();
    std::fs::create_dir(home.path().join("config")).unwrap();
    std::fs::write(home.path().join("config/local.toml"), example).unwrap();
    let server = home.start();
    assert!(server.output().contains("handlers   call_store\n"), "{}", server.output());
    deliver(&server, "call_ended", "call", &json!({ "call_id": "call_1" }));
    listed(&home, "calls", 1);
}
