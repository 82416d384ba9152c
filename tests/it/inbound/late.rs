//! Stores, bodies and requests that would keep a caller waiting.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use serde_json::json;

use super::{CALLED, CALLER, fields, latest_id, ledger, marked, ringing, rule, started};
use crate::support::client::{Client, WEBHOOK, deliver, head};
use crate::support::signing::sign;
use crate::support::sink::Sink;
use crate::support::wait_until;

const FALLBACK: &str = "[inbound]\ntimeout_ms = 1000\n[inbound.fallback]\nagent = \"agent_fallback\"\n";

fn fallback() -> serde_json::Value {
    json!({"override_agent_id": "agent_fallback"})
}

#[test]
fn a_locked_store_does_not_keep_the_caller_and_has_the_request_later() {
    let (home, server) = started(&format!("{FALLBACK}{}", marked("usual", "")));
    assert_eq!(fields(&server.deliver(&ringing(CALLER, "call_0")))["metadata"]["rule"], "usual");
    let other = home.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(fields(&server.deliver(&ringing(CALLER, "call_1"))), fallback(), "while the store is locked");
    other.execute_batch("COMMIT").unwrap();
    assert!(wait_until(Duration::from_secs(10), || home.events(&[]).len() == 2), "it is kept after all");
    let kept = ledger(&home, &latest_id(&home));
    assert_eq!((&kept["outcome"], &kept["answer"]["call_inbound"]), (&json!("not_stored"), &fallback()));
    let took = kept["duration_ms"].as_i64().unwrap();
    assert!((1_000..3_000).contains(&took), "at the deadline, not when the lock is given up on: {took} ms");
    assert_eq!(fields(&server.deliver(&ringing(CALLER, "call_2")))["metadata"]["rule"], "usual");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("inbound_answers_total{outcome=\"not_stored\"} 1"), "{metrics}");
    assert!(server.output().contains("not_stored") && !server.output().contains(CALLER), "{}", server.output());
}

#[test]
fn a_store_that_says_it_is_away_is_not_waited_for() {
    let (home, server) = started("[inbound]\ntimeout_ms = 8000\n[inbound.fallback]\nagent = \"agent_fallback\"\n");
    let other = home.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(fields(&server.deliver(&ringing(CALLER, "call_1"))), fallback(), "while the store is locked");
    other.execute_batch("COMMIT").unwrap();
    assert!(wait_until(Duration::from_secs(10), || home.events(&[]).len() == 1), "it is tried again");
    let took = ledger(&home, &latest_id(&home))["duration_ms"].as_i64().unwrap();
    assert!(took < 7_000, "{took} ms");
}

#[test]
fn a_body_that_comes_slowly_uses_up_the_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ask = format!("ask = {{ url = \"http://{}\" }}", silent.local_addr().unwrap());
    let (home, server) = started(&format!("{FALLBACK}{}", rule("ask", &ask)));
    let body = ringing(CALLER, "call_1");
    let signature = sign(&body);
    let mut client = Client::connect(server.address());
    client.send(head("POST", WEBHOOK, &[("X-Retell-Signature", &signature)], Some(body.len())).as_bytes()).unwrap();
    for part in body.chunks(body.len().div_ceil(6)) {
        thread::sleep(Duration::from_millis(250));
        client.send(part).unwrap();
    }
    assert_eq!(fields(&client.answer().unwrap()), fallback());
    let kept = ledger(&home, &latest_id(&home));
    assert_eq!(kept["outcome"], "late", "and it was stored before");
    let took = kept["duration_ms"].as_i64().unwrap();
    assert!((1_000..2_900).contains(&took), "the service gets no time of its own after that: {took} ms");
}

#[test]
fn a_service_that_is_late_costs_the_budget_and_no_more() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ask = format!("ask = {{ url = \"http://{}\" }}", silent.local_addr().unwrap());
    let (home, server) = started(&format!("{FALLBACK}{}", rule("ask", &ask)));
    for (body, key) in [
        (ringing(CALLER, "call_1"), "call_inbound"),
        (
            json!({"event": "chat_inbound", "chat_inbound": {"chat_id": "chat_1", "from_number": CALLER, "to_number": CALLED}})
                .to_string()
                .into(),
            "chat_inbound",
        ),
    ] {
        assert_eq!(server.deliver(&body).json()[key], fallback());
        let kept = ledger(&home, &latest_id(&home));
        let took = kept["duration_ms"].as_i64().unwrap();
        assert!(kept["outcome"] == "late" && (1_000..2_000).contains(&took), "{kept}");
    }
}

#[test]
fn requests_that_come_twice_at_once_share_an_answer() {
    let sink = Sink::answering(|before, _| {
        thread::sleep(Duration::from_millis(600));
        Response::new(Body::from(json!({"call_inbound": {"metadata": {"n": before}}}).to_string()))
    });
    let ask = format!("ask = {{ url = \"{}\" }}", sink.url());
    let (home, server) = started(&format!("[inbound]\ntimeout_ms = 8000\n{}", rule("ask", &ask)));
    let (address, barrier) = (server.address(), Arc::new(Barrier::new(4)));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                barrier.wait();
                fields(&deliver(address, &ringing(CALLER, "call_1")))
            })
        })
        .collect();
    for asker in askers {
        assert_eq!(asker.join().unwrap(), json!({"metadata": {"n": 0}}));
    }
    assert_eq!(sink.got().len(), 1);
    assert_eq!(home.events(&[]).len(), 1);
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("events_total{outcome=\"duplicate\",event=\"call_inbound\"} 3"), "{metrics}");
}

#[test]
fn a_body_that_names_the_event_and_holds_nothing_gets_the_fallback() {
    let (home, server) = started(FALLBACK);
    for body in ["{\"event\":\"call_inbound\"}", "{\"event\":\"call_inbound\",\"call_inbound\":[7]}"] {
        assert_eq!(fields(&server.deliver(body.as_bytes())), fallback(), "{body}");
        assert_eq!(ledger(&home, &latest_id(&home))["outcome"], "fallback");
    }
}

#[test]
fn a_variable_that_cannot_be_made_is_left_out_and_the_rest_stays() {
    let broken = "broken = \"{{ sip['x-trunk'] + 1 }}\", fine = \"{{ to_number }}\"";
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let rules = [
        format!("{FALLBACK}dynamic_variables = {{ {broken} }}\n"),
        rule("ask", &format!("from = [\"+1*\"]\nask = {{ url = \"http://{}\" }}", silent.local_addr().unwrap())),
        rule("made", &format!("agent = \"agent_made\"\ndynamic_variables = {{ {broken} }}")),
    ];
    let (home, server) = started(&rules.concat());
    let said = |agent: &str| json!({"override_agent_id": agent, "dynamic_variables": {"fine": CALLED}});
    assert_eq!(fields(&server.deliver(&ringing(CALLER, "call_1"))), said("agent_fallback"));
    for number in 2..5 {
        assert_eq!(fields(&server.deliver(&ringing("+49", &format!("call_{number}")))), said("agent_made"));
    }
    assert_eq!(ledger(&home, &latest_id(&home))["outcome"], "rule");
    let output = server.output();
    assert_eq!(output.matches("cannot be made and is left out").count(), 2, "once a rule: {output}");
    home.configure("[inbound.fallback]\ndynamic_variables = { calls = \"{{ caller.calls + 1 }}\" }\n");
    let refused = home.run(&["config", "check"]);
    assert!(
        refused.code == Some(1) && refused.output().contains("inbound.fallback: dynamic_variables: `calls`"),
        "{refused:?}"
    );
}
