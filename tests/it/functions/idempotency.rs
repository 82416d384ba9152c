//! An invocation runs once, and a signature is valid for one function.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use serde_json::{Value, json};

use super::{
    WEATHER_PATH, function_request_body, list_invocations, post_function_request, send_function_request,
    start_with_weather_function, weather_function_config,
};
use crate::support::client::{RawClient, WEBHOOK_PATH, post_to, request_head};
use crate::support::destination::{DestinationServer, status_response};
use crate::support::signing::{KEY, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

fn counting_sink() -> DestinationServer {
    DestinationServer::start_with(|before, _| {
        axum::response::Response::new(axum::body::Body::from(format!("answer {before}")))
    })
}

#[test]
fn a_repeated_request_gets_the_stored_answer() {
    let sink = counting_sink();
    let (home, mut server) = start_with_weather_function(&sink.url(), "");
    let body = function_request_body("call_1", &json!({"city": "Bern", "days": 1}));
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, &body).text(), "answer 0");
    let reordered = br#"{"call":{"call_id":"call_1"},"args":{"days":1,"city":"Bern"},"name":"weather"}"#;
    assert_eq!(
        post_function_request(server.address(), WEATHER_PATH, reordered).text(),
        "answer 0",
        "the order of the arguments does not matter"
    );
    assert_eq!(
        post_function_request(
            server.address(),
            WEATHER_PATH,
            &function_request_body("call_2", &json!({"city": "Bern", "days": 1}))
        )
        .text(),
        "answer 1"
    );
    assert_eq!(
        post_function_request(
            server.address(),
            WEATHER_PATH,
            &function_request_body("call_1", &json!({"city": "Bern", "days": 2}))
        )
        .text(),
        "answer 2"
    );
    server.kill();
    let server = home.start_server();
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, &body).text(), "answer 0", "also after a crash");
    assert_eq!((sink.received().len(), list_invocations(&home).len()), (3, 3));
}

#[test]
fn another_tool_call_id_is_another_invocation() {
    let sink = counting_sink();
    let (_home, server) = start_with_weather_function(&sink.url(), "");
    let request_body = |tool: &str, transcript: &str| {
        json!({"name": "weather", "args": {"city": "Bern"}, "call": {"call_id": "c", "transcript": transcript,
            "transcript_with_tool_calls": [{"role": "tool_call_invocation", "tool_call_id": tool, "name": "weather",
            "arguments": "{\"city\":\"Bern\"}"}]}})
        .to_string()
    };
    assert_eq!(
        post_function_request(server.address(), WEATHER_PATH, request_body("t1", "").as_bytes()).text(),
        "answer 0"
    );
    assert_eq!(
        post_function_request(server.address(), WEATHER_PATH, request_body("t1", "longer by now").as_bytes()).text(),
        "answer 0"
    );
    assert_eq!(
        post_function_request(server.address(), WEATHER_PATH, request_body("t2", "").as_bytes()).text(),
        "answer 1"
    );
}

#[test]
fn without_idempotency_and_beyond_the_window_each_request_runs() {
    let sink = counting_sink();
    let body = function_request_body("call_1", &json!({"city": "Bern"}));
    let (_home, server) = start_with_weather_function(&sink.url(), "idempotency = \"none\"");
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, &body).text(), "answer 0");
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, &body).text(), "answer 1");
    let (_home, server) = start_with_weather_function(&sink.url(), "idempotency_window_ms = 1");
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, &body).text(), "answer 2");
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, &body).text(), "answer 3");
}

#[test]
fn concurrent_requests_share_one_run() {
    let sink = DestinationServer::start_with(|before, _| {
        std::thread::sleep(Duration::from_millis(600));
        axum::response::Response::new(axum::body::Body::from(format!("answer {before}")))
    });
    let (home, server) = start_with_weather_function(&sink.url(), "");
    let address = server.address();
    let barrier = Arc::new(Barrier::new(20));
    let askers: Vec<_> = (0..20)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            std::thread::spawn(move || {
                barrier.wait();
                post_function_request(address, WEATHER_PATH, &function_request_body("call_1", &json!({"city": "Bern"})))
                    .text()
            })
        })
        .collect();
    let answers: Vec<_> = askers.into_iter().map(|asker| asker.join().unwrap()).collect();
    assert_eq!(answers, vec!["answer 0"; 20]);
    assert_eq!((sink.received().len(), list_invocations(&home).len()), (1, 1));
}

#[test]
fn an_invocation_killed_before_its_answer_runs_again_under_the_same_key() {
    let sink = DestinationServer::start_with(|before, _| {
        if before == 0 {
            std::thread::sleep(Duration::from_secs(3));
        }
        axum::response::Response::new(axum::body::Body::from(format!("answer {before}")))
    });
    let (home, mut server) = start_with_weather_function(&sink.url(), "");
    let body = function_request_body("call_1", &json!({"city": "Bern"}));
    let mut client = RawClient::connect(server.address());
    let signature = sign(&body);
    client
        .send(request_head("POST", WEATHER_PATH, &[("X-Retell-Signature", &signature)], Some(body.len())).as_bytes())
        .unwrap();
    client.send(&body).unwrap();
    assert!(
        wait_until(Duration::from_secs(10), || has_running_invocation(&home)),
        "the ledger has the invocation before the call"
    );
    server.kill();
    assert_eq!(client.read_response().map(|answer| answer.status), None);
    let server = home.start_server();
    let answer = post_function_request(server.address(), WEATHER_PATH, &body).text();
    let got = sink.wait_for(1);
    let keys: std::collections::BTreeSet<_> =
        got.iter().map(|got| got.header("idempotency-key").unwrap().to_owned()).collect();
    assert!(answer.starts_with("answer ") && keys.len() == 1, "{answer}: {keys:?}");
    assert_eq!((list_invocations(&home)[0]["runs"].clone(), list_invocations(&home).len()), (json!(2), 1));
    assert_eq!(
        post_function_request(server.address(), WEATHER_PATH, &body).text(),
        answer,
        "the stored answer from then on"
    );
}

fn has_running_invocation(home: &TestEnv) -> bool {
    list_invocations(home).iter().any(|row| row["state"] == "running")
}

#[test]
fn a_closed_connection_does_not_stop_the_run() {
    let sink = DestinationServer::start_with(|before, _| {
        std::thread::sleep(Duration::from_millis(500));
        axum::response::Response::new(axum::body::Body::from(format!("answer {before}")))
    });
    let (home, server) = start_with_weather_function(&sink.url(), "");
    let body = function_request_body("call_1", &json!({"city": "Bern"}));
    let signature = sign(&body);
    let mut client = RawClient::connect(server.address());
    client
        .send(request_head("POST", WEATHER_PATH, &[("X-Retell-Signature", &signature)], Some(body.len())).as_bytes())
        .unwrap();
    client.send(&body).unwrap();
    assert!(wait_until(Duration::from_secs(10), || has_running_invocation(&home)));
    drop(client);
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, &body).text(), "answer 0");
    assert_eq!(sink.received().len(), 1);
}

#[test]
fn a_failed_invocation_runs_again_under_the_same_key() {
    let sink = DestinationServer::start_with(
        |before, _| if before == 0 { status_response(500) } else { status_response(200) },
    );
    let (home, server) = start_with_weather_function(&sink.url(), "");
    let body = function_request_body("call_1", &json!({"city": "Bern"}));
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, &body).json()["error"], "unavailable");
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, &body).text(), "said");
    let got = sink.received();
    assert_eq!(got[0].header("idempotency-key"), got[1].header("idempotency-key"));
    assert_eq!(list_invocations(&home).len(), 1);
}

#[test]
fn a_signature_is_valid_for_one_function() {
    let sink = DestinationServer::start();
    let home = TestEnv::new();
    let more = "[[functions]]\nname = \"other\"\nmethods = [\"GET\", \"POST\"]\n";
    home.write_config(&format!(
        "{}\n{more}url = \"{}\"",
        weather_function_config(&sink.url(), "methods = [\"GET\", \"POST\"]"),
        sink.url()
    ));
    let mut server = home.start_server();
    let body = br#"{"city":"Bern"}"#;
    let signature = sign(body);
    assert_eq!(post_to(server.address(), WEATHER_PATH, body, &signature).status, 200);
    assert_eq!(post_to(server.address(), WEATHER_PATH, body, &signature).status, 200, "a retry of the same request");
    let rejected = post_to(server.address(), "/api/v1/function/other", body, &signature);
    assert_eq!((rejected.status, rejected.json()), (401, json!({"message": "Unauthorized"})));
    server.kill();
    let server = home.start_server();
    assert_eq!(post_to(server.address(), "/api/v1/function/other", body, &signature).status, 401, "also after a crash");
    let metrics = server.metrics().text();
    assert!(metrics.contains(r#"retell_webhook_requests_rejected_total{reason="signature_reused"} 1"#), "{metrics}");
    let empty = sign_with(KEY, b"", now_ms());
    let get = |path: &str| {
        crate::support::client::request(server.address(), "GET", path, &[("X-Retell-Signature", &empty)], b"").status
    };
    assert_eq!(get(&format!("{WEATHER_PATH}?city=Bern")), 200);
    assert_eq!(get(&format!("{WEATHER_PATH}?city=Basel")), 401, "arguments of a GET are not covered by its signature");
    assert_eq!(get("/api/v1/function/other?city=Bern"), 401);
    assert_eq!(sink.received().len(), 2);
}

#[test]
fn one_signature_may_serve_equal_arguments_of_two_calls() {
    let sink = counting_sink();
    let (home, server) = start_with_weather_function(&sink.url(), "");
    let body = br#"{"city":"Bern"}"#;
    let signature = sign(body);
    let answer_in =
        |call: &str| post_to(server.address(), &format!("{WEATHER_PATH}?call_id={call}"), body, &signature).text();
    assert_eq!([answer_in("c1"), answer_in("c2"), answer_in("c1")], ["answer 0", "answer 1", "answer 0"]);
    let calls: Vec<_> = list_invocations(&home).iter().map(|row| row["call_id"].clone()).collect();
    assert_eq!(calls, ["c2", "c1"]);
}

#[test]
fn a_signature_is_valid_for_events_or_for_functions() {
    let sink = counting_sink();
    let home = TestEnv::new();
    home.write_config(&format!("[[functions]]\nname = \"any\"\nurl = \"{}\"", sink.url()));
    let server = home.start_server();
    let any = |body: &[u8], signature: &str| post_to(server.address(), "/api/v1/function/any", body, signature).status;
    let webhook = |body: &[u8], signature: &str| post_to(server.address(), WEBHOOK_PATH, body, signature).status;
    // A stored event and one that was never sent: neither runs a function, whatever its signature. Both are stored
    // once.
    for call in ["call_1", "call_2"] {
        let body = crate::support::bodies::event_body("call_ended", call);
        let signature = sign(&body);
        if call == "call_1" {
            assert_eq!(webhook(&body, &signature), 200);
        }
        assert_eq!((any(&body, &signature), any(&body, &sign_with(KEY, &body, now_ms() - 5))), (200, 200));
    }
    assert!(sink.received().is_empty());
    // An event of an unknown kind: the route on which the signature is seen first decides.
    let odd = br#"{"event":"something_new","thing":1}"#;
    let signature = sign_with(KEY, odd, now_ms() - 7);
    assert_eq!((webhook(odd, &signature), any(odd, &signature)), (200, 401));
    assert_eq!(any(odd, &sign(odd)), 200, "the same body, signed again for the function");
    // The reverse: the signature of arguments alone is not accepted on the webhook route. The envelope names its
    // function and is the same invocation there.
    let arguments = br#"{"city":"Bern"}"#;
    let signature = sign(arguments);
    assert_eq!((any(arguments, &signature), webhook(arguments, &signature)), (200, 401));
    let envelope = String::from_utf8(function_request_body("call_1", &json!({}))).unwrap().replace("weather", "any");
    let signature = sign(envelope.as_bytes());
    assert_eq!((any(envelope.as_bytes(), &signature), webhook(envelope.as_bytes(), &signature)), (200, 200));
    assert_eq!((home.export_events().len(), sink.received().len()), (3, 3), "the second request got the same answer");
    let metrics = server.metrics().text();
    assert!(metrics.contains(r#"retell_webhook_requests_rejected_total{reason="signature_reused"} 2"#), "{metrics}");
}

#[test]
fn requests_without_a_call_id_are_distinguished_by_signature() {
    let sink = counting_sink();
    let (_home, server) = start_with_weather_function(&sink.url(), "");
    let body = br#"{"city":"Bern"}"#;
    let at = now_ms();
    let first = sign_with(KEY, body, at);
    let texts: Vec<Value> = [&first, &sign_with(KEY, body, at - 1), &first]
        .map(|signature| post_to(server.address(), WEATHER_PATH, body, signature).text().into())
        .into();
    assert_eq!(texts, ["answer 0", "answer 1", "answer 0"]);
    assert_eq!(
        send_function_request(server.address(), "POST", WEATHER_PATH, &[("x-call-id", "c1")], body).text(),
        "answer 2"
    );
}

#[test]
fn erase_removes_the_invocations_of_a_person() {
    let sink = counting_sink();
    let (home, server) = start_with_weather_function(&sink.url(), "");
    for (call_id, city) in [("call_1", "Bern"), ("call_2", "+1 (202) 555-0143"), ("call_3", "Basel")] {
        assert_eq!(
            post_function_request(
                server.address(),
                WEATHER_PATH,
                &function_request_body(call_id, &json!({"city": city}))
            )
            .status,
            200
        );
    }
    home.run_ok(&["erase", "--call", "call_1", "--yes"]);
    home.run_ok(&["erase", "--phone", "+12025550143", "--yes"]);
    let left: Vec<_> = list_invocations(&home).iter().map(|row| row["call_id"].clone()).collect();
    assert_eq!(left, ["call_3"]);
}

#[test]
fn functions_do_not_wait_for_the_commit_of_events() {
    let sink = counting_sink();
    let (home, server) = start_with_weather_function(&sink.url(), "");
    let other = home.open_database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = function_request_body("call_1", &json!({"city": "Bern"}));
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, &body).text(), "answer 0");
    assert_eq!(
        post_function_request(server.address(), WEATHER_PATH, &body).text(),
        "answer 0",
        "the ledger works while events cannot be written"
    );
    assert_eq!(server.get("/health/ready").status, 503);
    other.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn a_locked_ledger_prevents_the_call_but_not_the_answer() {
    let sink = counting_sink();
    let (home, server) = start_with_weather_function(&sink.url(), "timeout_ms = 300");
    let other = home.open_invocation_ledger();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = function_request_body("call_1", &json!({"city": "Bern"}));
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, &body).json()["result"], "failed");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(
        (post_function_request(server.address(), WEATHER_PATH, &body).text().as_str(), sink.received().len()),
        ("answer 0", 1)
    );
}
