//! `slack`: default and configured messages, into which a caller cannot inject Slack markup.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bodies::{event_body, sample_payload};
use crate::support::destination::{DestinationServer, ReceivedRequest, header_response, status_response};
use crate::support::server::ReceiverProcess;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

fn start_with_slack_handler(sink: &DestinationServer, lines: &str) -> (TestEnv, ReceiverProcess) {
    let home = TestEnv::new();
    let table = "[[handlers]]\nname = \"team\"\nkind = \"slack\"\nretry_schedule = [\"100ms\", \"100ms\"]\n";
    home.write_config(&format!("{table}url = \"{}/services/T0/B0/s3cr3t\"\n{lines}\n", sink.url()));
    let server = home.start_server();
    (home, server)
}

fn message_text(got: &ReceivedRequest) -> String {
    let json = got.json();
    assert_eq!(json["blocks"][0]["text"]["text"], json["text"]);
    assert_eq!(json["blocks"][0]["text"]["verbatim"], true, "Slack must not create links");
    json["text"].as_str().unwrap().to_owned()
}

#[test]
fn default_messages_of_a_call() {
    let sink = DestinationServer::start();
    let (_home, server) = start_with_slack_handler(&sink, "");
    for prefix in ["01_", "13_", "05_", "11b_", "16_"] {
        server.post_signed(&sample_payload(prefix));
    }
    let messages: Vec<_> = sink.wait_for(4).iter().map(message_text).collect();
    let begins = |start: &str| messages.iter().find(|message| message.starts_with(start)).unwrap().as_str();
    assert_eq!(sink.received()[0].path, "/services/T0/B0/s3cr3t");
    let alert = ":rotating_light: *Alert*: Cost spike\ntotal call cost: $148.00, before that $91.00 (threshold 50 %, window 1h)";
    assert_eq!(begins(":rot"), alert);
    let analyzed = begins("*Call analyzed*: Northwind Clinic Reception called +12•••99\n25 s · successful · ");
    assert!(analyzed.contains("\n>The agent confirmed"), "{analyzed}");
    let ended = "*Call ended*: Northwind Clinic Reception called +12•••00\nnot connected · dial failed";
    assert_eq!(begins("*Call ended*"), ended);
    assert_eq!(begins("*Call started*"), "*Call started*: +12•••43 called Northwind Clinic Reception");
    assert!(!server.output().contains("s3cr3t"));
}

/// The delivery of the event of this call, once it has ended.
fn wait_for_delivery(home: &TestEnv, call_id: &str) -> Value {
    let mut found = Value::Null;
    let has_ended = || {
        let rows = home.run_ok(&["deliveries", "list", "--json", "--handler", "team"]).json();
        let row = rows.as_array().unwrap().iter().find(|row| row["call_id"] == call_id).cloned();
        found = row.unwrap_or_default();
        matches!(found["state"].as_str(), Some("succeeded" | "skipped" | "dead"))
    };
    assert!(wait_until(Duration::from_secs(30), has_ended), "{call_id}");
    found
}

#[test]
fn an_unreadable_part_does_not_stop_the_message() {
    let sink = DestinationServer::start();
    let (home, server) = start_with_slack_handler(&sink, "[[handlers]]\nname = \"calls\"\nkind = \"call_store\"");
    let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let parts = ["\"latency\":{\"e2e\":{\"p50\":1e400}}", &format!("\"metadata\":{nested}"), r#""x":"\ud83d""#];
    for (number, part) in parts.iter().enumerate() {
        let body = format!(
            r#"{{"event":"call_analyzed","call":{{"call_id":"call_{number}","call_analysis":{{"call_summary":"Bye \ud83d"}},{part}}}}}"#
        );
        server.post_signed([["", "\u{feff}"][number % 2], &body].concat().as_bytes());
        assert_eq!(wait_for_delivery(&home, &format!("call_{number}"))["state"], "succeeded", "{part}");
        let message = message_text(&sink.received()[number]);
        assert!(message.contains(">Bye \u{fffd}"), "{message}");
    }
    let show = || home.run(&["calls", "show", "call_0", "--reveal", "--json"]);
    assert!(wait_until(Duration::from_secs(30), || show().exit_code == Some(0)), "{:?}", show());
    assert_eq!(show().json()["summary"], "Bye \u{fffd}");
}

#[test]
fn a_delivery_without_a_message_is_skipped_with_the_reason() {
    let sink = DestinationServer::start();
    let (home, server) =
        start_with_slack_handler(&sink, "[handlers.templates]\ncall_started = \"\"\ncall_ended = \"{{ call.none }}\"");
    for (event, reason) in [
        ("transcript_updated", "no message: no template has the name of this event"),
        ("call_started", "no message: the template of this event rendered no text"),
        ("call_ended", "no message: the template of this event rendered no text"),
    ] {
        server.post_signed(&event_body(event, event));
        let row = wait_for_delivery(&home, event);
        assert_eq!((&row["state"], &row["reason"]), (&json!("skipped"), &json!("nothing_to_do")), "{event}");
        let id = row["event_id"].as_str().unwrap();
        let shown = home.run_ok(&["deliveries", "show", &format!("{id}:team"), "--json"]).json();
        let attempt = &shown[0]["attempt_records"][0];
        assert_eq!((&attempt["outcome"], &attempt["error"]), (&json!("done"), &json!(reason)), "{shown}");
    }
    assert!(sink.received().is_empty());
}

#[test]
fn caller_text_is_escaped() {
    let sink = DestinationServer::start();
    let (_home, server) = start_with_slack_handler(&sink, "");
    let evil = "<!channel> <https://evil.example|your invoice> &\n*Outcome*: paid";
    let body = json!({"event": "call_analyzed", "call": {"call_id": "call_1", "agent_name": evil,
        "call_analysis": {"call_summary": evil, "user_sentiment": evil}}});
    server.post_signed(body.to_string().as_bytes());
    let message = message_text(&sink.wait_for(1)[0]);
    assert!(!message.contains('<') && !message.contains("\n*"), "{message}");
    assert!(
        message.contains("&lt;!channel&gt; &lt;https://evil.example|your invoice&gt; &amp; *Outcome*"),
        "{message}"
    );
}

#[test]
fn a_rate_limit_delays_the_retry_and_revisions_are_skipped() {
    let sink = DestinationServer::start_with(|before, _| {
        if before == 0 { header_response(429, "retry-after", "1") } else { status_response(200) }
    });
    let (_home, server) = start_with_slack_handler(&sink, "");
    server.post_signed(&event_body("call_ended", "call_1"));
    server.post_signed(
        &String::from_utf8(event_body("call_ended", "call_1")).unwrap().replace("agent_1", "agent_2").into_bytes(),
    );
    server.post_signed(&event_body("call_analyzed", "call_1"));
    let messages: Vec<_> = sink.wait_for(3).iter().map(message_text).collect();
    assert!(messages[0] == messages[1] && messages[2].starts_with("*Call analyzed*"), "{messages:?}");
    assert_eq!(sink.received().len(), 3);
}

#[test]
fn invalid_settings_are_refused_by_key() {
    for (lines, expected) in [
        ("templates = { call_ended = \"{{ call.\" }", "templates: `call_ended`: syntax error"),
        ("templates = { call_ended = \"{{ call | nosuch }}\" }", "unknown filter"),
        ("urls = [\"https://a.example\"]", "urls: "),
    ] {
        let home = TestEnv::new();
        let table =
            "[[handlers]]\nname = \"team\"\nkind = \"slack\"\nurl = \"https://hooks.slack.com/services/s3cr3t\"\n";
        home.write_config(&format!("{table}{lines}\n"));
        for ran in [home.run(&["config", "check"]), home.start_expecting_exit()] {
            assert!(ran.exit_code == Some(1) && ran.output().contains(expected), "{lines}: {ran:?}");
            assert!(!ran.output().contains("s3cr3t"), "{ran:?}");
        }
    }
}

/// The example of docs/handlers/slack.md, posting to the test's server.
#[test]
fn the_example_of_the_page_works() {
    let sink = DestinationServer::start();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/handlers/slack.md")).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(example.contains("https://hooks.slack.com/services/"), "{example}");
    let home = TestEnv::new();
    home.write_config(&example.replace("https://hooks.slack.com", &sink.url()));
    let server = home.start_server();
    server.post_signed(&sample_payload("01_"));
    server.post_signed(&sample_payload("05_"));
    let has_message = || {
        sink.received()
            .iter()
            .map(message_text)
            .find(|message| message.contains("Northwind Clinic Reception called +12•••99*, 25 s"))
    };
    assert!(wait_until(Duration::from_secs(30), || has_message().is_some()), "{:?}", sink.received());
    assert_eq!(sink.received().len(), 1, "the empty template sends no message");
}
