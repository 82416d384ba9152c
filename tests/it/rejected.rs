//! Rejected requests: their diagnosis in the log and in the store, and the limits during a flood.

use std::time::{Duration, Instant};

use retell_webhook::ApiKey;
use serde_json::Value;

use crate::support::bodies::event_body;
use crate::support::client::{HttpResponse, RawClient, WEBHOOK_PATH, post, post_to, request, request_head};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, OTHER_KEY, api_key, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const UNAUTHORIZED: &str = r#"{"message":"Unauthorized"}"#;

fn assert_unauthorized(case: &str, response: &HttpResponse) {
    assert_eq!((response.status, response.text().as_str()), (401, UNAUTHORIZED), "{case}");
}

/// Waits until `rejected list --json` has exactly `count` rows.
fn wait_for_rejected(home: &TestEnv, count: usize) -> Vec<Value> {
    let mut rows = Vec::new();
    let has_rows = wait_until(Duration::from_secs(15), || {
        let ran = home.run_ok(&["rejected", "list", "--json", "--limit", "2000"]);
        rows.clone_from(ran.json().as_array().unwrap());
        rows.len() >= count
    });
    assert!(has_rows && rows.len() == count, "{} rows instead of {count}: {rows:#?}", rows.len());
    rows
}

fn diagnosis(row: &Value) -> &str {
    row["diagnosis"].as_str().unwrap()
}

/// A signature with its time in seconds, as made by a library with that mistake.
fn sign_in_seconds(key: &ApiKey, body: &[u8]) -> String {
    retell_webhook::Signature::sign(key, body, now_ms() / 1000).to_string()
}

fn send_each_rejection(server: &ReceiverProcess) -> [&'static str; 7] {
    let (address, now) = (server.address(), now_ms());
    let body = event_body("call_ended", "call_4e11");
    let spaced = String::from_utf8(body.clone()).unwrap().replace(':', ": ").replace(',', ", ");
    assert_unauthorized("missing", &request(address, "POST", WEBHOOK_PATH, &[], &body));
    assert_unauthorized(
        "upper case",
        &post(address, &body, &sign(&body).to_uppercase().replace("V=", "v=").replace("D=", "d=")),
    );
    assert_unauthorized("wrong key", &post(address, &body, &sign_with(OTHER_KEY, &body, now)));
    assert_unauthorized("re-serialized", &post(address, spaced.as_bytes(), &sign(&body)));
    assert_unauthorized("seconds", &post(address, &body, &sign_in_seconds(&api_key(KEY), &body)));
    assert_unauthorized("fast clock", &post(address, &body, &sign_with(KEY, &body, now - 3_720_000)));
    assert_unauthorized("stale with another key", &post(address, &body, &sign_with(OTHER_KEY, &body, now - 400_000)));
    [
        "header is missing",
        "malformed: it has upper-case letters",
        "no configured key made this signature",
        "JSON.stringify",
        "in seconds instead of milliseconds",
        "apart from its age it is valid: this machine's clock is 1 h 2 min ahead",
        "its digest does not match either",
    ]
}

#[test]
fn each_cause_is_named_in_the_store_and_in_the_log() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let causes = send_each_rejection(&server);
    let rows = wait_for_rejected(&home, causes.len());
    for cause in causes {
        let of_cause: Vec<_> = rows.iter().filter(|row| diagnosis(row).contains(cause)).collect();
        assert_eq!(of_cause.len(), 1, "{cause}: {rows:#?}");
        let row = of_cause[0];
        assert_eq!((&row["method"], &row["path"]), (&"POST".into(), &WEBHOOK_PATH.into()));
        assert_eq!(row["source"], "127.0.0.1");
        assert!(row["id"].as_str().unwrap().starts_with("rej_"));
        let shown = home.run_ok(&["rejected", "show", row["id"].as_str().unwrap()]).stdout;
        assert!(shown.contains(cause) && shown.contains("host: localhost"), "{shown}");
    }
    let table = home.run_ok(&["rejected", "list"]).stdout;
    assert_eq!(table.lines().count(), 1 + causes.len(), "{table}");
    assert_eq!(server.stop(), Some(0));
    let log = server.output();
    for cause in causes {
        let lines = log.lines().filter(|line| line.contains("webhook request rejected") && line.contains(cause));
        assert_eq!(lines.count(), 1, "{cause}: {log}");
    }
    assert!(home.export_events().is_empty());
}

/// `curl -d @FILE` removes the line breaks of the file.
#[test]
fn line_breaks_that_curl_removes_are_named_with_the_remedy() {
    let file = "{\n  \"event\": \"call_ended\",\n  \"call\": { \"call_id\": \"call_1\" }\n}\n";
    let sent = file.replace('\n', "");
    let home = TestEnv::new();
    let server = home.start_server();
    assert_unauthorized("signed file", &post(server.address(), sent.as_bytes(), &sign(file.as_bytes())));
    let certain = diagnosis(&wait_for_rejected(&home, 1)[0]).to_owned();
    assert!(
        certain.contains("its line breaks were removed") && certain.contains("curl: --data-binary @FILE"),
        "{certain}"
    );
    let other_key = sign_with(OTHER_KEY, file.as_bytes(), now_ms());
    assert_unauthorized("another key", &post(server.address(), sent.as_bytes(), &other_key));
    let guess = diagnosis(&wait_for_rejected(&home, 2)[0]).to_owned();
    assert!(guess.contains("curl --data-binary @FILE") && guess.contains("RETELL_API_KEY"), "{guess}");
}

#[test]
fn no_secret_is_stored_and_bodies_only_when_configured() {
    let mut home = TestEnv::new().with_env("DEBUG", "true");
    let body = event_body("call_ended", "call_of_a_caller");
    let target = format!("{WEBHOOK_PATH}?number=%2B12025550143");
    let now = now_ms();
    let signatures = [
        sign_with(OTHER_KEY, &body, now),
        sign_with(KEY, &body, now - 400_000),
        sign_with(KEY, &body, now).replace("v=", "V="),
    ];
    let valid = sign_with(KEY, &body, now);
    let mut secrets = vec![KEY.to_owned(), OTHER_KEY.into(), "call_of_a_caller".into(), "2025550143".into()];
    secrets.extend(signatures.iter().chain([&valid]).map(|signature| signature[signature.len() - 58..].to_owned()));
    let mut server = home.start_server();
    for signature in &signatures {
        let headers = [("X-Retell-Signature", signature.as_str()), ("Authorization", KEY), ("Cookie", OTHER_KEY)];
        assert_unauthorized("", &request(server.address(), "POST", &target, &headers, &body));
    }
    let mut printed = String::new();
    for row in wait_for_rejected(&home, signatures.len()) {
        let id = row["id"].as_str().unwrap();
        printed += &home.run_ok(&["rejected", "show", id]).output();
        printed += &home.run_ok(&["rejected", "show", id, "--json"]).output();
        let no_body = home.run(&["rejected", "show", id, "--body"]);
        assert_eq!(
            (no_body.exit_code, no_body.stderr.contains("keep_rejected_bodies")),
            (Some(1), true),
            "{no_body:?}"
        );
    }
    server.stop();
    printed += &server.output();
    printed += &home.run_ok(&["rejected", "list"]).output();
    let printed_secrets: Vec<_> = secrets.iter().filter(|secret| printed.contains(secret.as_str())).collect();
    assert!(printed_secrets.is_empty(), "{printed_secrets:?} in {printed}");
    assert!(printed.contains("d=") && printed.contains('…'), "the format of the signature is shown");

    home.set_env("RETELL_WEBHOOK__SECURITY__KEEP_REJECTED_BODIES", "true");
    let server = home.start_server();
    assert_unauthorized("", &post(server.address(), &body, &signatures[0]));
    let newest = &wait_for_rejected(&home, signatures.len() + 1)[0];
    assert_eq!(newest["has_body"], true);
    let kept = home.run_ok(&["rejected", "show", newest["id"].as_str().unwrap(), "--body"]).stdout;
    assert_eq!(kept.as_bytes(), body);
}

#[test]
fn a_stale_request_is_answered_before_its_body() {
    let home = TestEnv::new();
    let server = home.start_server();
    let body = event_body("call_ended", "call_1");
    let stale = sign_with(KEY, &body, now_ms() - 400_000);
    let begin = |extra: &[(&str, &str)]| {
        let headers = [&[("X-Retell-Signature", stale.as_str())], extra].concat();
        let mut client = RawClient::connect(server.address());
        client.send(request_head("POST", WEBHOOK_PATH, &headers, Some(body.len())).as_bytes()).unwrap();
        assert_unauthorized("", &client.read_response().expect("an answer although the body never came"));
        client
    };
    // A body that arrives after the response is diagnosed too.
    let mut late = begin(&[]);
    late.send(&body).unwrap();
    assert!(diagnosis(&wait_for_rejected(&home, 1)[0]).contains("apart from its age it is valid"));
    // A body that never arrives.
    let mut silent = begin(&[]);
    assert!(diagnosis(&wait_for_rejected(&home, 2)[0]).contains("body was not checked"));
    assert!(silent.is_closed_within(Duration::from_secs(5)), "the receiver stops waiting for the body");
    // A client that waits for `100 Continue` does not receive it.
    let mut waiting = begin(&[("Expect", "100-continue")]);
    assert!(diagnosis(&wait_for_rejected(&home, 3)[0]).contains("body was not checked"));
    assert!(waiting.read_response().is_none(), "nothing but the 401");
}

#[test]
fn a_signed_post_to_an_unknown_path_logs_the_right_url() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let (address, body) = (server.address(), event_body("call_ended", "call_1"));
    let answers = [
        post_to(address, "/retell/webhook?a=b", &body, &sign(&body)),
        request(address, "POST", "/unsigned", &[], &body),
        request(address, "GET", "/looked-for", &[("X-Retell-Signature", "x")], b""),
    ];
    for answer in answers {
        assert_eq!((answer.status, answer.text().as_str()), (404, r#"{"message":"Not Found"}"#));
    }
    server.stop();
    let log = server.output();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("signed request to unknown path")).collect();
    let url = format!("http://localhost:{}{WEBHOOK_PATH}", address.port());
    assert!(lines.len() == 1 && lines[0].contains("/retell/webhook") && lines[0].contains(&url), "{log}");
    assert!(home.run_ok(&["rejected", "list"]).stdout.contains("no rejected requests"));
}

/// The value of the field `suppressed` in a log line.
fn suppressed_count(line: &str) -> u64 {
    let (_, value) = line.split_once("suppressed=").unwrap();
    value.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_flood_is_counted_completely_logged_in_part_and_delays_no_one() {
    const BAD: u64 = 400;
    let home = TestEnv::new();
    let mut server = home.start_server();
    let (address, began) = (server.address(), Instant::now());
    let body = event_body("call_ended", "call_forged");
    let forged = sign_with(OTHER_KEY, &body, now_ms());
    let mut client = RawClient::connect(address);
    for number in 0..BAD {
        let headers = [("X-Retell-Signature", forged.as_str())];
        assert_unauthorized("forged", &client.request("POST", WEBHOOK_PATH, &headers, &body).unwrap());
        if number % 100 == 50 {
            assert_eq!(server.post_signed(&event_body("call_ended", &format!("call_{number}"))).status, 200);
        }
    }
    let max_lines = 20 + began.elapsed().as_secs() + 1;
    assert_eq!(server.stop(), Some(0));
    let log = server.output();
    assert!(log.contains(&format!("\"no_key_matched\": {BAD}")), "all are counted: {log}");
    assert!(log.contains("\"stored\": 4"), "{log}");
    let lines = log.matches("webhook request rejected").count() as u64;
    assert!((20..=max_lines).contains(&lines), "{lines} of at most {max_lines} lines");
    let summaries = log.lines().filter(|line| line.contains("request log lines suppressed"));
    let suppressed: u64 = summaries.map(suppressed_count).sum();
    assert_eq!(suppressed + lines, BAD, "every request is logged or summed up");
    assert_eq!(wait_for_rejected(&home, usize::try_from(lines).unwrap()).len() as u64, lines);
}

#[test]
fn an_unavailable_store_changes_no_response_and_loses_only_the_row() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let body = event_body("call_ended", "call_1");
    let database = home.open_database();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_unauthorized("", &post(server.address(), &body, &sign_with(OTHER_KEY, &body, now_ms())));
    assert!(server.wait_for_output("no configured key made this signature"));
    database.execute_batch("DROP TABLE rejected; COMMIT").unwrap();
    assert_unauthorized("", &post(server.address(), &body, "nonsense"));
    assert!(server.wait_for_output("malformed: its form is not known"));
    assert_eq!(server.post_signed(&body).status, 200);
    assert_eq!(server.stop(), Some(0));
    let lines = server.output();
    assert_eq!(lines.matches("webhook request rejected").count(), 2, "{lines}");
}

#[test]
fn wrong_arguments_and_unknown_ids_have_exit_codes() {
    let home = TestEnv::new();
    assert_eq!(home.run(&["rejected", "list"]).exit_code, Some(1), "no store yet");
    drop(home.start_server());
    assert_eq!(home.run_ok(&["rejected", "list", "--json"]).json(), serde_json::json!([]));
    for (args, code) in [(&["show", "evt_1"][..], 2), (&[], 2), (&["list", "--limit", "x"], 2), (&["show", "rej_7"], 1)]
    {
        let ran = home.run(&[&["rejected"], args].concat());
        assert_eq!(ran.exit_code, Some(code), "{ran:?}");
    }
}

#[test]
fn verify_names_the_same_causes_as_the_receiver() {
    let home = TestEnv::new();
    let body = String::from_utf8(event_body("call_ended", "call_1")).unwrap();
    let verify = |header: &str, body: &str| {
        let ran = home.run_with_input(&["verify", "--header", header], body.as_bytes());
        assert_eq!(ran.exit_code, Some(1), "{ran:?}");
        ran.stdout
    };
    let header = sign(body.as_bytes());
    assert!(verify(&header, &format!("{body}\n")).contains("whitespace was added at its end"));
    assert!(verify(&header, &body.replace(':', ": ")).contains("JSON.stringify"));
    assert!(verify(&header, &format!("\u{feff}{body}")).contains("byte order mark"));
    assert!(verify(&format!("{header} "), &body).contains("spaces or quotes"));
    assert!(verify(&sign_in_seconds(&api_key(KEY), body.as_bytes()), &body).contains("in seconds"));
    assert!(verify(&header, &"x".repeat(70_000)).contains("larger than 64 KiB"));
}
