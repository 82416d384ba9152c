//! Refused requests: why, in the log and in the ring; and that a flood of them costs nobody else anything.

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

fn assert_unauthorized(what: &str, answer: &HttpResponse) {
    assert_eq!((answer.status, answer.text().as_str()), (401, UNAUTHORIZED), "{what}");
}

/// `rejected list --json`, once it has so many rows.
fn wait_for_rejected(home: &TestEnv, count: usize) -> Vec<Value> {
    let mut rows = Vec::new();
    let there = wait_until(Duration::from_secs(15), || {
        let ran = home.run_ok(&["rejected", "list", "--json", "--limit", "2000"]);
        rows.clone_from(ran.json().as_array().unwrap());
        rows.len() >= count
    });
    assert!(there && rows.len() == count, "{} rows instead of {count}: {rows:#?}", rows.len());
    rows
}

fn diagnosis(row: &Value) -> &str {
    row["diagnosis"].as_str().unwrap()
}

/// Signed as with a library that takes seconds.
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
    assert_unauthorized("re-serialised", &post(address, spaced.as_bytes(), &sign(&body)));
    assert_unauthorized("seconds", &post(address, &body, &sign_in_seconds(&api_key(KEY), &body)));
    assert_unauthorized("late clock", &post(address, &body, &sign_with(KEY, &body, now - 3_720_000)));
    assert_unauthorized("stale by a stranger", &post(address, &body, &sign_with(OTHER_KEY, &body, now - 400_000)));
    [
        "header is missing",
        "malformed: it has upper-case letters",
        "no configured key made this signature",
        "JSON.stringify",
        "in seconds instead of milliseconds",
        "apart from its age it is right: this machine's clock is 1 h 2 min ahead",
        "its digest does not fit either",
    ]
}

#[test]
fn each_cause_is_named_in_the_ring_and_in_the_log() {
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
        let lines = log.lines().filter(|line| line.contains("webhook refused (401)") && line.contains(cause));
        assert_eq!(lines.count(), 1, "{cause}: {log}");
    }
    assert!(home.export_events().is_empty());
}

#[test]
fn nothing_secret_is_in_the_ring_and_no_body_unless_asked_for() {
    let mut home = TestEnv::new().with_env("DEBUG", "true");
    let body = event_body("call_ended", "call_of_somebody");
    let target = format!("{WEBHOOK_PATH}?number=%2B12025550143");
    let now = now_ms();
    let signatures = [
        sign_with(OTHER_KEY, &body, now),
        sign_with(KEY, &body, now - 400_000),
        sign_with(KEY, &body, now).replace("v=", "V="),
    ];
    let right = sign_with(KEY, &body, now);
    let mut secrets = vec![KEY.to_owned(), OTHER_KEY.into(), "call_of_somebody".into(), "2025550143".into()];
    secrets.extend(signatures.iter().chain([&right]).map(|signature| signature[signature.len() - 58..].to_owned()));
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
        let none = home.run(&["rejected", "show", id, "--body"]);
        assert_eq!((none.exit_code, none.stderr.contains("keep_rejected_bodies")), (Some(1), true), "{none:?}");
    }
    server.stop();
    printed += &server.output();
    printed += &home.run_ok(&["rejected", "list"]).output();
    let shown: Vec<_> = secrets.iter().filter(|secret| printed.contains(secret.as_str())).collect();
    assert!(shown.is_empty(), "{shown:?} in {printed}");
    assert!(printed.contains("d=") && printed.contains('…'), "the form of a signature is shown");

    home.set_env("RETELL_WEBHOOK__SECURITY__KEEP_REJECTED_BODIES", "true");
    let server = home.start_server();
    assert_unauthorized("", &post(server.address(), &body, &signatures[0]));
    let newest = &wait_for_rejected(&home, signatures.len() + 1)[0];
    assert_eq!(newest["body_kept"], true);
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
    // The body comes after the answer, and is looked at all the same.
    let mut late = begin(&[]);
    late.send(&body).unwrap();
    assert!(diagnosis(&wait_for_rejected(&home, 1)[0]).contains("apart from its age it is right"));
    // It never comes.
    let mut silent = begin(&[]);
    assert!(diagnosis(&wait_for_rejected(&home, 2)[0]).contains("not looked at"));
    assert!(silent.is_closed_within(Duration::from_secs(5)), "nobody waits for it any more");
    // Whoever waits to be asked for the body is not asked.
    let mut waiting = begin(&[("Expect", "100-continue")]);
    assert!(diagnosis(&wait_for_rejected(&home, 3)[0]).contains("not looked at"));
    assert!(waiting.read_response().is_none(), "nothing but the 401");
}

#[test]
fn a_signed_post_to_an_unknown_path_is_told_the_right_address() {
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
    let lines: Vec<_> = log.lines().filter(|line| line.contains("404")).collect();
    let url = format!("http://localhost:{}{WEBHOOK_PATH} ", address.port());
    assert!(lines.len() == 1 && lines[0].contains("/retell/webhook") && lines[0].contains(&url), "{log}");
    assert!(home.run_ok(&["rejected", "list"]).stdout.contains("no refused requests"));
}

#[test]
fn a_flood_is_counted_whole_shown_in_part_and_harms_nobody() {
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
    let most = 20 + began.elapsed().as_secs() + 1;
    assert_eq!(server.stop(), Some(0));
    let log = server.output();
    assert!(log.contains(&format!("\"no_key_matched\": {BAD}")), "all are counted: {log}");
    assert!(log.contains("\"stored\": 4"), "{log}");
    let lines = log.matches("webhook refused (401)").count() as u64;
    assert!((20..=most).contains(&lines), "{lines} of at most {most} lines");
    let hidden = log.lines().filter_map(|line| line.split_once(" more refused from 127.0.0.1, not shown"));
    let hidden: u64 = hidden.map(|(before, _)| before.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(hidden + lines, BAD, "shown or summed up");
    assert_eq!(wait_for_rejected(&home, usize::try_from(lines).unwrap()).len() as u64, lines);
}

#[test]
fn a_store_that_is_away_changes_no_answer_and_costs_only_the_row() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let body = event_body("call_ended", "call_1");
    let database = home.open_database();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_unauthorized("", &post(server.address(), &body, &sign_with(OTHER_KEY, &body, now_ms())));
    assert!(server.wait_for_output("no configured key made this signature"));
    database.execute_batch("DROP TABLE rejected; COMMIT").unwrap();
    assert_unauthorized("", &post(server.address(), &body, "nonsense"));
    assert!(server.wait_for_output("malformed: it has another form"));
    assert_eq!(server.post_signed(&body).status, 200);
    assert_eq!(server.stop(), Some(0));
    let lines = server.output();
    assert_eq!(lines.matches("webhook refused (401)").count(), 2, "{lines}");
}

#[test]
fn wrong_usage_and_unknown_ids() {
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
fn verify_names_the_cause_as_the_receiver_does() {
    let home = TestEnv::new();
    let body = String::from_utf8(event_body("call_ended", "call_1")).unwrap();
    let verify = |header: &str, body: &str| {
        let ran = home.run_with_input(&["verify", "--header", header], body.as_bytes());
        assert_eq!(ran.exit_code, Some(1), "{ran:?}");
        ran.stdout
    };
    let header = sign(body.as_bytes());
    assert!(verify(&header, &format!("{body}\n")).contains("white space was added at its end"));
    assert!(verify(&header, &body.replace(':', ": ")).contains("JSON.stringify"));
    assert!(verify(&header, &format!("\u{feff}{body}")).contains("byte order mark"));
    assert!(verify(&format!("{header} "), &body).contains("blanks or quotes"));
    assert!(verify(&sign_in_seconds(&api_key(KEY), body.as_bytes()), &body).contains("in seconds"));
    assert!(verify(&header, &"x".repeat(70_000)).contains("larger than 64 KiB"));
}
