//! Slow stores, bodies and services must not keep a caller waiting.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use serde_json::json;

use super::{
    CALLED, CALLER, answer_fields, call_inbound_body, latest_event_id, marked_rule_config, rule_config,
    start_with_rules, wait_for_inbound_answer,
};
use crate::support::client::{RawClient, WEBHOOK_PATH, post_signed, request_head};
use crate::support::destination::DestinationServer;
use crate::support::signing::sign;
use crate::support::wait_until;

const FALLBACK_CONFIG: &str = "[inbound]\ntimeout_ms = 1000\n[inbound.fallback]\nagent = \"agent_fallback\"\n";

fn expected_fallback() -> serde_json::Value {
    json!({"override_agent_id": "agent_fallback"})
}

#[test]
fn locked_store_gets_the_fallback_and_stores_the_request_later() {
    let (home, server) = start_with_rules(&format!("{FALLBACK_CONFIG}{}", marked_rule_config("usual", "")));
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_0")))["metadata"]["rule"], "usual");
    let other = home.open_database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_1"))),
        expected_fallback(),
        "while the store is locked"
    );
    other.execute_batch("COMMIT").unwrap();
    assert!(wait_until(Duration::from_secs(10), || home.list_events(&[]).len() == 2), "the request is stored later");
    let stored = wait_for_inbound_answer(&home, &latest_event_id(&home));
    assert_eq!((&stored["outcome"], &stored["answer"]["call_inbound"]), (&json!("not_stored"), &expected_fallback()));
    let duration_ms = stored["duration_ms"].as_i64().unwrap();
    assert!((1_000..3_000).contains(&duration_ms), "at the deadline, not at the lock timeout: {duration_ms} ms");
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_2")))["metadata"]["rule"], "usual");
    let metrics = server.metrics().text();
    assert!(metrics.contains("inbound_answers_total{outcome=\"not_stored\"} 1"), "{metrics}");
    assert!(server.output().contains("not_stored") && !server.output().contains(CALLER), "{}", server.output());
}

#[test]
fn unavailable_store_is_not_waited_for() {
    let (home, server) =
        start_with_rules("[inbound]\ntimeout_ms = 8000\n[inbound.fallback]\nagent = \"agent_fallback\"\n");
    let other = home.open_database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_1"))),
        expected_fallback(),
        "while the store is locked"
    );
    other.execute_batch("COMMIT").unwrap();
    assert!(wait_until(Duration::from_secs(10), || home.list_events(&[]).len() == 1), "storing is retried");
    let duration_ms = wait_for_inbound_answer(&home, &latest_event_id(&home))["duration_ms"].as_i64().unwrap();
    assert!(duration_ms < 7_000, "{duration_ms} ms");
}

#[test]
fn slow_body_uses_up_the_budget() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ask = format!("ask = {{ url = \"http://{}\" }}", silent.local_addr().unwrap());
    let (home, server) = start_with_rules(&format!("{FALLBACK_CONFIG}{}", rule_config("ask", &ask)));
    let body = call_inbound_body(CALLER, "call_1");
    let signature = sign(&body);
    let mut client = RawClient::connect(server.address());
    client
        .send(request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &signature)], Some(body.len())).as_bytes())
        .unwrap();
    for part in body.chunks(body.len().div_ceil(6)) {
        thread::sleep(Duration::from_millis(250));
        client.send(part).unwrap();
    }
    assert_eq!(answer_fields(&client.read_response().unwrap()), expected_fallback());
    let stored = wait_for_inbound_answer(&home, &latest_event_id(&home));
    assert_eq!(stored["outcome"], "timed_out", "the request was stored in time");
    let duration_ms = stored["duration_ms"].as_i64().unwrap();
    assert!((1_000..2_900).contains(&duration_ms), "the service gets no extra time: {duration_ms} ms");
}

#[test]
fn late_service_is_cut_off_at_the_deadline() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ask = format!("ask = {{ url = \"http://{}\" }}", silent.local_addr().unwrap());
    let (home, server) = start_with_rules(&format!("{FALLBACK_CONFIG}{}", rule_config("ask", &ask)));
    for (body, key) in [
        (call_inbound_body(CALLER, "call_1"), "call_inbound"),
        (
            json!({"event": "chat_inbound", "chat_inbound": {"chat_id": "chat_1", "from_number": CALLER, "to_number": CALLED}})
                .to_string()
                .into(),
            "chat_inbound",
        ),
    ] {
        assert_eq!(server.post_signed(&body).json()[key], expected_fallback());
        let stored = wait_for_inbound_answer(&home, &latest_event_id(&home));
        let duration_ms = stored["duration_ms"].as_i64().unwrap();
        assert!(stored["outcome"] == "timed_out" && (1_000..2_000).contains(&duration_ms), "{stored}");
    }
}

#[test]
fn concurrent_equal_requests_share_one_answer() {
    let sink = DestinationServer::start_with(|before, _| {
        thread::sleep(Duration::from_millis(600));
        Response::new(Body::from(json!({"call_inbound": {"metadata": {"n": before}}}).to_string()))
    });
    let ask = format!("ask = {{ url = \"{}\" }}", sink.url());
    let (home, server) = start_with_rules(&format!("[inbound]\ntimeout_ms = 8000\n{}", rule_config("ask", &ask)));
    let (address, barrier) = (server.address(), Arc::new(Barrier::new(4)));
    let requests: Vec<_> = (0..4)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                barrier.wait();
                answer_fields(&post_signed(address, &call_inbound_body(CALLER, "call_1")))
            })
        })
        .collect();
    for request in requests {
        assert_eq!(request.join().unwrap(), json!({"metadata": {"n": 0}}));
    }
    assert_eq!(sink.received().len(), 1);
    assert_eq!(home.list_events(&[]).len(), 1);
    let metrics = server.metrics().text();
    assert!(metrics.contains("events_total{outcome=\"duplicate\",event=\"call_inbound\"} 3"), "{metrics}");
}

#[test]
fn body_without_inbound_fields_gets_the_fallback() {
    let (home, server) = start_with_rules(FALLBACK_CONFIG);
    for body in ["{\"event\":\"call_inbound\"}", "{\"event\":\"call_inbound\",\"call_inbound\":[7]}"] {
        assert_eq!(answer_fields(&server.post_signed(body.as_bytes())), expected_fallback(), "{body}");
        assert_eq!(wait_for_inbound_answer(&home, &latest_event_id(&home))["outcome"], "failed");
    }
}

#[test]
fn failing_variable_is_omitted_and_the_rest_is_sent() {
    let broken = "broken = \"{{ sip['x-trunk'] + 1 }}\", fine = \"{{ to_number }}\"";
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let rules = [
        format!("{FALLBACK_CONFIG}dynamic_variables = {{ {broken} }}\n"),
        rule_config("ask", &format!("from = [\"+1*\"]\nask = {{ url = \"http://{}\" }}", silent.local_addr().unwrap())),
        rule_config("template", &format!("agent = \"agent_template\"\ndynamic_variables = {{ {broken} }}")),
    ];
    let (home, server) = start_with_rules(&rules.concat());
    let expected = |agent: &str| json!({"override_agent_id": agent, "dynamic_variables": {"fine": CALLED}});
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_1"))), expected("agent_fallback"));
    for number in 2..5 {
        assert_eq!(
            answer_fields(&server.post_signed(&call_inbound_body("+49", &format!("call_{number}")))),
            expected("agent_template")
        );
    }
    assert_eq!(wait_for_inbound_answer(&home, &latest_event_id(&home))["outcome"], "answered");
    let output = server.output();
    assert_eq!(output.matches("inbound variable omitted").count(), 2, "once per rule: {output}");
    home.write_config("[inbound.fallback]\ndynamic_variables = { calls = \"{{ caller.calls + 1 }}\" }\n");
    let check = home.run(&["config", "check"]);
    assert!(
        check.exit_code == Some(1)
            && check.output().contains("config/local.toml:2: inbound.fallback.dynamic_variables: `calls`"),
        "{check:?}"
    );
}
