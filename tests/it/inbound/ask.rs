//! Rules with `ask`: a service that answers, and the ways in which it can fail.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use retell_webhook::Verifier;
use serde_json::{Value, json};

use super::{
    CALLER, answer_fields, call_inbound_body, latest_event_id, rule_config, start_with_rules, wait_for_inbound_answer,
};
use crate::support::destination::{DestinationServer, status_response};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, api_key, now_ms};
use crate::support::test_env::TestEnv;

const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw3f1kq0hZ7vE=";
const FALLBACK_CONFIG: &str = "[inbound]\ntimeout_ms = 1500\n[inbound.fallback]\nagent = \"agent_fallback\"\n\
    dynamic_variables = { number = \"{{ from_number }}\", calls = \"{{ caller.calls }}\" }\n";

fn start_with_ask_rule(sink: &DestinationServer, more: &str) -> (TestEnv, ReceiverProcess) {
    start_with_rules(&format!(
        "{FALLBACK_CONFIG}{}",
        rule_config("ask", &format!("ask = {{ url = \"{}/who?token=abc\"{more} }}", sink.url()))
    ))
}

fn response_with_body(body: impl Into<Body>) -> Response {
    Response::new(body.into())
}

fn expected_fallback() -> Value {
    json!({"override_agent_id": "agent_fallback", "dynamic_variables": {"number": CALLER, "calls": ""}})
}

#[test]
fn service_receives_the_signed_body_and_its_answer_is_passed_on() {
    let answer = r#"{"call_inbound":{"override_agent_id":"agent_mine","dynamic_variables":{"n":7,"gone":null},
        "agent_override":{"agent":{"webhook_timeout_ms":4000}},"colour":"blue"}}"#;
    let sink = DestinationServer::start_with(move |_, _| response_with_body(answer));
    let (home, server) =
        start_with_ask_rule(&sink, &format!(", secret = \"{WEBHOOK_SECRET}\", headers = {{ X-Team = \"blue\" }}"));
    let body = call_inbound_body(CALLER, "call_1");
    let expected = json!({"override_agent_id": "agent_mine", "dynamic_variables": {"n": "7"},
        "agent_override": {"agent": {"webhook_timeout_ms": 4000}}});
    assert_eq!(answer_fields(&server.post_signed(&body)), expected);
    let received = sink.wait_for(1).remove(0);
    assert_eq!((received.body.as_ref(), received.path.as_str()), (&body[..], "/who?token=abc"));
    let header = received.header("x-retell-signature");
    assert!(Verifier::new(vec![api_key(KEY)]).verify(header, &received.body, now_ms()).is_ok(), "as Retell signs");
    assert!(received.header("webhook-signature").unwrap().starts_with("v1,"));
    assert_eq!(
        (received.header("x-team"), received.header("webhook-id")),
        (Some("blue"), Some(&*latest_event_id(&home)))
    );
    assert_eq!(wait_for_inbound_answer(&home, &latest_event_id(&home))["answer"]["call_inbound"], expected);
    assert!(!server.output().contains("token=abc"));
}

#[test]
fn an_answer_is_read_whatever_its_label() {
    let sink = DestinationServer::start_with(|before, _| {
        let (content_type, body): (&str, &[u8]) = [
            (
                "text/html; charset=UTF-8",
                &b"\xef\xbb\xbf{\"call_inbound\":{\"dynamic_variables\":{\"city\":\"Z\xc3\xbcrich\"}}}"[..],
            ),
            (
                "application/json; charset=ISO-8859-1",
                b"{\"call_inbound\":{\"dynamic_variables\":{\"city\":\"Z\xfcrich\"}}}",
            ),
        ][before];
        Response::builder().header("content-type", content_type).body(Body::from(body)).unwrap()
    });
    let (_home, server) = start_with_ask_rule(&sink, "");
    for id in ["call_1", "call_2"] {
        let answer = answer_fields(&server.post_signed(&call_inbound_body(CALLER, id)));
        assert_eq!(answer, json!({"dynamic_variables": {"city": "Zürich"}}), "{id}");
    }
}

#[test]
fn text_message_is_answered_under_chat_inbound() {
    let sink = DestinationServer::start_with(|before, _| {
        let agent = json!({"override_agent_id": "agent_chat", "dynamic_variables": {"n": 1}});
        let key = if before == 0 { "chat_inbound" } else { "call_inbound" };
        response_with_body(json!({ key: agent }).to_string())
    });
    let (home, server) = start_with_ask_rule(&sink, "");
    let chat = |id: &str| {
        let chat = json!({"chat_id": id, "from_number": CALLER, "to_number": "+12025550178"});
        server.post_signed(json!({"event": "chat_inbound", "chat_inbound": chat}).to_string().as_bytes()).json()
    };
    let expected = json!({"override_agent_id": "agent_chat", "dynamic_variables": {"n": "1"}});
    assert_eq!(chat("chat_1"), json!({ "chat_inbound": expected }));
    assert_eq!(sink.received()[0].json()["chat_inbound"]["chat_id"], "chat_1");
    let stored = wait_for_inbound_answer(&home, &latest_event_id(&home));
    assert_eq!((&stored["outcome"], &stored["answer"]["chat_inbound"]), (&json!("answered"), &expected));
    assert_eq!(
        chat("chat_2"),
        json!({ "chat_inbound": expected_fallback() }),
        "an answer for a call is not valid for a text message"
    );
    assert_eq!(wait_for_inbound_answer(&home, &latest_event_id(&home))["outcome"], "invalid_answer");
}

#[test]
fn override_with_a_wrong_type_is_not_sent() {
    let sink = DestinationServer::start_with(|_, _| {
        response_with_body(r#"{"call_inbound":{"agent_override":{"agent":{"voice_id":7}}}}"#)
    });
    let (_home, server) = start_with_ask_rule(&sink, "");
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_1"))), expected_fallback());
    assert!(server.wait_for_output("agent_override.agent.voice_id: expected a string"), "{}", server.output());
}

type ResponseFactory = fn() -> Response;

#[test]
fn every_failure_is_answered_with_the_fallback_in_time() {
    let invalid = r#"{"call_inbound":{"reject":"yes","dynamic_variables":{"name":"Jane"}}}"#;
    let table: [(&str, &str, ResponseFactory); 6] = [
        ("500", "failed", || status_response(500)),
        ("a redirect", "failed", || status_response(302)),
        ("garbage", "failed", || response_with_body("<html>Jane</html>")),
        ("nothing", "failed", || response_with_body("")),
        ("too long", "failed", || response_with_body(vec![b' '; 400_000])),
        ("another key", "invalid_answer", || response_with_body(r#"{"chat_inbound":{}}"#)),
    ];
    for (what, outcome, answer) in table {
        let sink = DestinationServer::start_with(move |_, _| answer());
        assert_fallback_answered(&sink, what, outcome);
    }
    assert_fallback_answered(
        &DestinationServer::start_with(move |_, _| response_with_body(invalid)),
        "an invalid field",
        "invalid_answer",
    );
}

fn assert_fallback_answered(sink: &DestinationServer, what: &str, outcome: &str) {
    let (home, server) = start_with_ask_rule(sink, "");
    let began = Instant::now();
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_1"))), expected_fallback(), "{what}");
    assert!(began.elapsed() < Duration::from_secs(5), "{what}");
    let stored = wait_for_inbound_answer(&home, &latest_event_id(&home));
    assert_eq!((&stored["rule"], &stored["outcome"]), (&json!("ask"), &json!(outcome)), "{what}");
    assert!(server.wait_for_output("inbound answer failed"), "{what}");
    let output = server.output();
    assert!(!output.contains("Jane") && !output.contains(CALLER) && !output.contains("token=abc"), "{what}: {output}");
    if what == "an invalid field" {
        assert!(output.contains("reject: expected true or false"), "{output}");
    }
}

#[test]
fn unreachable_or_slow_service_does_not_delay_the_caller() {
    // The port is free again once the socket is closed, so connections are refused.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (home, server) = start_with_rules(&format!(
        "{FALLBACK_CONFIG}{}",
        rule_config("down", &format!("ask = {{ url = \"http://{free}\" }}"))
    ));
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_1"))), expected_fallback());
    assert_eq!(wait_for_inbound_answer(&home, &latest_event_id(&home))["outcome"], "failed");

    // Accepts the connection but never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for (more, outcome) in [("", "timed_out"), (", timeout_ms = 200", "failed")] {
        let (home, server) = start_with_rules(&format!(
            "{FALLBACK_CONFIG}{}",
            rule_config("slow", &format!("ask = {{ url = \"{url}\"{more} }}"))
        ));
        let began = Instant::now();
        assert_eq!(answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_1"))), expected_fallback());
        assert!(began.elapsed() < Duration::from_secs(8), "before Retell gives up after 10 s");
        let stored = wait_for_inbound_answer(&home, &latest_event_id(&home));
        assert_eq!((&stored["outcome"], &stored["rule"]), (&json!(outcome), &json!("slow")));
    }
    drop(silent);
}
