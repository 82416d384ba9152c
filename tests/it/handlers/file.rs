//! `file` and `log` in a running receiver: the examples of their pages, and the content of the files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::event_body;
use super::exec::{env_with_handlers, example_from_page};
use crate::support::bodies::sample_payload;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(20);

fn read_json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "partial line: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_example_of_the_page_writes_each_event() {
    let home = env_with_handlers(&example_from_page("file.md", "toml"));
    let server = home.start_server();
    let body = sample_payload("03_");
    assert_eq!(server.post_signed(&body).status, 200);
    assert_eq!(server.post_signed(b"no json\n").status, 200);
    let path = home.path().join("export/events.jsonl");
    assert!(wait_until(WAIT_LIMIT, || read_json_lines(&path).len() == 2));
    let stored = home.list_events(&[]);
    let line = |name: &str| read_json_lines(&path).into_iter().find(|line| line.get(name).is_some()).unwrap();
    let (json, bytes) = (line("body"), line("body_base64"));
    assert_eq!(json["body"], serde_json::from_slice::<Value>(&body).unwrap());
    assert_eq!(bytes["body_base64"], "bm8ganNvbgo=");
    for line in [&json, &bytes] {
        let event = stored.iter().find(|event| event["id"] == line["id"]).expect("the id of the store");
        assert_eq!((&line["event"], &line["call_id"]), (&event["event"], &event["call_id"]));
        assert_eq!((&line["company"], &line["attempt"]), (&"default".into(), &1.into()));
    }
    let page = example_from_page("file.md", "json");
    let shown: Value = serde_json::from_str(page.trim()).unwrap();
    let names = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&shown), names(&json));
}

#[test]
fn files_are_rotated_and_a_moved_file_is_created_again() {
    let home = env_with_handlers(
        "[[handlers]]\nname = \"lines\"\nkind = \"file\"\npath = \"out/a.jsonl\"\nrotate_bytes = 2000\nkeep_files = 2\n",
    );
    let server = home.start_server();
    let folder = home.path().join("out");
    let files = || -> Vec<_> {
        let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort_unstable();
        files
    };
    let has =
        |call_id: &str| files().iter().flat_map(|file| read_json_lines(file)).any(|line| line["call_id"] == call_id);
    for number in 0..40 {
        let call_id = format!("call_{number}");
        assert_eq!(server.post_signed(&event_body("call_ended", &call_id)).status, 200);
        assert!(wait_until(WAIT_LIMIT, || has(&call_id)), "{number}");
    }
    assert_eq!(files().len(), 3, "{:?}", files());
    assert!(files().iter().all(|file| fs::metadata(file).unwrap().len() <= 2000));
    fs::rename(folder.join("a.jsonl"), home.path().join("moved")).unwrap();
    assert_eq!(server.post_signed(&event_body("call_ended", "call_after")).status, 200);
    assert!(wait_until(WAIT_LIMIT, || read_json_lines(&folder.join("a.jsonl")).len() == 1));
}

#[test]
fn a_line_that_cannot_be_written_is_retried() {
    let home = env_with_handlers(
        "[[handlers]]\nname = \"lines\"\nkind = \"file\"\npath = \"out/a.jsonl\"\nretry_schedule = [\"1s\"]\n",
    );
    let server = home.start_server();
    let folder = home.path().join("out");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    assert!(server.wait_for_output("out/a.jsonl: "), "{}", server.output());
    fs::remove_file(&folder).unwrap();
    let path = folder.join("a.jsonl");
    assert!(wait_until(WAIT_LIMIT, || read_json_lines(&path).first().is_some_and(|line| line["attempt"] == 2)));
}

#[test]
fn invalid_settings_are_refused_at_start() {
    let table =
        |name: &str, path: &str| format!("[[handlers]]\nname = \"{name}\"\nkind = \"file\"\npath = \"{path}\"\n");
    for (tables, expected) in [
        (table("a", ""), "handlers[0] `a`: path = \"\": expected the path of a file"),
        (
            table("a", "out/a") + &table("b", "./out/b/../a"),
            "handlers[1] `b`: path = \"./out/b/../a\": handler `a` appends to this file already",
        ),
        (table("a", "config/local.toml/a"), "handlers[0] `a`: path: config/local.toml/a: "),
    ] {
        let ran = env_with_handlers(&tables).start_expecting_exit();
        assert!(ran.exit_code == Some(1) && ran.output().contains(expected), "{expected}: {ran:?}");
    }
}

#[test]
fn the_example_of_the_log_page() {
    let home = env_with_handlers(&example_from_page("log.md", "toml"));
    let server = home.start_server();
    for name in ["call_started", "call_ended"] {
        assert_eq!(server.post_signed(&event_body(name, "call_1")).status, 200);
    }
    assert!(server.wait_for_output("webhook event event=call_ended"));
    assert!(!server.output().contains("webhook event event=call_started"));
}
