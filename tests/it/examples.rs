//! Runs the programs in examples/ as a user would who copies them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::bodies::sample_payload;
use crate::support::client::post_to;
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, sign};

/// The path of an example, or `None` when it was not built: `cargo test --test it` does not build the examples.
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

/// Starts the example, posts one event to `path`, and checks that the example prints `expected`.
fn assert_example_prints(name: &str, path: &str, expected: &str) {
    let Some(program) = example_path(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.current_dir(folder.path()).env_clear().env("RETELL_API_KEY", KEY).env("PORT", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let server = ReceiverProcess::spawn_and_wait_for_address(command);
    let body = sample_payload("03_");
    let status = post_to(server.address(), path, &body, &sign(&body)).status;
    assert!((200..300).contains(&status), "{status}: {}", server.output());
    assert!(server.wait_for_output(expected), "{}", server.output());
    assert_eq!(post_to(server.address(), path, &body, "v=1,d=00").status, 401);
}

#[test]
fn embedded_receives_an_event() {
    assert_example_prints("embedded", "/api/v1/webhook/retell", "ended: Some(");
}

#[test]
fn custom_handler_receives_an_event() {
    assert_example_prints("custom_handler", "/api/v1/webhook/retell", " minutes");
}

#[test]
fn signature_only_receives_an_event() {
    assert_example_prints("signature_only", "/webhook", "ended: Some(");
}
