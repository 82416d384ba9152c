//! The log: what stands in `logs/app.log` and on standard output, and what debugging adds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::bodies::{event, sample};
use crate::support::client::{Client, head, post};
use crate::support::home::Home;
use crate::support::server::Server;
use crate::support::signing::{OTHER_KEY, now_ms, sign, sign_with};
use crate::support::wait_until;

fn current(home: &Home) -> PathBuf {
    home.path().join("logs/app.log")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Accepted, repeated, refused, not read, unparsed.
fn traffic(server: &Server, call_id: &str) {
    let body = event("call_ended", call_id);
    for _ in 0..2 {
        assert_eq!(server.deliver(&body).status, 200);
    }
    assert_eq!(server.deliver(b"no JSON").status, 200);
    assert_eq!(post(server.address(), &body, &sign_with(OTHER_KEY, &body, now_ms())).status, 401);
    let declared = head("POST", "/webhook", &[("X-Retell-Signature", &sign(b"x"))], Some(20_000_000));
    let mut client = Client::connect(server.address());
    client.send(declared.as_bytes()).unwrap();
    assert_eq!(client.answer().unwrap().status, 413);
}

fn lines_appear(path: &Path, wanted: &[&str]) {
    let found = wait_until(Duration::from_secs(10), || wanted.iter().all(|text| read(path).contains(text)));
    assert!(found, "{wanted:?} not all in:\n{}", read(path));
}

#[test]
fn the_current_file_holds_the_traffic_without_colours_and_is_private() {
    let home = Home::new();
    let server = home.start();
    traffic(&server, "call_1");
    let path = current(&home);
    lines_appear(
        &path,
        &["webhook call_ended", "webhook with a body that is no JSON", "webhook refused (401)", "webhook not taken in"],
    );
    let text = read(&path);
    assert!(!text.contains('\u{1b}'), "{text}");
    // Of each request and of what became of it.
    assert_eq!(text.lines().filter(|line| line.contains("webhook")).count(), 8, "{text}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
}

#[test]
fn a_restart_goes_on_and_an_old_file_is_put_away_under_its_day() {
    let home = Home::new();
    let mut server = home.start();
    traffic(&server, "call_2");
    server.stop();
    let path = current(&home);
    let before = read(&path);
    assert!(before.contains("webhook call_ended"));
    drop(home.start());
    assert!(read(&path).starts_with(&before));
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    fs::File::options().append(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    let mut server = home.start();
    traffic(&server, "call_3");
    server.stop();
    let away = home.path().join("logs/app.log.2026-09-21");
    assert!(
        read(&away).starts_with(&before),
        "{:?}",
        fs::read_dir(home.path().join("logs")).unwrap().collect::<Vec<_>>()
    );
    assert!(read(&path).contains("webhook call_ended") && !read(&path).starts_with(&before));
}

#[test]
fn json_lines_are_json_in_both_places() {
    let home = Home::new().with("RETELL_WEBHOOK__LOG__FORMAT", "json");
    let mut server = home.start();
    traffic(&server, "call_4");
    assert_eq!(server.stop(), Some(0));
    for text in [server.output(), read(&current(&home))] {
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let refused = lines.iter().find(|line| line["message"].as_str().unwrap().contains("webhook refused (401)"));
        assert_eq!(refused.unwrap()["level"], "WARN");
    }
}

#[test]
fn the_file_can_be_elsewhere_or_nowhere() {
    let mut home = Home::new().with("RETELL_WEBHOOK__LOG__DIR", "other/place");
    let server = home.start();
    traffic(&server, "call_5");
    lines_appear(&home.path().join("other/place/app.log"), &["webhook call_ended"]);
    drop(server);
    home.set("RETELL_WEBHOOK__LOG__DIR", "off");
    let server = home.start();
    traffic(&server, "call_6");
    assert!(server.prints("webhook call_ended"));
    assert!(!home.path().join("logs").exists() && !home.path().join("off").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_warned_about_and_nothing_else() {
    let home = Home::new();
    fs::write(home.path().join("logs"), "a file in the way").unwrap();
    let server = home.start();
    traffic(&server, "call_7");
    assert!(server.prints("log.dir: cannot write into logs"), "{}", server.output());
    assert!(server.prints("webhook call_ended"));
}

#[test]
fn debugging_tells_headers_route_and_fields_without_values() {
    let home = Home::new().with("DEBUG", "true");
    let mut server = home.start();
    let body = sample("05_");
    assert_eq!(server.deliver(&body).status, 200);
    assert_eq!(server.stop(), Some(0));
    for text in [server.output(), read(&current(&home))] {
        let line = |wanted: &str| text.lines().find(|line| line.contains(wanted)).unwrap_or_else(|| panic!("{text}"));
        let head = line("webhook request: ");
        assert!(head.contains("content-type: application/json") && head.contains("/api/v1/webhook/retell"), "{head}");
        assert!(head.contains("x-retell-signature: text of 82 bytes"), "{head}");
        let told = line("webhook body: ");
        assert!(told.contains("webhook body: call_analyzed {event: string of 13 bytes, call: {"), "{told}");
        assert!(told.contains("transcript: string of ") && told.contains("company=default"), "{told}");
    }
}

#[test]
fn without_debugging_nothing_of_that_is_told() {
    let home = Home::new();
    let mut server = home.start();
    assert_eq!(server.deliver(&sample("05_")).status, 200);
    assert_eq!(server.stop(), Some(0));
    assert!(!server.output().contains("webhook body") && !read(&current(&home)).contains("webhook request:"));
}
