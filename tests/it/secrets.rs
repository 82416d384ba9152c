//! Keys, MACs, tokens, phone numbers and what callers say are in the store and nowhere else.

use serde_json::{Value, json};

use crate::support::bodies::sample_payload;
use crate::support::client::{get, post, request};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, OTHER_KEY, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;

const PHONE_NUMBERS: [&str; 3] = ["+12025550143", "12025550178", "2025550166"];
const CALL_ACCESS_TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.dG9rZW4.c2VjcmV0";
const OPS_TOKEN: &str = "4f9c2d1e8b7a60534f9c2d1e8b7a6053";
const TRANSCRIPT_TEXT: &str = "my card ends in four two";

fn personal_event_body(event: &str, call_id: &str) -> Vec<u8> {
    let call = json!({
        "call_id": call_id, "agent_name": "Nora", "access_token": CALL_ACCESS_TOKEN, "transcript": TRANSCRIPT_TEXT,
        "from_number": PHONE_NUMBERS[0], "to_number": format!("+{}", PHONE_NUMBERS[1]), "direction": "inbound",
        "transcript_object": [{ "role": "user", "content": TRANSCRIPT_TEXT }], "metadata": { "note": TRANSCRIPT_TEXT },
        "call_analysis": { "call_summary": TRANSCRIPT_TEXT, "user_sentiment": "Positive" },
    });
    let destination = json!({ "number": PHONE_NUMBERS[2] });
    json!({ "event": event, "call": call, "transfer_destination": destination }).to_string().into()
}

/// Everything that must not be printed: keys, MACs of signatures, personal data.
struct KnownSecrets(Vec<String>);

impl KnownSecrets {
    fn new() -> Self {
        let mut secrets: Vec<String> =
            [KEY, OTHER_KEY, CALL_ACCESS_TOKEN, OPS_TOKEN, TRANSCRIPT_TEXT].map(str::to_owned).into();
        secrets.extend(PHONE_NUMBERS.map(str::to_owned));
        Self(secrets)
    }

    fn add_digest(&mut self, signature: &str) {
        self.0.push(signature[signature.len() - 64..].to_owned());
    }

    fn assert_absent(&self, place: &str, text: &str) {
        let leaked: Vec<_> = self.0.iter().filter(|secret| text.contains(secret.as_str())).collect();
        assert!(leaked.is_empty(), "{place} contains {leaked:?}:\n{text}");
    }
}

/// Sends accepted, duplicate, rejected and unparsed requests, and some malformed ones; returns the responses.
fn send_all_kinds_of_requests(server: &ReceiverProcess, secrets: &mut KnownSecrets) -> Vec<String> {
    let address = server.address();
    let mut responses = Vec::new();
    let mut send = |body: &[u8], signature: &str| {
        secrets.add_digest(signature);
        // The valid MAC for this body and time must not be printed either.
        let at_ms = signature[2..signature.len() - 67].parse().unwrap();
        secrets.add_digest(&sign_with(KEY, body, at_ms));
        let response = post(address, body, signature);
        responses.push(format!("{:?} {}", response.headers, response.text()));
    };
    for event in ["call_started", "call_ended", "call_analyzed", "transfer_started", "transcript_updated", "call_new"] {
        let body = personal_event_body(event, "call_1");
        send(&body, &sign(&body));
        send(&body, &sign(&body));
        send(&body, &sign_with(OTHER_KEY, &body, now_ms()));
        send(&body, &sign_with(KEY, &body, now_ms() - 900_000));
        send(&body[..body.len() - 1], &sign(&body[..body.len() - 1]));
    }
    let inbound = sample_payload("15_");
    send(&inbound, &sign(&inbound));
    let url = format!("/api/v1/webhook/retell/test?number={}", PHONE_NUMBERS[0]);
    responses.push(get(address, &url).text());
    let forged = [("X-Retell-Signature", TRANSCRIPT_TEXT), ("Authorization", KEY)];
    responses.push(request(address, "POST", "/webhook", &forged, &personal_event_body("call_ended", "call_2")).text());
    responses
}

#[test]
fn commands_print_no_secrets() {
    let home = TestEnv::new().with_env("DEBUG", "true");
    let mut server = home.start_server();
    let mut secrets = KnownSecrets::new();
    for response in send_all_kinds_of_requests(&server, &mut secrets) {
        secrets.assert_absent("a response", &response);
    }
    let id = home.list_events(&["--event", "call_analyzed"])[0]["id"].as_str().unwrap().to_owned();
    let commands: [&[&str]; 12] = [
        &["events", "list"],
        &["events", "list", "--json"],
        &["events", "show", &id],
        &["events", "show", &id, "--json"],
        &["calls", "list"],
        &["calls", "list", "--json"],
        &["calls", "show", "call_1"],
        &["calls", "show", "call_1", "--json"],
        &["rejected", "list"],
        &["rejected", "list", "--json"],
        &["send", "call_ended", "--to", &server.url()],
        &["health", "--url", &server.url()],
    ];
    for args in commands {
        secrets.assert_absent(&format!("{args:?}"), &home.run_ok(args).output());
    }
    assert_eq!(server.stop(), Some(0));
    secrets.assert_absent("the server", &server.output());
    assert!(server.output().contains("webhook event event=call_analyzed"), "the log is on");
    assert!(server.output().contains("webhook request rejected"));
    let exported = home.export_events();
    let stored: Value = serde_json::from_slice(&exported[0].body).unwrap();
    assert_eq!(stored["call"]["access_token"], CALL_ACCESS_TOKEN, "the store has everything");
}

/// Checks metrics and health with and without the operator's token, and that there is a log file.
fn assert_endpoints_hide_secrets(home: &TestEnv, server: &ReceiverProcess, secrets: &KnownSecrets) {
    let metrics = server.metrics();
    assert_eq!(metrics.status, 200);
    let authorization = format!("Bearer {OPS_TOKEN}");
    for headers in [[("Authorization", authorization.as_str())], [("Host", TRANSCRIPT_TEXT)]] {
        for path in ["/metrics", "/health/ready", "/nowhere"] {
            let response = request(server.address(), "GET", path, &headers, b"");
            secrets.assert_absent(path, &format!("{:?} {}", response.headers, response.text()));
        }
    }
    secrets.assert_absent("metrics", &metrics.text());
    assert!(home.path().join("logs/app.log").exists());
}

/// Checks standard output and every log file after the server has stopped.
fn assert_logs_hide_secrets(home: &TestEnv, server: &ReceiverProcess, secrets: &KnownSecrets) {
    secrets.assert_absent("the server", &server.output());
    for entry in std::fs::read_dir(home.path().join("logs")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        secrets.assert_absent(&path.display().to_string(), &text);
        assert!(
            text.contains("webhook event")
                && text.contains("call_analyzed")
                && text.contains("webhook request rejected"),
            "the log is on"
        );
    }
}

#[test]
fn no_format_or_level_logs_secrets() {
    for (format, debug) in [("human", "true"), ("human", "false"), ("json", "true"), ("json", "false")] {
        let home = TestEnv::new()
            .with_env("DEBUG", debug)
            .with_env("RETELL_WEBHOOK__LOG__FORMAT", format)
            .with_env("RETELL_WEBHOOK__OPS__TOKEN", OPS_TOKEN);
        let mut server = home.start_server();
        let mut secrets = KnownSecrets::new();
        for response in send_all_kinds_of_requests(&server, &mut secrets) {
            secrets.assert_absent("a response", &response);
        }
        assert_endpoints_hide_secrets(&home, &server, &secrets);
        assert_eq!(server.stop(), Some(0));
        assert_logs_hide_secrets(&home, &server, &secrets);
        assert_eq!(server.output().contains("webhook body"), debug == "true", "{format} {debug}");
    }
}

#[test]
fn store_errors_contain_nothing_of_the_event() {
    let home = TestEnv::new().with_env("DEBUG", "true");
    let mut server = home.start_server();
    home.open_database()
        .execute_batch("CREATE TRIGGER poison BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'poisoned'); END")
        .unwrap();
    let body = personal_event_body("call_ended", "call_1");
    let signature = sign(&body);
    let mut secrets = KnownSecrets::new();
    secrets.add_digest(&signature);
    let response = post(server.address(), &body, &signature);
    assert_ne!(response.status, 200);
    secrets.assert_absent("the response", &response.text());
    server.stop();
    secrets.assert_absent("the server", &server.output());
}

/// A receiver behind a proxy that asks for a password has it in its URL.
#[test]
fn the_password_in_the_url_of_a_receiver_is_not_printed() {
    let home = TestEnv::new();
    let server = home.start_server();
    let with_password = |url: &str| url.replace("http://", "http://user:hunter2@");
    let urls = [with_password(&server.url()), "http://user:hunter2@127.0.0.1:1".to_owned()];
    let (mut reached, mut refused) = (0, 0);
    for url in &urls {
        let commands: [&[&str]; 8] = [
            &["send", "call_ended", "--to", url],
            &["send", "call_ended", "--to", url, "--json"],
            &["simulate", "--calls", "1", "--to", url],
            &["simulate", "--calls", "1", "--to", url, "--json"],
            &["load", "--seconds", "1", "--connections", "1", "--to", url],
            &["load", "--seconds", "1", "--connections", "1", "--to", url, "--json"],
            &["health", "--url", url],
            &["functions", "test", "lookup", "--to", url],
        ];
        for args in commands {
            let ran = home.run(args);
            assert!(!ran.output().is_empty() && !ran.output().contains("hunter2"), "{args:?}: {ran:?}");
            *if ran.exit_code == Some(0) { &mut reached } else { &mut refused } += 1;
        }
    }
    assert!(reached == 7 && refused == 9, "{reached} commands reached the receiver, {refused} did not");
}

#[test]
fn the_password_in_the_public_url_is_not_printed() {
    let home = TestEnv::new().with_env("SERVER_URL", "https://user:hunter2@example.com");
    let server = home.start_server();
    assert!(server.output().contains("example.com/api/v1/webhook/retell"), "{}", server.output());
    let description = get(server.address(), "/api/v1/openapi.json").text();
    let test_route = get(server.address(), "/api/v1/webhook/retell/test").text();
    let shown = [server.output(), description, test_route, home.run_ok(&["config", "show"]).output()];
    for text in shown {
        assert!(text.contains("***@example.com") && !text.contains("hunter2"), "{}", text.len());
    }
}
