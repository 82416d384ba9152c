use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::Value;
use tokio::task::JoinSet;

use super::*;
use crate::config::HandlerKind;
use crate::handlers::test_fixtures;

const NOW_MS: i64 = 1_795_305_599_000;

fn table(path: &Path) -> HandlerSettings {
    HandlerSettings { path: Some(path.to_owned()), ..HandlerSettings::new("lines", HandlerKind::File) }
}

fn file_handler(table: &HandlerSettings) -> FileHandler {
    FileHandler::from_settings(table, Clock::from_fn(|| NOW_MS)).unwrap()
}

async fn append_event(lines: &FileHandler, body: &[u8]) -> Outcome {
    let (event, context) = test_fixtures::sample_event("call_ended");
    lines.deliver(&event, &Bytes::copy_from_slice(body), &context).await.outcome
}

fn read_lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The other files in the directory of `path`, sorted.
fn rotated_files(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let mut others: Vec<_> = entries.filter(|entry| entry != path).collect();
    others.sort_unstable();
    others
}

#[tokio::test]
async fn a_line_holds_the_body_as_received() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let lines = file_handler(&table(&path));
    let body = b"{\"event\" : \"call_ended\",\r\n  \"n\": 1.10000000000000000001, \"n\": 1e400, \"t\": \"a\\nb \\ud800 \xC3\xA9\"}\n";
    assert_eq!(append_event(&lines, body).await, Outcome::Done);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches('\n').count(), 1);
    let (head, rest) = text.split_once(",\"body\":").unwrap();
    assert_eq!(
        rest,
        "{\"event\" : \"call_ended\",    \"n\": 1.10000000000000000001, \"n\": 1e400, \"t\": \"a\\nb \\ud800 \u{e9}\"}}\n"
    );
    let head: Value = serde_json::from_str(&format!("{head}}}")).unwrap();
    assert!(head["id"].as_str().unwrap().starts_with("evt_"));
    let fields = (&head["company"], &head["event"], &head["call_id"], &head["received_at_ms"], &head["attempt"]);
    assert_eq!(fields, (&"default".into(), &"call_ended".into(), &"call_1".into(), &NOW_MS.into(), &1.into()));
    assert!(head.get("revision_of").is_none() && head.get("replay").is_none());
}

#[tokio::test]
async fn a_body_that_is_not_json_is_written_as_base64() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let lines = file_handler(&table(&path));
    let bodies: [&[u8]; 5] = [b"", b"not json\n", b"{} {}", b"\"\xff\"", b"\"a\nb\""];
    for body in bodies {
        assert_eq!(append_event(&lines, body).await, Outcome::Done);
    }
    let read = read_lines(&path);
    assert_eq!(read.len(), bodies.len());
    for (line, body) in read.iter().zip(bodies) {
        use base64::{Engine, prelude::BASE64_STANDARD};
        assert!(line.get("body").is_none());
        assert_eq!(BASE64_STANDARD.decode(line["body_base64"].as_str().unwrap()).unwrap(), body);
    }
}

#[tokio::test]
async fn revisions_and_replays_are_marked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let (event, mut context) = test_fixtures::sample_event("call_ended");
    (context.revision_of, context.replay, context.attempt) = (Some(context.event_id), true, 2);
    file_handler(&table(&path)).deliver(&event, &Bytes::from("{}"), &context).await;
    let line = &read_lines(&path)[0];
    assert_eq!((&line["revision_of"], &line["replay"], &line["attempt"]), (&line["id"], &true.into(), &2.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lines_written_at_the_same_time_stay_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let lines = Arc::new(file_handler(&HandlerSettings { rotate_bytes: Some(100_000), ..table(&path) }));
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let lines = Arc::clone(&lines);
        tasks.spawn(async move {
            for number in 0..50 {
                let body = format!("{{\"n\":{number},\"task\":{task},\"pad\":\"{}\"}}", "x".repeat(number * 40));
                assert_eq!(append_event(&lines, body.as_bytes()).await, Outcome::Done);
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let mut seen: Vec<_> = rotated_files(&path)
        .iter()
        .chain([&path])
        .flat_map(|path| read_lines(path))
        .map(|line| (line["body"]["task"].as_i64().unwrap(), line["body"]["n"].as_i64().unwrap()))
        .collect();
    for task in 0..8 {
        assert!(seen.iter().filter(|seen| seen.0 == task).is_sorted(), "{task}");
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 400);
}

#[tokio::test]
async fn a_full_file_is_rotated_and_the_oldest_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let other_files = ["a.jsonl.1", "a.jsonl.gz", "b.jsonl.20261121T235958.000Z"].map(|name| folder.path().join(name));
    for other_file in &other_files {
        fs::write(other_file, "mine").unwrap();
    }
    let now_ms = Arc::new(AtomicI64::new(NOW_MS));
    let clock = Arc::clone(&now_ms);
    let table = HandlerSettings { rotate_bytes: Some(1_024), keep_files: Some(3), ..table(&path) };
    let lines = FileHandler::from_settings(&table, Clock::from_fn(move || clock.load(Ordering::Relaxed))).unwrap();
    let mut largest = 0;
    for number in 0..40 {
        // The clock stands still, advances, or is set back.
        now_ms.fetch_add([0, 700, -400][number % 3], Ordering::Relaxed);
        append_event(&lines, format!("{{\"n\":{number}}}").as_bytes()).await;
        largest = largest.max(fs::metadata(&path).unwrap().len());
    }
    assert!(largest <= 1_024, "{largest}");
    let (others, rotated): (Vec<_>, Vec<_>) =
        rotated_files(&path).into_iter().partition(|path| other_files.contains(path));
    assert_eq!((others.len(), rotated.len()), (3, 3));
    let numbers: Vec<_> = rotated
        .iter()
        .chain([&path])
        .flat_map(|path| read_lines(path))
        .map(|line| line["body"]["n"].as_i64().unwrap())
        .collect();
    let first = numbers[0];
    assert!(first > 0 && numbers.iter().copied().eq(first..40), "{numbers:?}");
}

#[tokio::test]
async fn a_line_longer_than_the_limit_has_a_separate_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let lines = file_handler(&HandlerSettings { rotate_bytes: Some(1_024), ..table(&path) });
    let long = format!("\"{}\"", "x".repeat(5_000));
    for body in ["1", &long, "2"] {
        assert_eq!(append_event(&lines, body.as_bytes()).await, Outcome::Done);
    }
    let lengths: Vec<_> = rotated_files(&path).iter().chain([&path]).map(|path| read_lines(path).len()).collect();
    assert_eq!(lengths, [1, 1, 1]);
}

#[tokio::test]
async fn a_moved_or_deleted_file_is_created_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/a.jsonl");
    let lines = file_handler(&table(&path));
    append_event(&lines, b"1").await;
    let moved = folder.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    append_event(&lines, b"2").await;
    assert_eq!((read_lines(&moved).len(), read_lines(&path).len()), (1, 1));
    fs::remove_dir_all(folder.path().join("deep")).unwrap();
    assert_eq!(append_event(&lines, b"3").await, Outcome::Done);
    assert_eq!(read_lines(&path)[0]["body"], 3);
}

#[tokio::test]
async fn partial_lines_are_removed_and_text_of_others_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let lines = file_handler(&table(&path));
    append_event(&lines, b"1").await;
    let whole = fs::read(&path).unwrap();
    let half = format!("{{\"id\":\"evt_1\",\"body\":\"{}", "x".repeat(200_000));
    for torn in [half.as_str(), "{\"id", "{"] {
        fs::write(&path, [&whole, torn.as_bytes()].concat()).unwrap();
        append_event(&lines, b"2").await;
        let read = read_lines(&path);
        assert_eq!((read.len(), &read[1]["body"]), (2, &2.into()), "{}", &torn[..1]);
    }
    fs::write(&path, "another program's notes").unwrap();
    append_event(&lines, b"3").await;
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("another program's notes\n{\"id\":\"evt_"), "{text}");
}

#[tokio::test]
async fn a_write_error_is_a_retry_and_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let lines = file_handler(&table(&path));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let outcome = append_event(&lines, b"{}").await;
    assert!(matches!(&outcome, Outcome::Retry { reason, .. } if reason.contains("a.jsonl")), "{outcome:?}");
    fs::remove_dir(&path).unwrap();
    assert_eq!(append_event(&lines, b"{}").await, Outcome::Done);

    let refused = |path: &Path, enabled: bool| {
        FileHandler::from_settings(&HandlerSettings { enabled, ..table(path) }, Clock::system()).err()
    };
    let below_a_file = path.join("b.jsonl");
    let error = refused(&below_a_file, true).unwrap();
    let (key, why) = (error.key(), error.problem());
    assert!(key == "path" && why.contains("b.jsonl"), "{why}");
    assert_eq!(refused(&below_a_file, false), None);
    assert_eq!(refused(&folder.path().join("none.jsonl"), false), None);
    assert!(!folder.path().join("none.jsonl").exists(), "a disabled handler creates no file");
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_private_and_symbolic_links_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("private/a.jsonl");
    file_handler(&table(&path));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = FileHandler::from_settings(&table(&link), Clock::system()).unwrap_err();
    let (key, why) = (error.key(), error.problem());
    assert!(key == "path" && why.contains("symbolic link"), "{why}");
}
