//! Ids and names with characters that deceive a reader of a terminal or a log: no output prints them unescaped.

use serde_json::{Value, json};

use crate::support::client::{RawClient, request_head};
use crate::support::signing::{OTHER_KEY, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;

/// Bidirectional marks, line separators, zero-width characters, terminal controls, and a line feed that forges a log line.
const DECEPTIVE: &str =
    "\u{202e}\u{2066}\u{200e}\u{61c}\u{2028}\u{2029}\u{85}\u{200b}\u{feff}\u{9b}\u{1b}[31m\r\nERROR x";

fn call_id() -> String {
    format!("call_{DECEPTIVE}_1")
}

fn assert_escaped(output: &str, what: &str) {
    let raw = output.chars().find(|c| DECEPTIVE.contains(*c) && !c.is_ascii_graphic() && !matches!(c, ' ' | '\n'));
    assert!(raw.is_none(), "{what} has {raw:?}: {output:?}");
    assert!(!output.lines().any(|line| line.starts_with("ERROR x")), "{what} has a forged line: {output:?}");
}

fn event(name: &str, text: &str) -> Vec<u8> {
    json!({ "event": name, "call": {
        "call_id": call_id(), "agent_id": text, "agent_name": text, "direction": text, "call_status": text,
        "disconnection_reason": text, "from_number": text,
    } })
    .to_string()
    .into_bytes()
}

fn env(format: &str) -> TestEnv {
    let env = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__FORMAT", format);
    env.write_config(
        "[[companies]]\nslug = \"acme\"\nkeys = [\"key_tests_acme_7c0a4de5588b2031\"]\nagents = [\"agent_1\"]\n\
         [[handlers]]\nname = \"log\"\nkind = \"log\"\n\
         [[handlers]]\nname = \"failing\"\nkind = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", \"printf 'x\\\\342\\\\200\\\\256y' >&2; exit 1\"]\n\
         [[handlers]]\nname = \"calls\"\nkind = \"call_store\"\n",
    );
    env
}

#[test]
fn commands_and_logs_escape_deceptive_characters() {
    for format in ["human", "json"] {
        let env = env(format);
        let mut server = env.start_server();
        assert_eq!(server.post_signed(&event("call_ended", DECEPTIVE)).status, 200);
        assert_eq!(server.post_signed(&event(&format!("call_{DECEPTIVE}"), DECEPTIVE)).status, 200);
        let acme = event("call_ended", DECEPTIVE);
        let signature = sign_with("key_tests_acme_7c0a4de5588b2031", &acme, now_ms());
        let acme_path = "/api/v1/webhook/retell/acme";
        assert_eq!(crate::support::client::post_to(server.address(), acme_path, &acme, &signature).status, 200);
        let rejected = sign_with(OTHER_KEY, b"{}", now_ms());
        let mut client = RawClient::connect(server.address());
        let agent = format!("agent {}", "\u{202e}\u{9b}\u{200b}");
        let head = [("X-Retell-Signature", rejected.as_str()), ("User-Agent", &agent)];
        client.send(format!("{}{{}}", request_head("POST", acme_path, &head, Some(2))).as_bytes()).unwrap();
        assert_eq!(client.read_response().unwrap().status, 401);
        assert!(server.wait_for_output("webhook request rejected"));
        assert!(server.wait_for_output("delivery failed"), "{}", server.output());
        server.stop();

        let log = std::fs::read_to_string(env.path().join("logs/app.log")).unwrap();
        assert!(log.contains("call_\\u{202e}") || log.contains("call_\\u202e"), "{log}");
        assert_escaped(&log, "the log file");
        assert_escaped(&server.output(), "standard output");
        if format == "json" {
            log.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
        }
        assert_commands_escape(&env);
        env.run_ok(&["erase", "--call", &call_id(), "--yes"]);
        let log = std::fs::read_to_string(env.path().join("logs/app.log")).unwrap();
        assert!(!log.contains("call_\\u{202e}") && !log.contains("call_\\u202e"), "erased lines are found: {log}");
    }
}

fn assert_commands_escape(env: &TestEnv) {
    let event_id = env.list_events(&[])[0]["id"].as_str().unwrap().to_owned();
    let commands: [&[&str]; 10] = [
        &["events", "list"],
        &["events", "show", &event_id],
        &["calls", "list"],
        &["calls", "show", &call_id()],
        &["calls", "stats", "--by", "agent"],
        &["deliveries", "list"],
        &["deliveries", "show", &event_id],
        &["rejected", "list"],
        &["status"],
        &["calls", "show", &format!("unknown{DECEPTIVE}")],
    ];
    for command in commands {
        assert_escaped(&env.run(command).output(), command[0]);
        let with_json = env.run(&[command, &["--json"]].concat());
        assert_escaped(&with_json.output(), &format!("{} --json", command[0]));
    }
    let listed = env.list_events(&[]);
    assert!(listed.iter().all(|event| event["call_id"] == call_id()), "JSON has the same value: {listed:?}");
    let exported = env.run_ok(&["events", "export"]);
    assert_escaped(&exported.stdout, "export");
    let first: Value = serde_json::from_str(exported.stdout.lines().nth(1).unwrap()).unwrap();
    assert_eq!(first["event"], format!("call_{DECEPTIVE}"));
    for args in [&["tail", "-n", "10"][..], &["tail", "-n", "10", "--json"]] {
        let mut tail = env.command(args).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(tail.stdout.take().unwrap());
        for _ in 0..3 {
            std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        }
        tail.kill().unwrap();
        tail.wait().unwrap();
        assert!(line.contains("call_\\u"), "{line}");
        assert_escaped(&line, "tail");
    }
}

/// An alarm names the company and the text of the latest failure.
#[test]
fn signed_requests_with_deceptive_headers_are_stored_and_escaped() {
    let env = TestEnv::new();
    let mut server = env.start_server();
    let body = event("call_ended", "plain");
    let mut client = RawClient::connect(server.address());
    let target = "/webhook?a=%E2%80%AE";
    let head = [("X-Retell-Signature", &*sign(&body)), ("Content-Type", "application/json\u{202e}")];
    client.send(request_head("POST", target, &head, Some(body.len())).as_bytes()).unwrap();
    client.send(&body).unwrap();
    assert_eq!(client.read_response().unwrap().status, 200);
    server.stop();
    let event_id = env.list_events(&[])[0]["id"].as_str().unwrap().to_owned();
    assert_escaped(&env.run(&["events", "show", &event_id]).output(), "events show");
    assert_escaped(&server.output(), "the log");
}
