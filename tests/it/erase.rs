//! `erase`: of one person nothing is left in any file, while the receiver runs and after it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bodies::{event_body, sample_payload};
use crate::support::client::post;
use crate::support::server::ReceiverProcess;
use crate::support::signing::now_ms;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(30);
/// The number of the samples' caller, and everything else that is only said of or by that person in [`events_of_person`].
const SUBJECT_NUMBER: &str = "+12025550143";
const SUBJECT_TEXTS: [&str; 9] = [
    "2025550143",
    "202) 555-0143",
    "202-555-0143",
    "call_0b7d2f91c4a84e6f9a31d5c2e10",
    "call_60turns0000000000000000001",
    "call_spelled",
    "call_later",
    "secret words",
    "Northwind support",
];

/// The file is put away many times; the program is beyond reach.
const HANDLERS_CONFIG: &str = r#"
[[handlers]]
name = "log"
kind = "log"
[[handlers]]
name = "calls"
kind = "call_store"
[[handlers]]
name = "lines"
kind = "file"
path = "data/events.jsonl"
rotate_bytes = 1024
[[handlers]]
name = "program"
kind = "exec"
command = ["/bin/cat"]
"#;

/// Every file below, whole.
fn read_all_files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::read_all_files(&path));
        } else {
            files.push((path.display().to_string(), std::fs::read(&path).unwrap_or_default()));
        }
    }
    files
}

fn contains_text(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Which traces are where.
fn find_subject_texts(home: &TestEnv) -> Vec<String> {
    let files = ["data", "logs"].into_iter().flat_map(|folder| read_all_files(&home.path().join(folder)));
    let found = files.flat_map(|(path, bytes)| {
        let here =
            SUBJECT_TEXTS.iter().filter(|trace| contains_text(&bytes, trace)).map(|trace| format!("{trace} in {path}"));
        here.collect::<Vec<_>>()
    });
    found.collect()
}

/// Events in which the number is, in spellings of its own, and one of the same call in which it is not.
fn subject_event_bodies() -> Vec<Vec<u8>> {
    let call = |event: &str, call: Value| json!({ "event": event, "call": call }).to_string().into_bytes();
    let spelled = ["+1 (202) 555-0143", "1-202-555-0143", "2025550143"].join(" or ");
    vec![
        sample_payload("01_"),
        sample_payload("04_"),
        sample_payload("15_"),
        call("call_started", json!({ "call_id": "call_spelled", "from_number": "anonymous", "said": spelled })),
        call("call_ended", json!({ "call_id": "call_spelled", "transcript": "User: the secret words" })),
        call("call_analyzed", json!({ "call_id": "call_spelled", "transcript": "the secret words ".repeat(5_000) })),
        br#"{"event":"call_ended","call":{"call_id":"call_later","tel":"tel:%2B1%20202%20555%200143","note":"\u002b12025550143"}}"#
            .to_vec(),
    ]
}

/// Events of others.
fn other_event_bodies() -> Vec<Vec<u8>> {
    vec![
        sample_payload("03_"),
        sample_payload("14b_"),
        event_body("call_ended", "call_other"),
        [event_body("call_ended", "call_large"), vec![b' '; 9_000]].concat(),
    ]
}

fn start_with_subject_data() -> (TestEnv, ReceiverProcess) {
    let mut home =
        TestEnv::new().with_env("RETELL_WEBHOOK__SECURITY__KEEP_REJECTED_BODIES", "true").with_env("DEBUG", "true");
    std::fs::create_dir_all(home.path().join("config")).unwrap();
    std::fs::write(home.path().join("config/local.toml"), HANDLERS_CONFIG).unwrap();
    let server = home.start_server();
    home.set_env("RETELL_WEBHOOK__SERVER__PORT", &server.address().port().to_string());
    let bodies = subject_event_bodies().into_iter().zip(other_event_bodies().into_iter().cycle());
    for (of_person, of_other) in bodies {
        assert_eq!(server.post_signed(&of_person).status, 200);
        server.post_signed(&of_other);
    }
    post(server.address(), &sample_payload("01_"), &format!("v={},d={}", now_ms(), "0".repeat(64)));
    post(server.address(), &sample_payload("03_"), &format!("v={},d={}", now_ms(), "0".repeat(64)));
    assert!(
        wait_until(WAIT_LIMIT, || home.run_ok(&["rejected", "list", "--json"]).json().as_array().unwrap().len() == 2)
    );
    let idle =
        || home.run_ok(&["status", "--json"]).json()["handlers"].as_array().unwrap().iter().all(|h| h["behind"] == 0);
    assert!(wait_until(WAIT_LIMIT, idle));
    (home, server)
}

fn list_call_ids(home: &TestEnv, verb: &str) -> Vec<String> {
    let rows = home.run_ok(&[verb, "list", "--json"]).json();
    rows.as_array().unwrap().iter().filter_map(|row| row["call_id"].as_str().map(str::to_owned)).collect()
}

#[test]
fn by_number_nothing_is_left_in_any_file() {
    let (home, mut server) = start_with_subject_data();
    assert!(find_subject_texts(&home).len() > 8, "{:?}", find_subject_texts(&home));
    let looked = home.run_ok(&["erase", "--phone", SUBJECT_NUMBER, "--json"]).json();
    assert_eq!((&looked["dry_run"], &looked["erased"]["events"]), (&json!(true), &json!(7)), "{looked}");
    assert_eq!(home.list_events(&["--limit", "100"]).len(), 11, "looking erases nothing");
    let args = ["erase", "--phone", "+1 202 555 0143", "--yes", "--json", "--receipt", "receipt.json"];
    let receipt = home.run_ok(&args).json();
    assert_eq!(find_subject_texts(&home), [] as [String; 0], "while it runs");
    let erased = &receipt["erased"];
    assert_eq!((&erased["events"], &erased["rejected"], &receipt["complete"]), (&json!(7), &json!(1), &json!(true)));
    assert_eq!(erased["calls"], 4, "{receipt}");
    assert!(receipt["lines"]["log_lines"].as_u64().unwrap() > 0, "{receipt}");
    assert_eq!(receipt["lines"]["file_lines"], 7, "{receipt}");
    let handlers = json!([{ "handler": "program", "kind": "exec", "events": 7 }]);
    assert_eq!(receipt["not_reached"]["handlers"], handlers);
    let written = std::fs::read_to_string(home.path().join("receipt.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), receipt);
    assert!(!SUBJECT_TEXTS.iter().any(|trace| written.contains(trace)) && !written.contains("evt_"));

    // Others are as they were.
    let kept: Vec<_> = home.export_events().into_iter().map(|kept| kept.body).collect();
    assert_eq!(kept, other_event_bodies());
    let mut calls = list_call_ids(&home, "calls");
    calls.sort();
    assert_eq!(calls, ["call_3e4f5a6b7c8d9e0f1a2b3c4d5e6", "call_large", "call_other"]);
    assert_eq!(home.run_ok(&["rejected", "list", "--json"]).json().as_array().unwrap().len(), 1);
    // What Retell sends again does not come back, and events go on.
    for body in subject_event_bodies() {
        // An inbound call is told apart by its signature: the same bytes are a new event.
        if body != sample_payload("15_") {
            assert!(server.post_signed(&body).is_duplicate());
        }
    }
    assert!(!server.post_signed(&event_body("call_ended", "call_new")).is_duplicate());
    assert!(server.post_signed(&event_body("call_ended", "call_other")).is_duplicate());
    assert_eq!(home.list_events(&["--limit", "100"]).len(), 5);
    assert_eq!(server.stop(), Some(0));
    let again = home.run_ok(&["erase", "--phone", SUBJECT_NUMBER, "--yes", "--json"]).json();
    assert_eq!((&again["erased"]["events"], &again["complete"]), (&json!(0), &json!(true)));
    // The log names the calls that were sent again by their ids, until it is erased too.
    let left: Vec<_> = find_subject_texts(&home).into_iter().filter(|trace| !trace.starts_with("call_")).collect();
    assert_eq!(left, [] as [String; 0], "after it");
    for call in SUBJECT_TEXTS.iter().filter(|trace| trace.starts_with("call_")) {
        home.run_ok(&["erase", "--call", call, "--yes"]);
    }
    assert_eq!(find_subject_texts(&home), [] as [String; 0], "after it");
    let mut server = home.start_server();
    assert!(server.post_signed(&sample_payload("04_")).is_duplicate());
    assert!(wait_until(WAIT_LIMIT, || list_call_ids(&home, "calls").len() == 4));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn by_call_only_that_call_goes() {
    let (home, mut server) = start_with_subject_data();
    let said = home.run_ok(&["erase", "--call", "call_spelled"]).stdout;
    assert!(said.contains("nothing was erased") && said.contains("backups"), "{said}");
    let said = home.run_ok(&["erase", "--call", "call_spelled", "--yes"]).stdout;
    assert!(said.starts_with("erased:") && said.contains("events                  3"), "{said}");
    let left = find_subject_texts(&home);
    assert!(
        !left.iter().any(|trace| trace.starts_with("call_spelled") || trace.starts_with("secret words")),
        "{left:?}"
    );
    assert!(left.iter().any(|trace| trace.starts_with("call_later")));
    assert_eq!(home.list_events(&["--limit", "100"]).len(), 8);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_company_is_kept_apart_and_unknown_ones_are_said() {
    let (home, _server) = start_with_subject_data();
    let ran = home.run(&["erase", "--phone", SUBJECT_NUMBER, "--company", "acme", "--yes"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("no company `acme`"), "{ran:?}");
    let looked = home.run_ok(&["erase", "--phone", SUBJECT_NUMBER, "--company", "default", "--json"]).json();
    assert_eq!(looked["erased"]["events"], 7);
}

#[test]
fn what_makes_no_sense_is_refused_without_repeating_it() {
    let home = TestEnv::new();
    for args in [&["erase"][..], &["erase", "--call", "x", "--phone", SUBJECT_NUMBER], &["erase", "--phone", "0143"]] {
        assert_eq!(home.run(args).exit_code, Some(2), "{args:?}");
    }
    let ran = home.run(&["erase", "--call", "call_1", "--yes"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("there is no store"), "{ran:?}");
    std::fs::write(home.path().join("taken.json"), "").unwrap();
    let ran = home.run(&["erase", "--call", "call_1", "--yes", "--receipt", "taken.json"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("is there already"), "{ran:?}");
}
