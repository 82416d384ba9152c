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

/// The number a script wrote into `file`.
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

/// A zombie that nobody has collected yet counts as ended.
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
async fn bytes_come_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let body: Vec<u8> = (0..1_100_000_u32).map(|at| (at % 251) as u8).collect();
    let script = format!("cat > {}/body", folder.path().display());
    assert_eq!(run_attempt(&table(&script), &body).await.outcome, Outcome::Done);
    assert_eq!(std::fs::read(folder.path().join("body")).unwrap(), body);
}

#[tokio::test]
async fn a_program_that_prints_what_it_reads_does_not_lock_up() {
    let body = vec![b'x'; 3_000_000];
    let attempt =
        run_attempt(&HandlerSettings { output_limit_bytes: Some(1_000), ..table("tee /dev/stderr") }, &body).await;
    assert_eq!((attempt.outcome, attempt.response_excerpt.unwrap().len()), (Outcome::Done, 1_000));
}

#[tokio::test]
async fn a_program_need_not_read() {
    let attempt = run_attempt(&table("exec echo enough"), &vec![b'x'; 1_000_000]).await;
    assert_eq!((attempt.outcome, attempt.response_excerpt.as_deref()), (Outcome::Done, Some("enough\n")));
}

#[tokio::test]
async fn the_environment_is_what_is_said_and_nothing_else() {
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
async fn exit_codes() {
    let said = |code: i32| format!("the program ended with exit code {code}");
    assert_eq!(script_outcome("exit 0").await, Outcome::Done);
    assert_eq!(script_outcome("exit 1").await, Outcome::retry(said(1)));
    assert_eq!(script_outcome("exit 100").await, Outcome::fail(said(100)));
    assert_eq!(script_outcome("kill -9 $$").await, Outcome::retry("the program was ended by signal 9"));
    assert_eq!(run_attempt(&table("exit 7"), b"").await.status, Some(7));

    for (retry, fail, code, wanted) in [
        (vec![75], vec![], 75, Outcome::retry(said(75))),
        (vec![75], vec![], 1, Outcome::fail(said(1))),
        (vec![], vec![2], 100, Outcome::retry(said(100))),
        (vec![], vec![2], 2, Outcome::fail(said(2))),
        (vec![75], vec![2], 0, Outcome::Done),
    ] {
        let table =
            HandlerSettings { retry_exit_codes: retry, fail_exit_codes: fail, ..table(&format!("exit {code}")) };
        assert_eq!(run_attempt(&table, b"").await.outcome, wanted, "{table:?}");
    }
}

#[tokio::test]
async fn a_flood_of_output_is_let_pass() {
    let script = "dd if=/dev/zero bs=65536 count=400 2>/dev/null; echo no >&2; exit 4";
    let attempt = run_attempt(&table(script), b"{}").await;
    assert_eq!((attempt.status, attempt.response_excerpt.unwrap().len()), (Some(4), 65_536));
}

#[tokio::test]
async fn nobody_outlasts_an_attempt_that_is_given_up() {
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
async fn nobody_outlasts_a_program_that_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let child = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; echo begun", child.display());
    let attempt = run_attempt(&table(&script), b"{}").await;
    assert_eq!((attempt.outcome, attempt.response_excerpt.as_deref()), (Outcome::Done, Some("begun\n")));
    wait_for_exit(wait_for_pid(&child).await).await;
}

#[tokio::test]
async fn a_program_under_way_when_the_receiver_stops_has_time_to_end() {
    let (event, context) = test_fixtures::sample_event("call_ended");
    context.cancellation.cancel();
    let body = Bytes::new();
    let short = exec(&table("sleep 0.2")).deliver(&event, &body, &context).await;
    assert_eq!(short.outcome, Outcome::Done);
    let long = exec(&table("sleep 1000"));
    let attempt = timeout(TEST_TIMEOUT, long.deliver(&event, &body, &context)).await.unwrap();
    assert_eq!(attempt.outcome, Outcome::retry("the receiver stopped before the program had ended"));
}

#[tokio::test]
async fn a_program_that_went_away_is_a_retry() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::os::unix::fs::symlink("/bin/true", &program).unwrap();
    let command = vec![program.to_str().unwrap().to_owned()];
    let exec = exec(&HandlerSettings { command, ..table("") });
    let (event, context) = test_fixtures::sample_event("call_ended");
    assert_eq!(exec.deliver(&event, &Bytes::new(), &context).await.outcome, Outcome::Done);
    std::fs::remove_file(&program).unwrap();
    let attempt = exec.deliver(&event, &Bytes::new(), &context).await;
    assert!(matches!(&attempt.outcome, Outcome::Retry { reason, .. } if reason.contains("cannot be run: No such")));
}

#[test]
fn programs_are_looked_for_at_start() {
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
        (plain.to_str().unwrap(), "/bin", "cannot be executed; chmod +x"),
        (path, "/bin", "cannot be executed"),
        ("plain", path, "`plain` is in no folder of PATH"),
        ("sh", "", "`sh` is in no folder of PATH"),
    ] {
        let (key, why) = refused(name, path, true).unwrap();
        assert!(key == "command" && why.contains(said), "{why}");
        assert_eq!(refused(name, path, false), None, "a disabled one is never run");
    }
    assert_eq!(refused("sh", "/nowhere:/bin", true), None);
}
