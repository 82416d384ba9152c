//! `events import`: stores exported events again.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bodies::{event_body, sample_payload};
use crate::support::signing::now_ms;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

/// An environment with these events, the path of a file with their export, and the lines of that file.
fn env_with_export(bodies: &[Vec<u8>]) -> (TestEnv, String, String) {
    let home = TestEnv::new();
    let mut server = home.start_server();
    for body in bodies {
        assert_eq!(server.post_signed(body).status, 200);
    }
    server.stop();
    let lines = home.run_ok(&["events", "export"]).stdout;
    let file = home.path().join("events.jsonl");
    fs::write(&file, &lines).unwrap();
    (home, file.display().to_string(), lines)
}

fn export_line(received_at_ms: i64, body: &[u8]) -> Value {
    use base64::Engine;
    let body = base64::prelude::BASE64_STANDARD.encode(body);
    json!({ "id": null, "company": "default", "received_at_ms": received_at_ms, "headers": {}, "body_base64": body })
}

#[test]
fn an_empty_store_gets_the_exported_events_unchanged() {
    let large = [event_body("call_analyzed", "call_large"), vec![b' '; 50_000]].concat();
    let revision = [event_body("call_ended", "call_1"), b" ".to_vec()].concat();
    let bodies = [event_body("call_ended", "call_1"), revision, large, b"\xff[".to_vec(), sample_payload("02_")];
    let (first, file, lines) = env_with_export(&bodies);
    let second = TestEnv::new();
    let ran = second.run_ok(&["events", "import", &file, "--json"]);
    assert_eq!(ran.json(), json!({ "stored": 5, "new_ids": 0, "duplicates": 0, "bad_lines": 0, "line_errors": [] }));
    assert_eq!(second.run_ok(&["events", "export"]).stdout, lines);
    let (mut before, mut after) = (first.list_events(&[]), second.list_events(&[]));
    for (events, origin) in [(&mut before, "retell"), (&mut after, "import")] {
        for event in events {
            assert_eq!(event["origin"], origin);
            let fields = event.as_object_mut().unwrap();
            fields.retain(|name, _| name != "source" && name != "origin");
        }
    }
    assert_eq!(before, after, "times, keys, revisions and states");
}

#[test]
fn the_order_of_commit_is_kept_even_if_ids_have_another_order() {
    let (_first, _, lines) = env_with_export(&[event_body("call_ended", "call_1"), event_body("call_ended", "call_2")]);
    let swapped = lines.lines().rev().flat_map(|line| [line, "\n"]).collect::<String>();
    let second = TestEnv::new();
    let ran = second.run_with_input(&["events", "import", "-"], swapped.as_bytes());
    assert!(ran.stdout.starts_with("2 stored (0 under a new id)"), "{ran:?}");
    assert_eq!(second.run_ok(&["events", "export"]).stdout, swapped);
}

#[test]
fn events_that_are_stored_already_are_duplicates() {
    let (home, file, lines) =
        env_with_export(&[event_body("call_ended", "call_1"), event_body("call_ended", "call_2")]);
    let ran = home.run_ok(&["events", "import", &file]);
    assert_eq!(ran.stdout, "0 stored (0 under a new id), 2 duplicates, 0 bad lines\n");
    assert_eq!(home.run_ok(&["events", "export"]).stdout, lines);
    let other = TestEnv::new();
    let twice = format!("{lines}\n{lines}");
    let ran = other.run_with_input(&["events", "import", "-", "--json"], twice.as_bytes());
    assert_eq!((ran.json()["stored"].as_u64(), ran.json()["duplicates"].as_u64()), (Some(2), Some(2)), "{ran:?}");
}

#[test]
fn older_events_get_ascending_new_ids_and_keep_their_time() {
    let (_first, file, lines) =
        env_with_export(&[event_body("call_started", "call_1"), event_body("call_ended", "call_1")]);
    let (second, _, newer) = env_with_export(&[event_body("call_ended", "call_2")]);
    let ran = second.run_ok(&["events", "import", &file, "--ids"]);
    assert!(ran.stderr.contains("2 stored (2 under a new id)"), "{ran:?}");
    let exported = second.export_events();
    assert_eq!(exported[0].json, serde_json::from_str::<Value>(&newer).unwrap());
    let ids: Vec<_> = exported.iter().map(|event| event.json["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    for ((old_line, new), printed) in lines.lines().zip(&exported[1..]).zip(ran.stdout.lines()) {
        let old: Value = serde_json::from_str(old_line).unwrap();
        assert_eq!(printed, format!("{} {}", old["id"].as_str().unwrap(), new.json["id"].as_str().unwrap()));
        assert_eq!((&old["received_at_ms"], &old["headers"]), (&new.json["received_at_ms"], &new.json["headers"]));
    }
}

#[test]
fn time_filters_use_the_original_time() {
    let home = TestEnv::new();
    let past = export_line(now_ms() - 5 * 86_400_000, &event_body("call_ended", "call_old"));
    let ran = home.run_with_input(&["events", "import", "-"], past.to_string().as_bytes());
    assert_eq!(ran.exit_code, Some(0), "{ran:?}");
    assert!(home.list_events(&["--since", "4d"]).is_empty());
    assert_eq!(home.list_events(&["--since", "6d"]).len(), 1);
}

#[test]
fn bad_lines_are_reported_and_skipped() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__SERVER__BODY_LIMIT_BYTES", "1024");
    let mut unknown_company = export_line(1, b"{}");
    unknown_company["company"] = json!("secret-customer");
    let mut broken = export_line(1, b"{}");
    broken["body_base64"] = json!("Zm9v!");
    let input = [
        export_line(1_790_000_000_000, &event_body("call_ended", "call_1")).to_string(),
        "not JSON with +12025550143".into(),
        String::new(),
        unknown_company.to_string(),
        broken.to_string(),
        export_line(now_ms() + 86_400_000, b"{}").to_string(),
        export_line(1, &vec![b' '; 200_000]).to_string(),
        export_line(1_790_000_000_001, &event_body("call_ended", "call_2")).to_string(),
    ];
    let ran = home.run_with_input(&["events", "import", "-"], input.join("\n").as_bytes());
    assert_eq!(ran.exit_code, Some(1));
    assert_eq!(ran.stdout, "2 stored (0 under a new id), 0 duplicates, 5 bad lines\n");
    let expected = ["2: not a line", "4: the company", "5: body_base64", "6: received_at_ms", "7: the body is larger"];
    let errors: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(errors.len(), 5, "{ran:?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.contains(&format!("line {expected}")), "{expected} in {error}");
    }
    assert!(
        !ran.stderr.contains("+1202") && !ran.stderr.contains("secret-customer"),
        "errors contain nothing of the line"
    );
    assert_eq!(home.export_events().len(), 2);
    let missing = home.run(&["events", "import", "nowhere.jsonl"]);
    assert!(missing.exit_code == Some(1) && missing.stderr.contains("nowhere.jsonl"), "{missing:?}");
}

#[test]
fn companies_are_matched_by_slug() {
    let acme = "[[companies]]\nslug = \"acme\"\nkeys = [\"key_acme_0123456789abcdef\"]\n";
    let mut ours = export_line(1_790_000_000_000, b"{}");
    let mut theirs = ours.clone();
    theirs["company"] = json!("acme");
    theirs["id"] = json!("evt_01a0c4e2-0400-7000-8000-000000000001");
    ours["id"] = json!("evt_01a0c4e2-0400-7000-8000-000000000002");
    let input = format!("{theirs}\n{ours}\n");
    let home = TestEnv::new();
    fs::create_dir_all(home.path().join("config")).unwrap();
    fs::write(home.path().join("config/local.toml"), acme).unwrap();
    let ran = home.run_with_input(&["events", "import", "-"], input.as_bytes());
    assert!(ran.stdout.starts_with("2 stored") && ran.exit_code == Some(0), "{ran:?}");
    let companies: Vec<_> = home.export_events().iter().map(|event| event.json["company"].clone()).collect();
    assert_eq!(companies, ["acme", "default"], "the same bytes for two companies are two events");
    let ran = TestEnv::new().run_with_input(&["events", "import", "-"], input.as_bytes());
    assert!(
        ran.exit_code == Some(1) && ran.stdout.starts_with("1 stored") && ran.stderr.contains("[[companies]]"),
        "{ran:?}"
    );
}

#[test]
fn fails_while_a_receiver_is_running() {
    let (home, file, _) = env_with_export(&[event_body("call_ended", "call_1")]);
    let mut server = home.start_server();
    let ran = home.run(&["events", "import", &file]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("stop it first"), "{ran:?}");
    assert_eq!(server.stop(), Some(0));
    home.run_ok(&["events", "import", &file]);
}

#[test]
fn a_receiver_delivers_imported_events_and_recognizes_their_duplicates() {
    let (_first, file, _) = env_with_export(&[event_body("call_ended", "call_old")]);
    let home = TestEnv::new();
    home.start_server().stop();
    home.run_ok(&["events", "import", &file]);
    let server = home.start_server();
    let calls = || home.run_ok(&["calls", "list", "--json"]).json().as_array().unwrap().len();
    assert!(wait_until(Duration::from_secs(20), || calls() == 1), "the handlers were known before the import");
    assert!(server.post_signed(&event_body("call_ended", "call_old")).is_duplicate(), "stored by the import");
    assert!(!server.post_signed(&event_body("call_ended", "call_new")).is_duplicate());
    assert_eq!(home.list_events(&["--since", "1h"]).len(), 2);
}

#[test]
fn thousands_of_lines_keep_their_order() {
    let lines: Vec<_> = (0..3_000)
        .map(|number| {
            export_line(1_790_000_000_000 + number, &event_body("call_ended", &format!("call_{number}"))).to_string()
        })
        .collect();
    let home = TestEnv::new();
    let ran = home.run_with_input(&["events", "import", "-"], lines.join("\n").as_bytes());
    assert!(ran.stdout.starts_with("3000 stored"), "{ran:?}");
    let exported = home.export_events();
    let times: Vec<_> = exported.iter().map(|event| event.json["received_at_ms"].as_i64().unwrap()).collect();
    assert!(times.into_iter().eq(1_790_000_000_000..1_790_000_003_000), "in the order of the file");
    assert!(exported.iter().map(|event| event.json["id"].as_str()).is_sorted());
}
