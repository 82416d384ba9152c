//! The log: the lines in `logs/app.log` and on standard output, and what debug level adds.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bodies::{event_body, sample_payload};
use crate::support::client::{RawClient, post, request, request_head};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{OTHER_KEY, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

fn current_log_path(home: &TestEnv) -> PathBuf {
    home.path().join("logs/app.log")
}

fn read_log(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Sends a new event, a duplicate, an unparsed event, a rejected request and an unreadable one.
fn send_traffic(server: &ReceiverProcess, call_id: &str) {
    let body = event_body("call_ended", call_id);
    for _ in 0..2 {
        assert_eq!(server.post_signed(&body).status, 200);
    }
    assert_eq!(server.post_signed(b"not JSON").status, 200);
    assert_eq!(post(server.address(), &body, &sign_with(OTHER_KEY, &body, now_ms())).status, 401);
    let declared = request_head("POST", "/webhook", &[("X-Retell-Signature", &sign(b"x"))], Some(20_000_000));
    let mut client = RawClient::connect(server.address());
    client.send(declared.as_bytes()).unwrap();
    assert_eq!(client.read_response().unwrap().status, 413);
}

fn wait_for_log_lines(path: &Path, wanted: &[&str]) {
    let all_logged = wait_until(Duration::from_secs(10), || wanted.iter().all(|text| read_log(path).contains(text)));
    assert!(all_logged, "{wanted:?} not all in:\n{}", read_log(path));
}

#[test]
fn the_current_file_has_all_lines_without_colors_and_is_private() {
    let home = TestEnv::new();
    let server = home.start_server();
    send_traffic(&server, "call_1");
    let path = current_log_path(&home);
    wait_for_log_lines(
        &path,
        &[
            "webhook event event=call_ended",
            "webhook event unparsed",
            "webhook request rejected",
            "webhook request refused",
        ],
    );
    let text = read_log(&path);
    assert!(!text.contains('\u{1b}'), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("webhook")).count(), 7, "{text}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
}

#[test]
fn a_restart_continues_the_file_and_rotates_an_old_one() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    send_traffic(&server, "call_2");
    assert!(server.wait_for_output("webhook event event=call_ended"));
    server.stop();
    let path = current_log_path(&home);
    let before = read_log(&path);
    assert!(before.contains("webhook event event=call_ended"));
    drop(home.start_server());
    assert!(read_log(&path).starts_with(&before));
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    fs::File::options().append(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    let mut server = home.start_server();
    send_traffic(&server, "call_3");
    assert!(server.wait_for_output("webhook event event=call_ended"));
    server.stop();
    let rotated = home.path().join("logs/app.log.2026-09-21");
    assert!(
        read_log(&rotated).starts_with(&before),
        "{:?}",
        fs::read_dir(home.path().join("logs")).unwrap().collect::<Vec<_>>()
    );
    assert!(read_log(&path).contains("webhook event event=call_ended") && !read_log(&path).starts_with(&before));
}

#[test]
fn json_lines_are_json_in_both_outputs() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__FORMAT", "json");
    let mut server = home.start_server();
    send_traffic(&server, "call_4");
    assert_eq!(server.stop(), Some(0));
    for text in [server.output(), read_log(&current_log_path(&home))] {
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let rejected = lines.iter().find(|line| line["message"].as_str().unwrap().contains("webhook request rejected"));
        assert_eq!(rejected.unwrap()["level"], "WARN");
    }
}

#[test]
fn the_folder_can_be_changed_and_the_file_turned_off() {
    let mut home = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__DIR", "other/place");
    let server = home.start_server();
    send_traffic(&server, "call_5");
    wait_for_log_lines(&home.path().join("other/place/app.log"), &["webhook event event=call_ended"]);
    drop(server);
    home.set_env("RETELL_WEBHOOK__LOG__DIR", "off");
    let server = home.start_server();
    send_traffic(&server, "call_6");
    assert!(server.wait_for_output("webhook event event=call_ended"));
    assert!(!home.path().join("logs").exists() && !home.path().join("off").exists());
}

#[test]
fn a_log_folder_that_cannot_be_written_is_only_a_warning() {
    let home = TestEnv::new();
    fs::write(home.path().join("logs"), "a file in the way").unwrap();
    let server = home.start_server();
    send_traffic(&server, "call_7");
    assert!(server.wait_for_output("log file unavailable"), "{}", server.output());
    assert!(server.wait_for_output("webhook event event=call_ended"));
}

#[test]
fn debug_level_logs_headers_and_body_fields_without_values() {
    let home = TestEnv::new().with_env("DEBUG", "true");
    let mut server = home.start_server();
    let body = sample_payload("05_");
    assert_eq!(server.post_signed(&body).status, 200);
    assert_eq!(server.stop(), Some(0));
    for text in [server.output(), read_log(&current_log_path(&home))] {
        let line = |wanted: &str| text.lines().find(|line| line.contains(wanted)).unwrap_or_else(|| panic!("{text}"));
        let head = line("webhook request head");
        assert!(head.contains("content-type: application/json") && head.contains("/api/v1/webhook/retell"), "{head}");
        assert!(head.contains("x-retell-signature: text of 82 bytes"), "{head}");
        let told = line("webhook body");
        assert!(told.contains("shape=call_analyzed {event: string of 13 bytes, call: {"), "{told}");
        assert!(told.contains("transcript: string of ") && told.contains("company=default"), "{told}");
    }
}

#[test]
fn without_debug_level_neither_head_nor_body_is_logged() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    assert_eq!(server.post_signed(&sample_payload("05_")).status, 200);
    assert_eq!(server.stop(), Some(0));
    assert!(
        !server.output().contains("webhook body")
            && !read_log(&current_log_path(&home)).contains("webhook request head")
    );
}

/// One call, step by step: received, signature verified, call id, function data, appointment created, processed.
/// Handlers work at the same time, so each has its own sequence.
const BOOKING_STEPS: [&[&str]; 2] = [
    &[
        "receiver started version= handlers=\"lines, log, call_store\" warnings=",
        "webhook signature verified key=",
        "webhook body shape=call_started",
        "webhook request completed status=200 event=\"call_started\" call_id=\"call_1\" outcome=\"stored\"",
        "webhook event routed handler=\"lines\" decision=\"received\"",
        "webhook event delivered handler=\"lines\" event=\"call_started\" call_id=\"call_1\"",
        "webhook signature verified key=",
        "function request body function=\"collect_appointment_information\" arguments=3",
        "appointment booked company=\"default\" call_id=\"call_1\" number=",
        "function answered function=\"collect_appointment_information\" call_id=\"call_1\" outcome=\"answered\"",
        "webhook request completed status=200 event=\"custom_function\" call_id=\"call_1\"",
        "webhook request completed status=200 event=\"call_ended\" call_id=\"call_1\" outcome=\"stored\"",
        "webhook event delivered handler=\"lines\" event=\"call_ended\" call_id=\"call_1\"",
    ],
    &[
        "webhook request completed status=200 event=\"call_started\"",
        "webhook event routed handler=\"log\" decision=\"received\"",
        "webhook event event=call_started call_id=\"call_1\"",
        "delivery succeeded handler=\"log\"",
        "webhook event routed handler=\"log\" event=\"appointment_booked\" decision=\"filtered\"",
    ],
];

/// Whether all words of the step are in the line.
fn shows_step(line: &str, step: &str) -> bool {
    let message = step.split(' ').take_while(|word| !word.contains('=')).collect::<Vec<_>>().join(" ");
    line.contains(&message) && step.split(' ').filter(|word| word.contains('=')).all(|field| line.contains(field))
}

#[test]
fn the_file_shows_each_step_of_a_call_with_a_booking() {
    for (debug, hidden) in [
        ("true", &[][..]),
        ("", &["webhook signature", "webhook body", "routed", "request body", "delivery succeeded"][..]),
    ] {
        let home = TestEnv::new().with_env("DEBUG", debug);
        home.write_config(
            "[appointments]\nenabled = true\ndays = [\"mon-sun\"]\ntime_zone = \"Europe/Berlin\"\n\
             [[handlers]]\nname = \"lines\"\nkind = \"file\"\npath = \"events.jsonl\"\n",
        );
        let mut server = home.start_server();
        let path = current_log_path(&home);
        assert_eq!(server.post_signed(&event_body("call_started", "call_1")).status, 200);
        wait_for_log_lines(&path, &["webhook event delivered", "webhook event event=call_started"]);
        let call = json!({ "call_id": "call_1", "from_number": "+12025550143" });
        let args = json!({ "name": "Ada", "date": "in 3 days", "time": "2:30 PM" });
        let name = "collect_appointment_information";
        let body = json!({ "name": name, "call": call, "args": args }).to_string().into_bytes();
        let headers = [("Content-Type", "application/json"), ("X-Retell-Signature", &*sign(&body))];
        let response = request(server.address(), "POST", &format!("/api/v1/function/{name}"), &headers, &body);
        assert_eq!(response.json()["result"], "booked");
        assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
        wait_for_log_lines(&path, &["event=\"call_ended\" call_id=\"call_1\"\n"]);
        assert_eq!(server.stop(), Some(0));
        let text = read_log(&path);
        for steps in BOOKING_STEPS {
            let mut rest = text.lines();
            for step in steps.iter().filter(|step| !hidden.iter().any(|hidden| step.contains(hidden))) {
                assert!(rest.any(|line| shows_step(line, step)), "{step} is missing or too early in\n{text}");
            }
        }
        for hidden in hidden {
            assert!(!text.contains(hidden), "{hidden}");
        }
        for personal in ["5550143", "Ada"] {
            assert!(!text.contains(personal), "{personal} in {text}");
        }
        let requests = text.lines().filter(|line| line.contains("webhook request completed")).count();
        assert_eq!(requests, 3, "`grep webhook` shows every request: {text}");
    }
}

#[test]
fn the_file_is_opened_again_after_it_was_moved() {
    let home = TestEnv::new();
    let server = home.start_server();
    send_traffic(&server, "call_1");
    let path = current_log_path(&home);
    let moved = home.path().join("logs/moved.log");
    wait_for_log_lines(&path, &["webhook request refused"]);
    fs::rename(&path, &moved).unwrap();
    let has_new_line = || {
        server.post_signed(&event_body("call_ended", "call_2"));
        read_log(&path).contains("call_2")
    };
    assert!(wait_until(Duration::from_secs(10), has_new_line), "{}", read_log(&moved));
    assert!(read_log(&moved).contains("call_1"));
}

/// The arguments of every `tracing` macro of this name in a source file, tests not included.
fn tracing_calls(source: &str, name: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut calls = Vec::new();
    for rest in source.split(&format!("tracing::{name}!(")).skip(1) {
        let mut depth = 1;
        let end = rest.find(|character| {
            depth += match character {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        });
        calls.push(rest[..end.unwrap()].to_owned());
    }
    calls
}

/// The messages that are logged at ERROR, WARN or INFO. Messages with values in them, as at start, are left out.
fn logged_messages(folder: &Path, messages: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            logged_messages(&path, messages);
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        for call in ["error", "warn", "info"].into_iter().flat_map(|level| tracing_calls(&source, level)) {
            let message = call.rsplit('"').nth(1).unwrap_or_else(|| panic!("{}: {call}", path.display()));
            if !message.contains('{') {
                messages.insert(message.to_owned());
            }
        }
    }
}

#[test]
fn the_documentation_lists_exactly_the_messages() {
    let mut logged = BTreeSet::new();
    logged_messages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut logged);
    let page = include_str!("../../docs/logging.md");
    let (_, section) = page.split_once("## Messages").unwrap();
    let (section, _) = section.split_once("## Fields").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<String> = rows.map(|row| row.split('`').next().unwrap().to_owned()).collect();
    assert_eq!(documented, logged);
}
