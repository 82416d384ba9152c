//! The log: what stands in `logs/app.log` and on standard output, and what debugging adds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::bodies::{event_body, sample_payload};
use crate::support::client::{RawClient, post, request_head};
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

/// Accepted, repeated, refused, not read, unparsed.
fn send_traffic(server: &ReceiverProcess, call_id: &str) {
    let body = event_body("call_ended", call_id);
    for _ in 0..2 {
        assert_eq!(server.post_signed(&body).status, 200);
    }
    assert_eq!(server.post_signed(b"no JSON").status, 200);
    assert_eq!(post(server.address(), &body, &sign_with(OTHER_KEY, &body, now_ms())).status, 401);
    let declared = request_head("POST", "/webhook", &[("X-Retell-Signature", &sign(b"x"))], Some(20_000_000));
    let mut client = RawClient::connect(server.address());
    client.send(declared.as_bytes()).unwrap();
    assert_eq!(client.read_response().unwrap().status, 413);
}

fn wait_for_log_lines(path: &Path, wanted: &[&str]) {
    let found = wait_until(Duration::from_secs(10), || wanted.iter().all(|text| read_log(path).contains(text)));
    assert!(found, "{wanted:?} not all in:\n{}", read_log(path));
}

#[test]
fn the_current_file_holds_the_traffic_without_colours_and_is_private() {
    let home = TestEnv::new();
    let server = home.start_server();
    send_traffic(&server, "call_1");
    let path = current_log_path(&home);
    wait_for_log_lines(
        &path,
        &["webhook call_ended", "webhook with a body that is no JSON", "webhook refused (401)", "webhook not taken in"],
    );
    let text = read_log(&path);
    assert!(!text.contains('\u{1b}'), "{text}");
    // Of each request and of what became of it.
    assert_eq!(text.lines().filter(|line| line.contains("webhook")).count(), 8, "{text}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
}

#[test]
fn a_restart_goes_on_and_an_old_file_is_put_away_under_its_day() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    send_traffic(&server, "call_2");
    server.stop();
    let path = current_log_path(&home);
    let before = read_log(&path);
    assert!(before.contains("webhook call_ended"));
    drop(home.start_server());
    assert!(read_log(&path).starts_with(&before));
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    fs::File::options().append(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    let mut server = home.start_server();
    send_traffic(&server, "call_3");
    server.stop();
    let away = home.path().join("logs/app.log.2026-09-21");
    assert!(
        read_log(&away).starts_with(&before),
        "{:?}",
        fs::read_dir(home.path().join("logs")).unwrap().collect::<Vec<_>>()
    );
    assert!(read_log(&path).contains("webhook call_ended") && !read_log(&path).starts_with(&before));
}

#[test]
fn json_lines_are_json_in_both_places() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__FORMAT", "json");
    let mut server = home.start_server();
    send_traffic(&server, "call_4");
    assert_eq!(server.stop(), Some(0));
    for text in [server.output(), read_log(&current_log_path(&home))] {
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let refused = lines.iter().find(|line| line["message"].as_str().unwrap().contains("webhook refused (401)"));
        assert_eq!(refused.unwrap()["level"], "WARN");
    }
}

#[test]
fn the_file_can_be_elsewhere_or_nowhere() {
    let mut home = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__DIR", "other/place");
    let server = home.start_server();
    send_traffic(&server, "call_5");
    wait_for_log_lines(&home.path().join("other/place/app.log"), &["webhook call_ended"]);
    drop(server);
    home.set_env("RETELL_WEBHOOK__LOG__DIR", "off");
    let server = home.start_server();
    send_traffic(&server, "call_6");
    assert!(server.wait_for_output("webhook call_ended"));
    assert!(!home.path().join("logs").exists() && !home.path().join("off").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_warned_about_and_nothing_else() {
    let home = TestEnv::new();
    fs::write(home.path().join("logs"), "a file in the way").unwrap();
    let server = home.start_server();
    send_traffic(&server, "call_7");
    assert!(server.wait_for_output("log.dir: cannot write into logs"), "{}", server.output());
    assert!(server.wait_for_output("webhook call_ended"));
}

#[test]
fn debugging_tells_headers_route_and_fields_without_values() {
    let home = TestEnv::new().with_env("DEBUG", "true");
    let mut server = home.start_server();
    let body = sample_payload("05_");
    assert_eq!(server.post_signed(&body).status, 200);
    assert_eq!(server.stop(), Some(0));
    for text in [server.output(), read_log(&current_log_path(&home))] {
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
    let home = TestEnv::new();
    let mut server = home.start_server();
    assert_eq!(server.post_signed(&sample_payload("05_")).status, 200);
    assert_eq!(server.stop(), Some(0));
    assert!(
        !server.output().contains("webhook body") && !read_log(&current_log_path(&home)).contains("webhook request:")
    );
}
