//! The commands for events, signatures and requests: their output and exit codes.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::Command;

use serde_json::json;

use crate::support::bodies::{event_body, sample_path, sample_payload};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, OTHER_KEY, now_ms, sign_with};
use crate::support::test_env::TestEnv;

fn start_with_events(names: &[(&str, &str)]) -> (TestEnv, ReceiverProcess) {
    let home = TestEnv::new();
    let server = home.start_server();
    for (name, call_id) in names {
        assert_eq!(server.post_signed(&event_body(name, call_id)).status, 200);
    }
    (home, server)
}

#[test]
fn wrong_usage_exits_with_2() {
    let home = TestEnv::new();
    let table: [&[&str]; 8] = [
        &["nonsense"],
        &["send"],
        &["send", "unknown_event"],
        &["send", "call_ended", "--file", "x"],
        &["events"],
        &["events", "list", "--limit", "many"],
        &["events", "show", "not-an-id"],
        &["verify"],
    ];
    for args in table {
        let ran = home.run(args);
        assert_eq!(ran.exit_code, Some(2), "{args:?}: {ran:?}");
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{ran:?}");
    }
    let ran = home.run(&["send", "unknown_event"]);
    assert!(ran.stderr.contains("call_ended") && ran.stderr.contains("--file"), "{ran:?}");
    assert!(home.run_ok(&["--help"]).stdout.contains("RETELL_API_KEY"));
    assert!(home.run_ok(&["--version"]).stdout.starts_with("retell-webhook "));
}

#[test]
fn without_a_store_lists_fail_with_advice() {
    let home = TestEnv::new();
    for args in [&["events", "list"], &["events", "export"], &["calls", "list"]] {
        let ran = home.run(args);
        assert_eq!(ran.exit_code, Some(1), "{ran:?}");
        assert!(ran.stdout.is_empty() && ran.stderr.contains("retell-webhook serve"), "{ran:?}");
    }
    assert!(!home.path().join("data").exists(), "reading commands create nothing");
}

#[test]
fn lists_are_tables_or_one_json_array() {
    let (home, _server) = start_with_events(&[]);
    for noun in ["events", "calls"] {
        assert_eq!(home.run_ok(&[noun, "list", "--json"]).json(), json!([]));
        assert!(home.run_ok(&[noun, "list"]).stdout.contains("retell-webhook send"));
    }
    let (home, _server) =
        start_with_events(&[("call_started", "call_1"), ("call_ended", "call_1"), ("call_ended", "call_2")]);
    let rows = home.list_events(&[]);
    let names: Vec<_> =
        rows.iter().map(|row| (row["event"].as_str().unwrap(), row["call_id"].as_str().unwrap())).collect();
    assert_eq!(names, [("call_ended", "call_2"), ("call_ended", "call_1"), ("call_started", "call_1")], "newest first");
    let table = home.run_ok(&["events", "list"]).stdout;
    assert!(table.starts_with("RECEIVED ") && table.lines().count() == 4, "{table}");
    let first_row = table.lines().nth(1).unwrap();
    assert_eq!(first_row.find("Z  evt_"), Some("2026-11-21 10:04:05".len()), "the zone is shown: {table}");
}

#[test]
fn times_are_shown_and_read_in_the_local_zone_on_request() {
    let (home, _server) = start_with_events(&[("call_ended", "call_1")]);
    let home = home.with_env("TZ", "Asia/Kolkata");
    let received = |args: &[&str]| {
        let table = home.run_ok(args).stdout;
        table.lines().nth(1).unwrap_or_default().split("  ").next().unwrap().to_owned()
    };
    let (utc, local) = (received(&["events", "list"]), received(&["events", "list", "--local"]));
    assert!(utc.ends_with('Z') && local.ends_with("+05:30"), "{utc} {local}");
    assert_eq!(received(&["--local", "events", "list"]), local, "the option is accepted before the command");
    // The time without its offset is read in the zone in which it was printed.
    let shown = local.trim_end_matches("+05:30");
    assert_eq!(received(&["events", "list", "--local", "--since", shown]), local);
    assert_eq!(home.run_ok(&["events", "list", "--json", "--since", shown]).json(), json!([]), "5:30 h later in UTC");
}

#[test]
fn tables_fit_the_terminal() {
    let long_id = format!("call_{}", "7".repeat(250));
    let (home, _server) = start_with_events(&[("call_ended", &long_id), ("call_ended", "call_2")]);
    for columns in [60, 80, 120, 200] {
        for list in ["events list", "calls list", "deliveries list"] {
            let Some(printed) = run_in_terminal(&home, list, columns) else {
                println!("skipped: no `script` of util-linux on this machine");
                return;
            };
            // Records have one line per cell.
            let is_table = printed.lines().next().unwrap().split_whitespace().count() > 3;
            let too_long = printed.lines().find(|line| line.chars().count() > columns && is_table);
            assert_eq!(too_long, None, "{list} in {columns} columns");
            assert!(list == "deliveries list" || printed.contains("call_2"), "{printed}");
        }
    }
    let piped = home.run_ok(&["events", "list"]).stdout;
    let lengths: Vec<_> = piped.lines().map(|line| line.chars().count()).collect();
    assert!(lengths[0] < 140 && lengths[1] < 140 && lengths[2] > 250, "{piped}");
}

/// What a command prints in a terminal of this width; `None` on a machine without the `script` command of util-linux.
fn run_in_terminal(home: &TestEnv, command: &str, columns: usize) -> Option<String> {
    let version = Command::new("script").arg("--version").output().ok()?;
    if !String::from_utf8_lossy(&version.stdout).contains("util-linux") {
        return None;
    }
    let program = home.command(&[]);
    let run = format!("stty cols {columns} && exec '{}' {command}", program.get_program().to_string_lossy());
    let mut script = Command::new("script");
    script.args(["-qefc", &run, "/dev/null"]).current_dir(home.path()).env_clear();
    script.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.env("TERM", "xterm").env("SHELL", "/bin/sh").env("PATH", "/usr/bin:/bin");
    let output = script.output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap().replace('\r', ""))
}

#[test]
fn lists_can_be_filtered() {
    let (home, server) =
        start_with_events(&[("call_started", "call_1"), ("call_ended", "call_1"), ("call_ended", "call_2")]);
    server.post_signed(b"[]");
    let count = |filter: &[&str]| home.list_events(filter).len();
    assert_eq!(count(&[]), 4);
    assert_eq!(count(&["--event", "call_ended"]), 2);
    assert_eq!(count(&["--call", "call_1"]), 2);
    assert_eq!(count(&["--call", "call_1", "--event", "call_ended"]), 1);
    assert_eq!(count(&["--unparsed"]), 1);
    assert_eq!(count(&["--limit", "3"]), 3);
    assert_eq!(count(&["--since", "1h"]), 4);
    assert_eq!(count(&["--since", "2999-01-01T00:00:00Z"]), 0);
    assert_eq!(count(&["--event", "nothing"]), 0);
    let ran = home.run(&["events", "list", "--since", "yesterday"]);
    assert_eq!(ran.exit_code, Some(2), "{ran:?}");
    let exported = home.run_ok(&["events", "export", "--event", "call_ended", "--limit", "1"]).stdout;
    assert_eq!(exported.lines().count(), 1);
}

#[test]
fn export_prints_one_line_per_event_with_its_bytes() {
    let (home, server) = start_with_events(&[("call_ended", "call_1")]);
    server.post_signed(b"\xff\0");
    let exported = home.export_events();
    assert_eq!(exported.len(), 2);
    for event in &exported {
        let keys: BTreeSet<_> = event.json.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["id", "company", "event", "received_at_ms", "headers", "body_base64"];
        assert_eq!(keys, BTreeSet::from(expected));
        assert!(event.json["id"].as_str().unwrap().starts_with("evt_"));
        assert_eq!(event.json["company"], "default");
        assert!((now_ms() - event.json["received_at_ms"].as_i64().unwrap()).abs() < 60_000);
        assert_eq!(event.json["headers"]["content-type"], "application/json");
        assert!(event.signature().unwrap().starts_with("v="));
    }
    assert_eq!((exported[0].event(), exported[1].event()), (Some("call_ended"), None));
    assert_eq!(exported[1].body, b"\xff\0");
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let (home, server) = start_with_events(&[]);
    let bodies =
        (0..60).map(|number| [event_body("call_ended", &format!("call_{number}")), vec![b' '; 20_000]].concat());
    bodies.for_each(|body| assert_eq!(server.post_signed(&body).status, 200));
    for args in [&["events", "export"][..], &["events", "list", "--json", "--limit", "60"]] {
        let mut child = home.command(args).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        drop(out);
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!((child.wait().unwrap().code(), errors.as_str()), (Some(0), ""), "{args:?}");
        assert!(!line.is_empty());
    }
}

#[test]
fn show_prints_an_event_and_its_body() {
    let (home, server) = start_with_events(&[]);
    let body = sample_payload("05_");
    server.post_signed(&body);
    let id = home.list_events(&[])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(home.run_ok(&["events", "show", &id, "--body"]).stdout.into_bytes(), body);
    let shown = home.run_ok(&["events", "show", &id]).stdout;
    assert!(shown.contains("call_analyzed") && shown.contains("call_3e4f5a6b7c8d9e0f1a2b3c4d5e6"), "{shown}");
    assert_eq!(home.run_ok(&["events", "show", &id, "--json"]).json()["size_bytes"], body.len());
    let missing = "evt_01890000-0000-7000-8000-000000000000";
    let ran = home.run(&["events", "show", missing]);
    assert_eq!((ran.exit_code, ran.stderr.contains(missing)), (Some(1), true), "{ran:?}");
    assert_eq!(home.run(&["calls", "show", "call_nowhere"]).exit_code, Some(1));
}

#[test]
fn sign_then_verify() {
    let home = TestEnv::new();
    let body = sample_payload("02_");
    let file = sample_path("02_").display().to_string();
    let header = home.run_with_input(&["sign"], &body).stdout.trim().to_owned();
    let ran = home.run_ok(&["verify", "--file", &file, "--header", &header]);
    assert!(ran.stdout.starts_with("valid: signed by key "), "{ran:?}");
    let at = home.run_ok(&["sign", "--file", &file, "--at-ms", "1790000000000"]).stdout;
    assert_eq!(at.trim(), sign_with(KEY, &body, 1_790_000_000_000));
    let then = ["verify", "--file", &file, "--header", at.trim(), "--at-ms", "1790000300000"];
    assert!(home.run_ok(&then).stdout.starts_with("valid"));
}

#[test]
fn verify_explains_why_a_signature_is_invalid() {
    let home = TestEnv::new();
    let verify = |header: &str| {
        let ran = home.run_with_input(&["verify", "--header", header], b"{}");
        assert_eq!(ran.exit_code, Some(1), "{ran:?}");
        assert!(ran.stdout.starts_with("invalid: "), "{ran:?}");
        ran.stdout
    };
    let now = now_ms();
    assert!(verify(&sign_with(OTHER_KEY, b"{}", now)).contains("key"));
    let stale = verify(&sign_with(KEY, b"{}", now - 400_000));
    assert!(stale.contains("apart from its age it is valid"), "{stale}");
    assert!(verify(&sign_with(OTHER_KEY, b"{}", now - 400_000)).contains("does not match either"));
    let past = verify(&sign_with(KEY, b"{}", now - 400_000));
    let future = verify(&sign_with(KEY, b"{}", now + 400_000));
    assert_ne!(past, future, "the direction is part of the diagnosis");
    assert!(verify("nonsense").contains("malformed"));
    let right = sign_with(KEY, b"{}", now);
    let right_mac = &right[right.len() - 64..];
    assert!(!verify(&sign_with(OTHER_KEY, b"{}", now)).contains(right_mac), "the right MAC is never shown");
}

#[test]
fn sign_without_a_key_names_the_setting() {
    let ran = TestEnv::without_key().run_with_input(&["sign"], b"{}");
    assert_eq!(ran.exit_code, Some(1));
    assert!(ran.stderr.contains("RETELL_API_KEY"), "{ran:?}");
}

#[test]
fn health_reports_readiness_by_exit_code() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__SERVER__PORT", "1");
    let ran = home.run(&["health"]);
    assert_eq!(ran.exit_code, Some(1));
    assert!(ran.stderr.contains("is the receiver running"), "{ran:?}");
    let home = TestEnv::new();
    let server = home.start_server();
    assert!(home.run_ok(&["health", "--url", &server.url()]).stdout.contains("ok"));
    let unready = TestEnv::without_key().with_env("SERVER_URL", "https://example.ngrok.app");
    let server = unready.start_server();
    assert_eq!(unready.run(&["health", "--url", &server.url()]).exit_code, Some(1));
}

#[test]
fn send_delivers_samples_and_files() {
    let (home, server) = start_with_events(&[]);
    let url = server.url();
    let file = sample_path("07_").display().to_string();
    for name in ["call_started", "call_ended", "call_analyzed", "chat_ended", "call_inbound", "alert_triggered"] {
        let ran = home.run_ok(&["send", name, "--to", &url]);
        assert!(ran.stdout.starts_with("200 "), "{ran:?}");
    }
    let ran = home.run_ok(&["send", "--file", &file, "--to", &format!("{url}/webhook"), "--json"]);
    assert_eq!(ran.json()["status"], 200);
    let exported = home.export_events();
    assert_eq!(exported.len(), 7);
    assert_eq!(exported[6].body, sample_payload("07_"));
    assert!(exported[..3].iter().all(|event| event.call_id().unwrap().starts_with("call_test_")));
    assert!(home.list_events(&["--unparsed"]).is_empty());
}

#[test]
fn send_fails_when_it_is_rejected_or_gets_no_response() {
    let (home, server) = start_with_events(&[]);
    let other_sender = TestEnv::without_key().with_env("RETELL_API_KEY", OTHER_KEY);
    let ran = other_sender.run(&["send", "call_ended", "--to", &server.url()]);
    assert_eq!((ran.exit_code, ran.stdout.starts_with("401 ")), (Some(1), true), "{ran:?}");
    let ran = home.run(&["send", "call_ended", "--to", "http://127.0.0.1:1"]);
    assert_eq!((ran.exit_code, ran.stderr.contains("is the receiver running")), (Some(1), true), "{ran:?}");
    for (to, code) in [("ftp://127.0.0.1", 1), ("not a url", 1)] {
        assert_eq!(home.run(&["send", "call_ended", "--to", to]).exit_code, Some(code), "{to}");
    }
    assert_eq!(home.run(&["send", "--file", "nowhere.json", "--to", &server.url()]).exit_code, Some(1));
    assert!(home.export_events().is_empty());
}
