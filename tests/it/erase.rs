//! `erase`: no data of the person is left in any file, while the receiver runs and after it has stopped.

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
/// The phone number of the caller in the samples. [`SUBJECT_TEXTS`] are all texts that only occur in that person's
/// data; see [`subject_event_bodies`].
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

/// `lines` rotates its file many times; what `program` received cannot be erased.
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

/// Paths and bytes of all files in a folder and its subfolders.
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

/// The texts of the person that are found, each with the path of its file.
fn find_subject_texts(home: &TestEnv) -> Vec<String> {
    let files = ["data", "logs"].into_iter().flat_map(|folder| read_all_files(&home.path().join(folder)));
    let found = files.flat_map(|(path, bytes)| {
        let here =
            SUBJECT_TEXTS.iter().filter(|text| contains_text(&bytes, text)).map(|text| format!("{text} in {path}"));
        here.collect::<Vec<_>>()
    });
    found.collect()
}

/// Events that contain the phone number in different spellings, and events of the same calls without it.
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

/// Events of other people, which must stay.
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
    for (subject_body, other_body) in bodies {
        assert_eq!(server.post_signed(&subject_body).status, 200);
        server.post_signed(&other_body);
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

fn list_call_ids(home: &TestEnv, command: &str) -> Vec<String> {
    let rows = home.run_ok(&[command, "list", "--json"]).json();
    rows.as_array().unwrap().iter().filter_map(|row| row["call_id"].as_str().map(str::to_owned)).collect()
}

#[test]
fn erasing_a_phone_number_leaves_nothing_in_any_file() {
    let (home, mut server) = start_with_subject_data();
    assert!(find_subject_texts(&home).len() > 8, "{:?}", find_subject_texts(&home));
    let counted = home.run_ok(&["erase", "--phone", SUBJECT_NUMBER, "--json"]).json();
    assert_eq!((&counted["dry_run"], &counted["erased"]["events"]), (&json!(true), &json!(7)), "{counted}");
    assert_eq!(home.list_events(&["--limit", "100"]).len(), 11, "a dry run erases nothing");
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
    assert!(!SUBJECT_TEXTS.iter().any(|text| written.contains(text)) && !written.contains("evt_"));

    // The data of other people is unchanged.
    let left: Vec<_> = home.export_events().into_iter().map(|exported| exported.body).collect();
    assert_eq!(left, other_event_bodies());
    let mut calls = list_call_ids(&home, "calls");
    calls.sort();
    assert_eq!(calls, ["call_3e4f5a6b7c8d9e0f1a2b3c4d5e6", "call_large", "call_other"]);
    assert_eq!(home.run_ok(&["rejected", "list", "--json"]).json().as_array().unwrap().len(), 1);
    // An erased event that is sent again is not stored; other events are accepted.
    for body in subject_event_bodies() {
        // The signature distinguishes inbound requests: the same bytes with a new signature are a new event.
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
    // The log names the calls that were sent again by their ids, until these are erased too.
    let left: Vec<_> = find_subject_texts(&home).into_iter().filter(|text| !text.starts_with("call_")).collect();
    assert_eq!(left, [] as [String; 0], "after it");
    for call in SUBJECT_TEXTS.iter().filter(|text| text.starts_with("call_")) {
        home.run_ok(&["erase", "--call", call, "--yes"]);
    }
    assert_eq!(find_subject_texts(&home), [] as [String; 0], "after it");
    let mut server = home.start_server();
    assert!(server.post_signed(&sample_payload("04_")).is_duplicate());
    assert!(wait_until(WAIT_LIMIT, || list_call_ids(&home, "calls").len() == 4));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn erasing_a_call_leaves_other_calls() {
    let (home, mut server) = start_with_subject_data();
    let said = home.run_ok(&["erase", "--call", "call_spelled"]).stdout;
    assert!(said.contains("nothing was erased") && said.contains("backups"), "{said}");
    let said = home.run_ok(&["erase", "--call", "call_spelled", "--yes"]).stdout;
    assert!(said.starts_with("erased:") && said.contains("events                3"), "{said}");
    let left = find_subject_texts(&home);
    assert!(!left.iter().any(|text| text.starts_with("call_spelled") || text.starts_with("secret words")), "{left:?}");
    assert!(left.iter().any(|text| text.starts_with("call_later")));
    assert_eq!(home.list_events(&["--limit", "100"]).len(), 8);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn an_erasure_is_limited_to_its_company() {
    let (home, _server) = start_with_subject_data();
    let ran = home.run(&["erase", "--phone", SUBJECT_NUMBER, "--company", "acme", "--yes"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("no company `acme`"), "{ran:?}");
    let counted = home.run_ok(&["erase", "--phone", SUBJECT_NUMBER, "--company", "default", "--json"]).json();
    assert_eq!(counted["erased"]["events"], 7);
}

#[test]
fn every_spelling_of_a_number_is_found_and_a_number_without_data_is_reported() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    assert_eq!(server.post_signed(&sample_payload("01_")).status, 200);
    let spellings =
        ["001 (202) 555\u{2011}0143", "tel:+1-202-555-0143", "\u{2068}+12025550143\u{2069}", "'+1\u{a0}2025550143'"];
    for number in spellings {
        let counted = home.run_ok(&["erase", "--phone", number, "--json"]).json();
        assert_eq!((&counted["erased"]["events"], &counted["found"]), (&json!(1), &json!(true)), "{number}");
    }
    for person in [["--phone", "+4930123456"], ["--call", "call_unknown"]] {
        let counted = home.run(&[&["erase"][..], &person].concat());
        assert!(
            counted.exit_code == Some(1) && counted.stdout.contains("no data of this person was found"),
            "{counted:?}"
        );
        // A second erasure of the same person succeeds: nothing is left.
        let erased = home.run_ok(&[&["erase", "--yes"][..], &person].concat()).stdout;
        assert!(erased.contains("no data of this person was found"), "{erased}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn invalid_arguments_are_rejected() {
    let home = TestEnv::new();
    for args in [&["erase"][..], &["erase", "--call", "x", "--phone", SUBJECT_NUMBER]] {
        assert_eq!(home.run(args).exit_code, Some(2), "{args:?}");
    }
    for (number, reason) in [
        ("030 12345678", "it has no country code"),
        ("2025550143", "it has no country code"),
        ("+1 202", "it has 4 digits"),
        ("", "it is empty"),
        ("anonymous", "a withheld number"),
    ] {
        let ran = home.run(&["erase", "--phone", number, "--yes"]);
        assert!(ran.exit_code == Some(1) && ran.stderr.contains(reason), "{number}: {ran:?}");
        assert!(ran.stderr.contains("Nothing was searched or erased") && !ran.stderr.contains("0143"), "{ran:?}");
    }
    let ran = home.run(&["erase", "--call", "call_1", "--yes"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("no store at"), "{ran:?}");
    std::fs::write(home.path().join("taken.json"), "").unwrap();
    let ran = home.run(&["erase", "--call", "call_1", "--yes", "--receipt", "taken.json"]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("exists already"), "{ran:?}");
}
