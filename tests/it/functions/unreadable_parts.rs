//! Bodies of which a part cannot be read: it must not affect the rest, and only valid JSON is passed on.

use serde_json::{Value, json};

use super::{
    WEATHER_PATH, list_invocations, post_function_request, start_with_weather_function, weather_function_config,
};
use crate::support::destination::{DestinationServer, ReceivedRequest};
use crate::support::test_env::TestEnv;

/// Answers with the arguments that it got.
fn start_echo() -> DestinationServer {
    DestinationServer::start_with(|_, request: &ReceivedRequest| {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        axum::response::Response::new(json!({ "got": body["args"] }).to_string().into())
    })
}

fn weather_request(call_id: &str, city: &str, part: &str) -> String {
    format!(r#"{{"name":"weather","call":{{"call_id":"{call_id}",{part}}},"args":{{"city":"{city}"}}}}"#)
}

#[test]
fn an_unreadable_part_of_the_call_does_not_affect_the_function() {
    let sink = start_echo();
    let (home, server) = start_with_weather_function(&sink.url(), "");
    let nested = format!("\"metadata\":{}{}", "[".repeat(200), "]".repeat(200));
    let parts = [
        ("half an emoji", r#""transcript":"hi \ud83d""#),
        ("a number out of range", r#""latency":{"e2e":{"p50":1e400}}"#),
        ("200 levels of nesting", &nested),
        ("NaN", r#""latency":NaN"#),
        ("a key that occurs twice", r#""transcript":"a","transcript":7"#),
        ("half an emoji in a key", r#""metadata":{"\ude00":1}"#),
    ];
    for (number, (what, part)) in parts.into_iter().enumerate() {
        for (mark, before) in [("", ""), ("m", "\u{feff}")] {
            let call_id = format!("call_{number}{mark}");
            let body = [before, &weather_request(&call_id, "Bern", part)].concat();
            let answer = post_function_request(server.address(), WEATHER_PATH, body.as_bytes());
            assert_eq!(answer.text(), r#"{"got":{"city":"Bern"}}"#, "{what}");
            assert_eq!(list_invocations(&home)[0]["call_id"], call_id, "{what}");
            let got = sink.received().pop().unwrap();
            let text = String::from_utf8(got.body.to_vec()).unwrap();
            assert!(text.starts_with("{\"name\":") && !text.contains("NaN"), "{what}: {text:.200}");
            assert!(!text.contains(r"\ud83d") && !text.contains(r"\ude00"), "{what}: {text:.200}");
        }
    }
    let answer = post_function_request(
        server.address(),
        WEATHER_PATH,
        weather_request("call_x", r"Bern \ud83d", "\"x\":\"Z\u{fc}rich\"").as_bytes(),
    );
    assert_eq!(answer.json(), json!({"got": {"city": "Bern \u{fffd}"}}));
    let invalid = post_function_request(server.address(), WEATHER_PATH, br#"{"name":"weather","args":{"city":"#);
    assert_eq!(invalid.json()["error"], "invalid_arguments", "a body that was cut off is not guessed at");
}

#[test]
fn a_valid_body_is_passed_on_byte_for_byte() {
    let sink = start_echo();
    let (_home, server) = start_with_weather_function(&sink.url(), "");
    let body = weather_request("call_1", r"\ud83d\ude00 Z\u00fcrich", r#" "cost" : 1.500, "n":1E2"#);
    let answer = post_function_request(server.address(), WEATHER_PATH, body.as_bytes());
    assert_eq!(answer.json(), json!({"got": {"city": "\u{1f600} Zürich"}}));
    assert_eq!(sink.received()[0].body, body);
}

#[cfg(unix)]
#[test]
fn a_program_gets_valid_arguments() {
    let home = TestEnv::new();
    let table = weather_function_config("http://127.0.0.1:1", "")
        .replace("url = \"http://127.0.0.1:1/f\"", "command = [\"/bin/cat\"]");
    home.write_config(&table);
    let server = home.start_server();
    let body = weather_request("call_1", r"Bern \udc00", r#""transcript":"\ud83d""#);
    let answer = post_function_request(server.address(), WEATHER_PATH, body.as_bytes());
    assert_eq!(answer.json(), json!({"city": "Bern \u{fffd}"}));
}
