//! The examples, run as somebody who copies them would.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::bodies::sample_payload;
use crate::support::client::post_to;
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, sign};

/// Built by `cargo test`, but not when a single test target is asked for.
fn example_path(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_BIN_EXE_retell-webhook"));
    let path = folder.parent()?.join("examples").join(name);
    if !path.exists() {
        assert!(std::env::var_os("REQUIRE_SERVICES").is_none(), "{} was not built", path.display());
        eprintln!("skipped: the example {name} is not built; `cargo test` builds it");
        return None;
    }
    Some(path)
}

/// Delivers one event to `path` of the example; says what it printed.
fn assert_example_prints(name: &str, path: &str, wanted: &str) {
    let Some(program) = example_path(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.current_dir(folder.path()).env_clear().env("RETELL_API_KEY", KEY).env("PORT", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let server = ReceiverProcess::spawn_and_wait_for_address(command);
    let body = sample_payload("03_");
    let status = post_to(server.address(), path, &body, &sign(&body)).status;
    assert!((200..300).contains(&status), "{status}: {}", server.output());
    assert!(server.wait_for_output(wanted), "{}", server.output());
    assert_eq!(post_to(server.address(), path, &body, "v=1,d=00").status, 401);
}

#[test]
fn embedded() {
    assert_example_prints("embedded", "/api/v1/webhook/retell", "ended: Some(");
}

#[test]
fn custom_handler() {
    assert_example_prints("custom_handler", "/api/v1/webhook/retell", " minutes");
}

#[test]
fn signature_only() {
    assert_example_prints("signature_only", "/webhook", "ended: Some(");
}
