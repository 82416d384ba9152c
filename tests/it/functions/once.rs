//! One invocation runs once, and a signature is good for one function.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use serde_json::{Value, json};

use super::{PATH, call, ledger, send, start, weather, whole};
use crate::support::client::{Client, WEBHOOK, head, post_to};
use crate::support::home::Home;
use crate::support::signing::{KEY, now_ms, sign, sign_with};
use crate::support::sink::{Sink, status};
use crate::support::wait_until;

fn numbered() -> Sink {
    Sink::answering(|before, _| axum::response::Response::new(axum::body::Body::from(format!("answer {before}"))))
}

#[test]
fn a_request_sent_again_gets_the_first_answer() {
    let sink = numbered();
    let (home, mut server) = start(&sink.url(), "");
    let body = whole("call_1", &json!({"city": "Bern", "days": 1}));
    assert_eq!(call(server.address(), PATH, &body).text(), "answer 0");
    let reordered = br#"{"call":{"call_id":"call_1"},"args":{"days":1,"city":"Bern"},"name":"weather"}"#;
    assert_eq!(call(server.address(), PATH, reordered).text(), "answer 0", "order makes no difference");
    assert_eq!(call(server.address(), PATH, &whole("call_2", &json!({"city": "Bern", "days": 1}))).text(), "answer 1");
    assert_eq!(call(server.address(), PATH, &whole("call_1", &json!({"city": "Bern", "days": 2}))).text(), "answer 2");
    server.kill();
    let server = home.start();
    assert_eq!(call(server.address(), PATH, &body).text(), "answer 0", "also after a crash");
    assert_eq!((sink.got().len(), ledger(&home).len()), (3, 3));
}

#[test]
fn the_models_id_tells_tool_calls_apart() {
    let sink = numbered();
    let (_home, server) = start(&sink.url(), "");
    let with = |tool: &str, more: &str| {
        json!({"name": "weather", "args": {"city": "Bern"}, "call": {"call_id": "c", "transcript": more,
            "transcript_with_tool_calls": [{"role": "tool_call_invocation", "tool_call_id": tool, "name": "weather",
            "arguments": "{\"city\":\"Bern\"}"}]}})
        .to_string()
    };
    assert_eq!(call(server.address(), PATH, with("t1", "").as_bytes()).text(), "answer 0");
    assert_eq!(call(server.address(), PATH, with("t1", "longer by now").as_bytes()).text(), "answer 0");
    assert_eq!(call(server.address(), PATH, with("t2", "").as_bytes()).text(), "answer 1");
}

#[test]
fn without_idempotency_and_beyond_the_window_each_request_runs() {
    let sink = numbered();
    let body = whole("call_1", &json!({"city": "Bern"}));
    let (_home, server) = start(&sink.url(), "idempotency = \"none\"");
    assert_eq!(call(server.address(), PATH, &body).text(), "answer 0");
    assert_eq!(call(server.address(), PATH, &body).text(), "answer 1");
    let (_home, server) = start(&sink.url(), "window_ms = 1");
    assert_eq!(call(server.address(), PATH, &body).text(), "answer 2");
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(call(server.address(), PATH, &body).text(), "answer 3");
}

#[test]
fn requests_at_the_same_time_share_a_run() {
    let sink = Sink::answering(|before, _| {
        std::thread::sleep(Duration::from_millis(600));
        axum::response::Response::new(axum::body::Body::from(format!("answer {before}")))
    });
    let (home, server) = start(&sink.url(), "");
    let (address, barrier) = (server.address(), Arc::new(Barrier::new(20)));
    let askers: Vec<_> = (0..20)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            std::thread::spawn(move || {
                barrier.wait();
                call(address, PATH, &whole("call_1", &json!({"city": "Bern"}))).text()
            })
        })
        .collect();
    let answers: Vec<_> = askers.into_iter().map(|asker| asker.join().unwrap()).collect();
    assert_eq!(answers, vec!["answer 0"; 20]);
    assert_eq!((sink.got().len(), ledger(&home).len()), (1, 1));
}

#[test]
fn killed_before_the_answer_it_runs_again_under_the_same_key() {
    let sink = Sink::answering(|before, _| {
        if before == 0 {
            std::thread::sleep(Duration::from_secs(3));
        }
        axum::response::Response::new(axum::body::Body::from(format!("answer {before}")))
    });
    let (home, mut server) = start(&sink.url(), "");
    let body = whole("call_1", &json!({"city": "Bern"}));
    let mut client = Client::connect(server.address());
    let signature = sign(&body);
    client.send(head("POST", PATH, &[("X-Retell-Signature", &signature)], Some(body.len())).as_bytes()).unwrap();
    client.send(&body).unwrap();
    assert!(wait_until(Duration::from_secs(10), || ledger_running(&home)), "it is written down before the call");
    server.kill();
    assert_eq!(client.answer().map(|answer| answer.status), None);
    let server = home.start();
    let answer = call(server.address(), PATH, &body).text();
    let got = sink.wait_for(1);
    let keys: std::collections::BTreeSet<_> =
        got.iter().map(|got| got.header("idempotency-key").unwrap().to_owned()).collect();
    assert!(answer.starts_with("answer ") && keys.len() == 1, "{answer}: {keys:?}");
    assert_eq!((ledger(&home)[0]["runs"].clone(), ledger(&home).len()), (json!(2), 1));
    assert_eq!(call(server.address(), PATH, &body).text(), answer, "and then no more");
}

fn ledger_running(home: &Home) -> bool {
    ledger(home).iter().any(|row| row["state"] == "running")
}

#[test]
fn a_caller_who_hangs_up_leaves_the_run_going() {
    let sink = Sink::answering(|before, _| {
        std::thread::sleep(Duration::from_millis(500));
        axum::response::Response::new(axum::body::Body::from(format!("answer {before}")))
    });
    let (home, server) = start(&sink.url(), "");
    let body = whole("call_1", &json!({"city": "Bern"}));
    let signature = sign(&body);
    let mut client = Client::connect(server.address());
    client.send(head("POST", PATH, &[("X-Retell-Signature", &signature)], Some(body.len())).as_bytes()).unwrap();
    client.send(&body).unwrap();
    assert!(wait_until(Duration::from_secs(10), || ledger_running(&home)));
    drop(client);
    assert_eq!(call(server.address(), PATH, &body).text(), "answer 0");
    assert_eq!(sink.got().len(), 1);
}

#[test]
fn a_failure_may_be_tried_again() {
    let sink = Sink::answering(|before, _| if before == 0 { status(500) } else { status(200) });
    let (home, server) = start(&sink.url(), "");
    let body = whole("call_1", &json!({"city": "Bern"}));
    assert_eq!(call(server.address(), PATH, &body).json()["error"], "unavailable");
    assert_eq!(call(server.address(), PATH, &body).text(), "said");
    let got = sink.got();
    assert_eq!(got[0].header("idempotency-key"), got[1].header("idempotency-key"));
    assert_eq!(ledger(&home).len(), 1);
}

#[test]
fn a_signature_is_good_for_one_function() {
    let sink = Sink::start();
    let home = Home::new();
    let more = "[[functions]]\nname = \"other\"\nmethods = [\"GET\", \"POST\"]\n";
    home.configure(&format!(
        "{}\n{more}url = \"{}\"",
        weather(&sink.url(), "methods = [\"GET\", \"POST\"]"),
        sink.url()
    ));
    let mut server = home.start();
    let body = br#"{"city":"Bern"}"#;
    let signature = sign(body);
    assert_eq!(post_to(server.address(), PATH, body, &signature).status, 200);
    assert_eq!(post_to(server.address(), PATH, body, &signature).status, 200, "the same again is a retry");
    let refused = post_to(server.address(), "/api/v1/function/other", body, &signature);
    assert_eq!((refused.status, refused.json()), (401, json!({"message": "Unauthorized"})));
    server.kill();
    let server = home.start();
    assert_eq!(post_to(server.address(), "/api/v1/function/other", body, &signature).status, 401, "after a crash too");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains(r#"retell_webhook_requests_refused_total{reason="signature_reused"} 1"#), "{metrics}");
    let empty = sign_with(KEY, b"", now_ms());
    let get = |path: &str| {
        crate::support::client::request(server.address(), "GET", path, &[("X-Retell-Signature", &empty)], b"").status
    };
    assert_eq!(get(&format!("{PATH}?city=Bern")), 200);
    assert_eq!(get(&format!("{PATH}?city=Basel")), 401, "arguments of a GET are not covered by its signature");
    assert_eq!(get("/api/v1/function/other?city=Bern"), 401);
    assert_eq!(sink.got().len(), 2);
}

#[test]
fn equal_arguments_of_two_calls_may_have_one_signature() {
    let sink = numbered();
    let (home, server) = start(&sink.url(), "");
    let body = br#"{"city":"Bern"}"#;
    let signature = sign(body);
    let said = |call: &str| post_to(server.address(), &format!("{PATH}?call_id={call}"), body, &signature).text();
    assert_eq!([said("c1"), said("c2"), said("c1")], ["answer 0", "answer 1", "answer 0"]);
    let calls: Vec<_> = ledger(&home).iter().map(|row| row["call_id"].clone()).collect();
    assert_eq!(calls, ["c2", "c1"]);
}

#[test]
fn a_signature_is_good_for_events_or_for_functions() {
    let sink = numbered();
    let home = Home::new();
    home.configure(&format!("[[functions]]\nname = \"any\"\nurl = \"{}\"", sink.url()));
    let server = home.start();
    let any = |body: &[u8], signature: &str| post_to(server.address(), "/api/v1/function/any", body, signature).status;
    let webhook = |body: &[u8], signature: &str| post_to(server.address(), WEBHOOK, body, signature).status;
    // An event, and another that was never seen: neither calls a function, however it is signed.
    for call in ["call_1", "call_2"] {
        let body = crate::support::bodies::event("call_ended", call);
        let signature = sign(&body);
        if call == "call_1" {
            assert_eq!(webhook(&body, &signature), 200);
        }
        assert_eq!((any(&body, &signature), any(&body, &sign_with(KEY, &body, now_ms() - 5))), (401, 401));
    }
    // An event nobody knows: by the signature it came with.
    let odd = br#"{"event":"something_new","thing":1}"#;
    let signature = sign_with(KEY, odd, now_ms() - 7);
    assert_eq!((webhook(odd, &signature), any(odd, &signature)), (200, 401));
    assert_eq!(any(odd, &sign(odd)), 200, "the same arguments, for the function");
    // And the other way round.
    for (number, body) in [whole("call_1", &json!({})), br#"{"city":"Bern"}"#.to_vec()].into_iter().enumerate() {
        let signature = sign_with(KEY, &body, now_ms() - 11);
        let body = String::from_utf8(body).unwrap().replace("weather", "any");
        let signature = if number == 0 { sign(body.as_bytes()) } else { signature };
        assert_eq!((any(body.as_bytes(), &signature), webhook(body.as_bytes(), &signature)), (200, 401), "{body}");
    }
    assert_eq!((home.export().len(), sink.got().len()), (2, 3));
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains(r#"retell_webhook_requests_refused_total{reason="signature_reused"} 7"#), "{metrics}");
}

#[test]
fn two_callers_without_a_call_id_are_two() {
    let sink = numbered();
    let (_home, server) = start(&sink.url(), "");
    let body = br#"{"city":"Bern"}"#;
    let at = now_ms();
    let first = sign_with(KEY, body, at);
    let texts: Vec<Value> = [&first, &sign_with(KEY, body, at - 1), &first]
        .map(|signature| post_to(server.address(), PATH, body, signature).text().into())
        .into();
    assert_eq!(texts, ["answer 0", "answer 1", "answer 0"]);
    assert_eq!(send(server.address(), "POST", PATH, &[("x-call-id", "c1")], body).text(), "answer 2");
}

#[test]
fn a_persons_invocations_are_erased() {
    let sink = numbered();
    let (home, server) = start(&sink.url(), "");
    for (call_id, city) in [("call_1", "Bern"), ("call_2", "+1 (202) 555-0143"), ("call_3", "Basel")] {
        assert_eq!(call(server.address(), PATH, &whole(call_id, &json!({"city": city}))).status, 200);
    }
    home.run_well(&["erase", "--call", "call_1", "--yes"]);
    home.run_well(&["erase", "--phone", "+12025550143", "--yes"]);
    let left: Vec<_> = ledger(&home).iter().map(|row| row["call_id"].clone()).collect();
    assert_eq!(left, ["call_3"]);
}

#[test]
fn no_commit_of_events_is_waited_for() {
    let sink = numbered();
    let (home, server) = start(&sink.url(), "");
    let other = home.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = whole("call_1", &json!({"city": "Bern"}));
    assert_eq!(call(server.address(), PATH, &body).text(), "answer 0");
    assert_eq!(call(server.address(), PATH, &body).text(), "answer 0", "it is known although events cannot be written");
    assert_eq!(server.get("/health/ready").status, 503);
    other.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn a_ledger_that_cannot_be_written_costs_the_call_of_the_function_and_not_the_answer() {
    let sink = numbered();
    let (home, server) = start(&sink.url(), "timeout_ms = 300");
    let other = home.ledger();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = whole("call_1", &json!({"city": "Bern"}));
    assert_eq!(call(server.address(), PATH, &body).json()["result"], "failed");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!((call(server.address(), PATH, &body).text().as_str(), sink.got().len()), ("answer 0", 1));
}
