//! `exec` in a running receiver: the examples of its page, exit codes, and child processes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::event_body;
use crate::support::server::ReceiverProcess;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// The first block in `language` of a page under docs/handlers.
pub(super) fn example_from_page(page: &str, language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/handlers").join(page);
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("\n```{language}\n")).unwrap();
    rest.split("```").next().unwrap().to_owned()
}

/// An environment with these handlers and a PATH.
pub(super) fn env_with_handlers(handlers: &str) -> TestEnv {
    let home = TestEnv::new().with_env("PATH", "/usr/bin:/bin");
    fs::create_dir(home.path().join("config")).unwrap();
    fs::write(home.path().join("config/local.toml"), handlers).unwrap();
    home
}

/// Starts a receiver whose only handler runs `script` in a shell and is retried after one second.
fn start_with_script(script: &str, more: &str) -> (TestEnv, ReceiverProcess) {
    let home = env_with_handlers(&format!(
        "[[handlers]]\nname = \"script\"\nkind = \"exec\"\ncommand = [\"/bin/sh\", \"script\"]\nretry_schedule = [\"1s\"]\n{more}\n"
    ));
    fs::write(home.path().join("script"), script).unwrap();
    let server = home.start_server();
    (home, server)
}

fn wait_for_file(path: &Path) -> String {
    let mut text = String::new();
    let whole = wait_until(WAIT_LIMIT, || {
        text = fs::read_to_string(path).unwrap_or_default();
        text.ends_with('\n')
    });
    assert!(whole, "{}: {text}", path.display());
    text
}

fn is_process_running(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn the_example_of_the_page_stores_each_event() {
    let home = env_with_handlers(&example_from_page("exec.md", "toml"));
    fs::create_dir(home.path().join("bin")).unwrap();
    let program = home.path().join("bin/on-event");
    fs::write(&program, example_from_page("exec.md", "bash")).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let server = home.start_server();
    let body = event_body("call_ended", "call_1");
    for body in [&event_body("call_started", "call_1"), &body] {
        assert_eq!(server.post_signed(body).status, 200);
    }
    let id = home.list_events(&["--event", "call_ended"])[0]["id"].as_str().unwrap().to_owned();
    let kept = home.path().join(format!("inbox/{id}.json"));
    assert!(wait_until(WAIT_LIMIT, || kept.exists()));
    assert_eq!(fs::read(&kept).unwrap(), body);
    assert_eq!(fs::read_dir(home.path().join("inbox")).unwrap().count(), 1, "call_started is filtered out");
}

#[test]
fn bytes_and_environment_match_the_page() {
    let script = "cat > body.part; tr '\\0' '\\n' < /proc/$$/environ > env; mv body.part body";
    let (home, server) = start_with_script(script, "");
    let mut body = vec![0, 255, b'\n'];
    body.extend((0..1_200_000_u32).map(|at| (at % 253) as u8));
    assert_eq!(server.post_signed(&body).status, 200);
    assert!(wait_until(WAIT_LIMIT, || home.path().join("body").exists()));
    assert!(fs::read(home.path().join("body")).unwrap() == body, "the body differs from the sent bytes");
    let environment = wait_for_file(&home.path().join("env"));
    let mut names: Vec<_> = environment.lines().map(|line| line.split('=').next().unwrap()).collect();
    names.sort_unstable();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/handlers/exec.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut documented: Vec<_> = rows.filter(|name| *name == "PATH" || name.starts_with("RETELL_")).collect();
    documented.retain(|name| *name != "RETELL_REVISION_OF");
    documented.sort_unstable();
    assert_eq!(names, documented, "{environment}");
    let id = home.list_events(&[])[0]["id"].as_str().unwrap().to_owned();
    let company = "RETELL_COMPANY=default".to_owned();
    for line in ["PATH=/usr/bin:/bin".to_owned(), format!("RETELL_EVENT_ID={id}"), "RETELL_EVENT=".to_owned(), company]
    {
        assert!(environment.lines().any(|found| found == line), "{line} in {environment}");
    }
}

#[test]
fn exit_codes_decide_about_retries() {
    let script = "echo \"$RETELL_CALL_ID $RETELL_ATTEMPT\" >> seen
        case $RETELL_CALL_ID-$RETELL_ATTEMPT in call_again-1) exit 75;; call_never-*) exit 100;; esac";
    let (home, server) = start_with_script(script, "");
    for call_id in ["call_never", "call_again", "call_fine"] {
        assert_eq!(server.post_signed(&event_body("call_ended", call_id)).status, 200);
    }
    let seen = || fs::read_to_string(home.path().join("seen")).unwrap_or_default();
    assert!(wait_until(WAIT_LIMIT, || seen().contains("call_again 2\n")), "{}", seen());
    assert!(server.wait_for_output("the program exited with code 75"));
    assert!(server.wait_for_output("the program exited with code 100"));
    let mut lines: Vec<_> = seen().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["call_again 1", "call_again 2", "call_fine 1", "call_never 1"]);
}

#[test]
fn exit_code_and_beginning_of_output_are_stored() {
    let (home, server) = start_with_script("echo cannot reach +12025550143; yes x | head -c 100000; exit 100", "");
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    assert!(server.wait_for_output("the program exited with code 100"));
    let event_id = home.list_events(&[])[0]["id"].as_str().unwrap().to_owned();
    let show = || home.run_ok(&["deliveries", "show", &event_id, "--handler", "script", "--json"]).json();
    let record = || show()[0]["attempt_records"][0].clone();
    assert!(wait_until(WAIT_LIMIT, || record().is_object()));
    let record = record();
    assert_eq!((&record["outcome"], &record["status"]), (&json!("fail"), &json!(100)));
    let answer = record["answer"].as_str().unwrap();
    assert!(answer.starts_with("cannot reach ") && answer.len() <= 500, "{answer}");
    assert!(!answer.contains("2025550143") && !server.output().contains("xxxx"), "{answer}");
}

#[test]
fn a_program_that_was_removed_is_retried() {
    let home = env_with_handlers(
        "[[handlers]]\nname = \"script\"\nkind = \"exec\"\ncommand = [\"./program\"]\nretry_schedule = [\"1s\"]\n",
    );
    let program = home.path().join("program");
    std::os::unix::fs::symlink("/bin/true", &program).unwrap();
    let server = home.start_server();
    fs::remove_file(&program).unwrap();
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    assert!(server.wait_for_output("program cannot be started: No such file or directory"));
    std::os::unix::fs::symlink("/bin/true", &program).unwrap();
    assert!(server.wait_for_output("delivery succeeded"), "{}", server.output());
}

#[test]
fn a_reload_with_a_missing_program_changes_nothing() {
    let (home, server) = start_with_script("echo old >> seen", "");
    fs::write(
        home.path().join("config/local.toml"),
        "[[handlers]]\nname = \"script\"\nkind = \"exec\"\ncommand = [\"/nowhere/x\"]\n",
    )
    .unwrap();
    server.send_signal("-HUP");
    assert!(server.wait_for_output("/nowhere/x: No such file"), "{}", server.output());
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    assert_eq!(wait_for_file(&home.path().join("seen")), "old\n");
}

#[test]
fn child_processes_are_killed_at_the_timeout() {
    let script = "[ $RETELL_ATTEMPT = 1 ] || { echo again > again; exit 0; }
        (sleep 1000 & echo $! > grandchild; wait)";
    let (home, server) = start_with_script(script, "timeout_ms = 1000");
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    let grandchild = wait_for_file(&home.path().join("grandchild"));
    assert!(wait_until(WAIT_LIMIT, || !is_process_running(&grandchild)));
    wait_for_file(&home.path().join("again"));
}

#[test]
fn child_processes_are_killed_when_the_receiver_stops() {
    let (home, mut server) = start_with_script("sleep 1000 & echo $! > child; wait", "");
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    let child = wait_for_file(&home.path().join("child"));
    assert!(is_process_running(&child));
    assert_eq!(server.stop(), Some(0));
    assert!(wait_until(WAIT_LIMIT, || !is_process_running(&child)));
}

#[test]
fn a_flood_of_output_is_discarded_and_not_logged() {
    let (home, server) =
        start_with_script("yes '+12025550143' | head -c 30000000; echo done > done", "output_limit_bytes = 4096");
    assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
    wait_for_file(&home.path().join("done"));
    assert_eq!(server.post_signed(&event_body("call_ended", "call_2")).status, 200);
    assert!(!server.output().contains("2025550143"));
}

#[test]
fn invalid_settings_are_refused_at_start() {
    let table = |more: &str| format!("[[handlers]]\nname = \"script\"\nkind = \"exec\"\n{more}\n");
    for (more, expected) in [
        ("", "handlers[0] `script`: command: expected the program and its arguments"),
        (
            "command = [\"/bin/sh\"]\nretry_exit_codes = [0]",
            "handlers[0] `script`: retry_exit_codes = [0]: expected exit codes",
        ),
        ("command = [\"/nowhere/x\"]", "handlers[0] `script`: command: /nowhere/x: No such file"),
        (
            "command = [\"no-such-program\"]",
            "handlers[0] `script`: command: `no-such-program` is not in a directory of PATH",
        ),
    ] {
        let ran = env_with_handlers(&table(more)).start_expecting_exit();
        assert!(ran.exit_code == Some(1) && ran.output().contains(expected), "{expected}: {ran:?}");
    }
}

#[test]
fn no_variable_sets_a_program() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("ran");
    let touch = format!("touch {}", marker.display());
    for name in ["HANDLERS", "HANDLERS__0__COMMAND", "HANDLERS[0]__COMMAND[2]", "HANDLERS[0]__COMMAND"] {
        let home = env_with_handlers(
            "[[handlers]]\nname = \"a\"\nkind = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", \"true\"]\n",
        )
        .with_env(&format!("RETELL_WEBHOOK__{name}"), &touch);
        let ran = home.run(&["config", "check"]);
        assert!(ran.exit_code == Some(1) && ran.stderr.contains("handlers"), "{name}: {ran:?}");
    }
}
