#![cfg(unix)]

use std::path::Path;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::*;
use crate::config::HandlerKind;
use crate::handlers::test_fixtures;

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

fn table(script: &str) -> HandlerSettings {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).into();
    HandlerSettings { command, ..HandlerSettings::new("program", HandlerKind::Exec) }
}

fn exec(table: &HandlerSettings) -> ExecHandler {
    ExecHandler::from_settings(table, ProgramSearchPath::from("/usr/bin:/bin")).unwrap()
}

async fn run_attempt(table: &HandlerSettings, body: &[u8]) -> AttemptResult {
    let (event, context) = test_fixtures::sample_event("call_ended");
    let body = Bytes::copy_from_slice(body);
    timeout(TEST_TIMEOUT, exec(table).deliver(&event, &body, &context)).await.unwrap()
}

async fn script_outcome(script: &str) -> Outcome {
    run_attempt(&table(script), b"{}").await.outcome
}

/// The process id that a script writes to `file`.
async fn wait_for_pid(file: &Path) -> i32 {
    timeout(TEST_TIMEOUT, async {
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if let Some(number) = text.strip_suffix('\n') {
                return number.parse().unwrap();
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap()
}

/// A zombie that has not been waited for counts as exited.
async fn wait_for_exit(process: i32) {
    let stat = format!("/proc/{process}/stat");
    let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    let waits = async {
        while !gone() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TEST_TIMEOUT, waits).await.unwrap();
}

#[tokio::test]
async fn the_program_reads_the_exact_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let body: Vec<u8> = (0..1_100_000_u32).map(|at| (at % 251) as u8).collect();
    let script = format!("cat > {}/body", folder.path().display());
    assert_eq!(run_attempt(&table(&script), &body).await.outcome, Outcome::Done);
    assert_eq!(std::fs::read(folder.path().join("body")).unwrap(), body);
}

#[tokio::test]
async fn a_program_that_prints_its_input_does_not_block() {
    let body = vec![b'x'; 3_000_000];
    let attempt =
        run_attempt(&HandlerSettings { output_limit_bytes: Some(1_000), ..table("tee /dev/stderr") }, &body).await;
    assert_eq!((attempt.outcome, attempt.response_excerpt.unwrap().len()), (Outcome::Done, 1_000));
}

#[tokio::test]
async fn a_program_need_not_read_its_input() {
    let attempt = run_attempt(&table("exec echo enough"), &vec![b'x'; 1_000_000]).await;
    assert_eq!((attempt.outcome, attempt.response_excerpt.as_deref()), (Outcome::Done, Some("enough\n")));
}

#[tokio::test]
async fn the_environment_has_only_the_documented_variables() {
    let (event, mut context) = test_fixtures::sample_event("call_ended");
    (context.attempt, context.replay) = (3, true);
    let command = vec!["env".to_owned()];
    let env = exec(&HandlerSettings { command, ..table("") });
    let answer = env.deliver(&event, &Bytes::new(), &context).await.response_excerpt.unwrap();
    let mut lines: Vec<&str> = answer.lines().collect();
    lines.sort_unstable();
    let id = context.event_id;
    let expected = format!(
        "PATH=/usr/bin:/bin RETELL_ATTEMPT=3 RETELL_CALL_ID=call_1 RETELL_COMPANY=default RETELL_EVENT=call_ended \
         RETELL_EVENT_ID={id} RETELL_RECEIVED_AT_MS=1795305599000 RETELL_REPLAY=1"
    );
    assert_eq!(lines.join(" "), expected);

    context.revision_of = Some(id);
    let answer = env.deliver(&event, &Bytes::new(), &context).await.response_excerpt.unwrap();
    assert!(answer.lines().any(|line| line == format!("RETELL_REVISION_OF={id}")), "{answer}");
}

#[tokio::test]
async fn exit_codes_map_to_outcomes() {
    let reason = |code: i32| format!("the program exited with code {code}");
    assert_eq!(script_outcome("exit 0").await, Outcome::Done);
    assert_eq!(script_outcome("exit 1").await, Outcome::retry(reason(1)));
    assert_eq!(script_outcome("exit 100").await, Outcome::fail(reason(100)));
    assert_eq!(script_outcome("kill -9 $$").await, Outcome::retry("the program was killed by signal 9"));
    assert_eq!(run_attempt(&table("exit 7"), b"").await.status, Some(7));

    for (retry, fail, code, wanted) in [
        (vec![75], vec![], 75, Outcome::retry(reason(75))),
        (vec![75], vec![], 1, Outcome::fail(reason(1))),
        (vec![], vec![2], 100, Outcome::retry(reason(100))),
        (vec![], vec![2], 2, Outcome::fail(reason(2))),
        (vec![75], vec![2], 0, Outcome::Done),
    ] {
        let table =
            HandlerSettings { retry_exit_codes: retry, fail_exit_codes: fail, ..table(&format!("exit {code}")) };
        assert_eq!(run_attempt(&table, b"").await.outcome, wanted, "{table:?}");
    }
}

#[tokio::test]
async fn output_above_the_limit_is_discarded() {
    let script = "dd if=/dev/zero bs=65536 count=400 2>/dev/null; echo no >&2; exit 4";
    let attempt = run_attempt(&table(script), b"{}").await;
    assert_eq!((attempt.status, attempt.response_excerpt.unwrap().len()), (Some(4), 65_536));
}

#[tokio::test]
async fn child_processes_are_killed_when_the_attempt_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let grandchild = folder.path().join("pid");
    let script = format!("sh -c 'sleep 1000 & echo $! > {}; wait'; true", grandchild.display());
    let (event, context) = test_fixtures::sample_event("call_ended");
    let (program, body) = (exec(&table(&script)), Bytes::new());
    let number = tokio::select! {
        attempt = program.deliver(&event, &body, &context) => panic!("{attempt:?}"),
        number = wait_for_pid(&grandchild) => number,
    };
    wait_for_exit(number).await;
}

#[tokio::test]
async fn child_processes_are_killed_when_the_program_exits() {
    let folder = tempfile::tempdir().unwrap();
    let child = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; echo begun", child.display());
    let attempt = run_attempt(&table(&script), b"{}").await;
    assert_eq!((attempt.outcome, attempt.response_excerpt.as_deref()), (Outcome::Done, Some("begun\n")));
    wait_for_exit(wait_for_pid(&child).await).await;
}

#[tokio::test]
async fn a_running_program_has_a_grace_period_when_the_receiver_stops() {
    let (event, context) = test_fixtures::sample_event("call_ended");
    context.cancellation.cancel();
    let body = Bytes::new();
    let short = exec(&table("sleep 0.2")).deliver(&event, &body, &context).await;
    assert_eq!(short.outcome, Outcome::Done);
    let long = exec(&table("sleep 1000"));
    let attempt = timeout(TEST_TIMEOUT, long.deliver(&event, &body, &context)).await.unwrap();
    assert_eq!(attempt.outcome, Outcome::retry("the receiver stopped before the program exited"));
}

#[tokio::test]
async fn a_program_that_disappeared_is_a_retry() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::os::unix::fs::symlink("/bin/true", &program).unwrap();
    let command = vec![program.to_str().unwrap().to_owned()];
    let exec = exec(&HandlerSettings { command, ..table("") });
    let (event, context) = test_fixtures::sample_event("call_ended");
    assert_eq!(exec.deliver(&event, &Bytes::new(), &context).await.outcome, Outcome::Done);
    std::fs::remove_file(&program).unwrap();
    let attempt = exec.deliver(&event, &Bytes::new(), &context).await;
    assert!(matches!(&attempt.outcome, Outcome::Retry { reason, .. } if reason.contains("cannot be started: No such")));
}

#[test]
fn programs_are_searched_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    let path = folder.path().to_str().unwrap();
    let refused = |name: &str, path: &str, enabled: bool| {
        let table = HandlerSettings { command: vec![name.to_owned()], enabled, ..table("") };
        ExecHandler::from_settings(&table, ProgramSearchPath::from(path)).err()
    };
    for (name, path, said) in [
        ("/nowhere/program", "/bin", "/nowhere/program: No such file"),
        (plain.to_str().unwrap(), "/bin", "is not executable; run chmod +x"),
        (path, "/bin", "is not executable"),
        ("plain", path, "`plain` is not in a directory of PATH"),
        ("sh", "", "`sh` is not in a directory of PATH"),
    ] {
        let error = refused(name, path, true).unwrap();
        let (key, why) = (error.key(), error.problem());
        assert!(key == "command" && why.contains(said), "{why}");
        assert_eq!(refused(name, path, false), None, "a disabled handler never runs its program");
    }
    assert_eq!(refused("sh", "/nowhere:/bin", true), None);
}
