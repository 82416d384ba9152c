//! Stores, bodies and requests that would keep a caller waiting.

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
fn a_locked_store_does_not_keep_the_caller_and_has_the_request_later() {
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
    assert!(wait_until(Duration::from_secs(10), || home.list_events(&[]).len() == 2), "it is kept after all");
    let kept = wait_for_inbound_answer(&home, &latest_event_id(&home));
    assert_eq!((&kept["outcome"], &kept["answer"]["call_inbound"]), (&json!("not_stored"), &expected_fallback()));
    let took = kept["duration_ms"].as_i64().unwrap();
    assert!((1_000..3_000).contains(&took), "at the deadline, not when the lock is given up on: {took} ms");
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_2")))["metadata"]["rule"], "usual");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("inbound_answers_total{outcome=\"not_stored\"} 1"), "{metrics}");
    assert!(server.output().contains("not_stored") && !server.output().contains(CALLER), "{}", server.output());
}

#[test]
fn a_store_that_says_it_is_away_is_not_waited_for() {
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
    assert!(wait_until(Duration::from_secs(10), || home.list_events(&[]).len() == 1), "it is tried again");
    let took = wait_for_inbound_answer(&home, &latest_event_id(&home))["duration_ms"].as_i64().unwrap();
    assert!(took < 7_000, "{took} ms");
}

#[test]
fn a_body_that_comes_slowly_uses_up_the_time() {
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
    let kept = wait_for_inbound_answer(&home, &latest_event_id(&home));
    assert_eq!(kept["outcome"], "timed_out", "and it was stored before");
    let took = kept["duration_ms"].as_i64().unwrap();
    assert!((1_000..2_900).contains(&took), "the service gets no time of its own after that: {took} ms");
}

#[test]
fn a_service_that_is_late_costs_the_budget_and_no_more() {
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
        let kept = wait_for_inbound_answer(&home, &latest_event_id(&home));
        let took = kept["duration_ms"].as_i64().unwrap();
        assert!(kept["outcome"] == "timed_out" && (1_000..2_000).contains(&took), "{kept}");
    }
}

#[test]
fn requests_that_come_twice_at_once_share_an_answer() {
    let sink = DestinationServer::start_with(|before, _| {
        thread::sleep(Duration::from_millis(600));
        Response::new(Body::from(json!({"call_inbound": {"metadata": {"n": before}}}).to_string()))
    });
    let ask = format!("ask = {{ url = \"{}\" }}", sink.url());
    let (home, server) = start_with_rules(&format!("[inbound]\ntimeout_ms = 8000\n{}", rule_config("ask", &ask)));
    let (address, barrier) = (server.address(), Arc::new(Barrier::new(4)));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                barrier.wait();
                answer_fields(&post_signed(address, &call_inbound_body(CALLER, "call_1")))
            })
        })
        .collect();
    for asker in askers {
        assert_eq!(asker.join().unwrap(), json!({"metadata": {"n": 0}}));
    }
    assert_eq!(sink.received().len(), 1);
    assert_eq!(home.list_events(&[]).len(), 1);
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("events_total{outcome=\"duplicate\",event=\"call_inbound\"} 3"), "{metrics}");
}

#[test]
fn a_body_that_names_the_event_and_holds_nothing_gets_the_fallback() {
    let (home, server) = start_with_rules(FALLBACK_CONFIG);
    for body in ["{\"event\":\"call_inbound\"}", "{\"event\":\"call_inbound\",\"call_inbound\":[7]}"] {
        assert_eq!(answer_fields(&server.post_signed(body.as_bytes())), expected_fallback(), "{body}");
        assert_eq!(wait_for_inbound_answer(&home, &latest_event_id(&home))["outcome"], "failed");
    }
}

#[test]
fn a_variable_that_cannot_be_made_is_left_out_and_the_rest_stays() {
    let broken = "broken = \"{{ sip['x-trunk'] + 1 }}\", fine = \"{{ to_number }}\"";
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let rules = [
        format!("{FALLBACK_CONFIG}dynamic_variables = {{ {broken} }}\n"),
        rule_config("ask", &format!("from = [\"+1*\"]\nask = {{ url = \"http://{}\" }}", silent.local_addr().unwrap())),
        rule_config("made", &format!("agent = \"agent_made\"\ndynamic_variables = {{ {broken} }}")),
    ];
    let (home, server) = start_with_rules(&rules.concat());
    let said = |agent: &str| json!({"override_agent_id": agent, "dynamic_variables": {"fine": CALLED}});
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_1"))), said("agent_fallback"));
    for number in 2..5 {
        assert_eq!(
            answer_fields(&server.post_signed(&call_inbound_body("+49", &format!("call_{number}")))),
            said("agent_made")
        );
    }
    assert_eq!(wait_for_inbound_answer(&home, &latest_event_id(&home))["outcome"], "answered");
    let output = server.output();
    assert_eq!(output.matches("cannot be made and is left out").count(), 2, "once a rule: {output}");
    home.write_config("[inbound.fallback]\ndynamic_variables = { calls = \"{{ caller.calls + 1 }}\" }\n");
    let refused = home.run(&["config", "check"]);
    assert!(
        refused.exit_code == Some(1) && refused.output().contains("inbound.fallback: dynamic_variables: `calls`"),
        "{refused:?}"
    );
}
