//! A service that answers, and every way in which it may fail to.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use retell_webhook::Verifier;
use serde_json::{Value, json};

use super::{CALLER, fields, latest_id, ledger, ringing, rule, started};
use crate::support::home::Home;
use crate::support::server::Server;
use crate::support::signing::{KEY, key, now_ms};
use crate::support::sink::{Sink, status};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw3f1kq0hZ7vE=";
const FALLBACK: &str = "[inbound]\ntimeout_ms = 1500\n[inbound.fallback]\nagent = \"agent_fallback\"\n\
    dynamic_variables = { number = \"{{ from_number }}\", calls = \"{{ caller.calls }}\" }\n";

fn asking(sink: &Sink, more: &str) -> (Home, Server) {
    started(&format!("{FALLBACK}{}", rule("ask", &format!("ask = {{ url = \"{}/who?token=abc\"{more} }}", sink.url()))))
}

fn said(body: impl Into<Body>) -> Response {
    Response::new(body.into())
}

fn fallback() -> Value {
    json!({"override_agent_id": "agent_fallback", "dynamic_variables": {"number": CALLER, "calls": ""}})
}

#[test]
fn the_service_gets_the_very_bytes_signed_and_its_answer_is_passed_on() {
    let answer = r#"{"call_inbound":{"override_agent_id":"agent_mine","dynamic_variables":{"n":7,"gone":null},
        "agent_override":{"agent":{"webhook_timeout_ms":4000}},"colour":"blue"}}"#;
    let sink = Sink::answering(move |_, _| said(answer));
    let (home, server) = asking(&sink, &format!(", secret = \"{SECRET}\", headers = {{ X-Team = \"blue\" }}"));
    let body = ringing(CALLER, "call_1");
    let expected = json!({"override_agent_id": "agent_mine", "dynamic_variables": {"n": "7"},
        "agent_override": {"agent": {"webhook_timeout_ms": 4000}}});
    assert_eq!(fields(&server.deliver(&body)), expected);
    let got = sink.wait_for(1).remove(0);
    assert_eq!((got.body.as_ref(), got.path.as_str()), (&body[..], "/who?token=abc"));
    let header = got.header("x-retell-signature");
    assert!(Verifier::new(vec![key(KEY)]).verify(header, &got.body, now_ms()).is_ok(), "as Retell signs");
    assert!(got.header("webhook-signature").unwrap().starts_with("v1,"));
    assert_eq!((got.header("x-team"), got.header("webhook-id")), (Some("blue"), Some(&*latest_id(&home))));
    assert_eq!(ledger(&home, &latest_id(&home))["answer"]["call_inbound"], expected);
    assert!(!server.output().contains("token=abc"));
}

#[test]
fn a_text_message_is_answered_under_its_own_key() {
    let sink = Sink::answering(|before, _| {
        let agent = json!({"override_agent_id": "agent_chat", "dynamic_variables": {"n": 1}});
        let key = if before == 0 { "chat_inbound" } else { "call_inbound" };
        said(json!({ key: agent }).to_string())
    });
    let (home, server) = asking(&sink, "");
    let chat = |id: &str| {
        let chat = json!({"chat_id": id, "from_number": CALLER, "to_number": "+12025550178"});
        server.deliver(json!({"event": "chat_inbound", "chat_inbound": chat}).to_string().as_bytes()).json()
    };
    let expected = json!({"override_agent_id": "agent_chat", "dynamic_variables": {"n": "1"}});
    assert_eq!(chat("chat_1"), json!({ "chat_inbound": expected }));
    assert_eq!(sink.got()[0].json()["chat_inbound"]["chat_id"], "chat_1");
    let kept = ledger(&home, &latest_id(&home));
    assert_eq!((&kept["outcome"], &kept["answer"]["chat_inbound"]), (&json!("rule"), &expected));
    assert_eq!(chat("chat_2"), json!({ "chat_inbound": fallback() }), "an answer for a call is none for a message");
    assert_eq!(ledger(&home, &latest_id(&home))["outcome"], "invalid");
}

#[test]
fn an_override_of_another_type_is_not_sent() {
    let sink = Sink::answering(|_, _| said(r#"{"call_inbound":{"agent_override":{"agent":{"voice_id":7}}}}"#));
    let (_home, server) = asking(&sink, "");
    assert_eq!(fields(&server.deliver(&ringing(CALLER, "call_1"))), fallback());
    assert!(server.prints("agent_override.agent.voice_id: expected a text"), "{}", server.output());
}

type Sends = fn() -> Response;

#[test]
fn whatever_goes_wrong_the_fallback_is_answered_in_time() {
    let invalid = r#"{"call_inbound":{"reject":"yes","dynamic_variables":{"name":"Jane"}}}"#;
    let table: [(&str, &str, Sends); 6] = [
        ("500", "fallback", || status(500)),
        ("a redirect", "fallback", || status(302)),
        ("garbage", "fallback", || said("<html>Jane</html>")),
        ("nothing", "fallback", || said("")),
        ("too long", "fallback", || said(vec![b' '; 400_000])),
        ("another key", "invalid", || said(r#"{"chat_inbound":{}}"#)),
    ];
    for (what, outcome, answer) in table {
        let sink = Sink::answering(move |_, _| answer());
        check(&sink, what, outcome);
    }
    check(&Sink::answering(move |_, _| said(invalid)), "an invalid field", "invalid");
}

fn check(sink: &Sink, what: &str, outcome: &str) {
    let (home, server) = asking(sink, "");
    let began = Instant::now();
    assert_eq!(fields(&server.deliver(&ringing(CALLER, "call_1"))), fallback(), "{what}");
    assert!(began.elapsed() < Duration::from_secs(5), "{what}");
    let kept = ledger(&home, &latest_id(&home));
    assert_eq!((&kept["rule"], &kept["outcome"]), (&json!("ask"), &json!(outcome)), "{what}");
    assert!(server.prints("the fallback is sent instead"), "{what}");
    let output = server.output();
    assert!(!output.contains("Jane") && !output.contains(CALLER) && !output.contains("token=abc"), "{what}: {output}");
    if what == "an invalid field" {
        assert!(output.contains("reject: expected true or false"), "{output}");
    }
}

#[test]
fn a_service_that_is_down_or_slow_does_not_keep_the_caller() {
    // Nobody listens there once the socket is closed.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (home, server) =
        started(&format!("{FALLBACK}{}", rule("down", &format!("ask = {{ url = \"http://{free}\" }}"))));
    assert_eq!(fields(&server.deliver(&ringing(CALLER, "call_1"))), fallback());
    assert_eq!(ledger(&home, &latest_id(&home))["outcome"], "fallback");

    // Takes the connection and says nothing, longer than Retell would wait.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for (more, outcome) in [("", "late"), (", timeout_ms = 200", "fallback")] {
        let (home, server) =
            started(&format!("{FALLBACK}{}", rule("slow", &format!("ask = {{ url = \"{url}\"{more} }}"))));
        let began = Instant::now();
        assert_eq!(fields(&server.deliver(&ringing(CALLER, "call_1"))), fallback());
        assert!(began.elapsed() < Duration::from_secs(8), "long before Retell gives up");
        let kept = ledger(&home, &latest_id(&home));
        assert_eq!((&kept["outcome"], &kept["rule"]), (&json!(outcome), &json!("slow")));
    }
    drop(silent);
}
