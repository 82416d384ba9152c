//! Function calls at addresses for events, and events at addresses of functions.

use serde_json::json;

use super::{
    WEATHER_PATH, function_request_body, list_invocations, post_function_request, start_with_weather_function,
};
use crate::support::bodies::{event_body, sample_payload};
use crate::support::client::post_signed;
use crate::support::destination::DestinationServer;
use crate::support::test_env::TestEnv;

const WEBHOOK_PATHS: [&str; 3] = ["/api/v1/webhook/retell", "/webhook", "/api/v1/webhook/retell/inbound"];

#[test]
fn a_configured_function_is_called_at_every_webhook_address() {
    let sink = DestinationServer::start();
    let (home, server) = start_with_weather_function(&sink.url(), "");
    for (number, path) in WEBHOOK_PATHS.into_iter().enumerate() {
        let call_id = format!("call_{number}");
        let answer =
            post_function_request(server.address(), path, &function_request_body(&call_id, &json!({"city": "Bern"})));
        assert_eq!((answer.status, answer.text().as_str()), (200, "said"), "{path}");
        assert_eq!(list_invocations(&home)[0]["call_id"], call_id, "{path}");
    }
    let wrong = function_request_body("call_x", &json!({"days": 1}));
    assert_eq!(post_function_request(server.address(), "/webhook", &wrong).json()["error"], "invalid_arguments");
    assert!(home.export_events().is_empty(), "a function call is not an event");
}

#[test]
fn a_function_that_is_not_configured_is_not_confirmed_and_the_operator_is_told() {
    let mut home = TestEnv::new().with_env("SERVER_URL", "https://calls.example.com");
    let server = home.start_server();
    home.use_ports_of(&server);
    let answer = post_signed(server.address(), &sample_payload("17_"));
    assert_eq!(answer.status, 200, "Retell would repeat any other status while the caller waits");
    let body = answer.json();
    assert_eq!((&body["error"], &body["received"]), (&json!("unknown_function"), &json!(true)));
    let message = body["message"].as_str().unwrap();
    assert!(message.contains("Nothing was done. Do not say that it was done."), "{message}");
    assert_eq!(home.export_events().len(), 1, "what Retell has signed is stored");
    let url = "https://calls.example.com/api/v1/function/get_weather";
    assert!(server.wait_for_output("function call at webhook address"), "{}", server.output());
    assert!(server.output().contains(url), "{}", server.output());
    let status = home.run_ok(&["status"]).stdout;
    assert!(status.contains("`get_weather` at /api/v1/webhook/retell") && status.contains(url), "{status}");
    let warnings = home.run_ok(&["status", "--json"]).json()["warnings"].to_string();
    assert!(warnings.contains(url), "{warnings}");
    let doctor = home.run(&["doctor"]);
    assert!(doctor.exit_code == Some(1) && doctor.stdout.contains(url), "{doctor:?}");
    let metrics = server.metrics().text();
    assert!(metrics.contains("retell_webhook_function_requests_not_found_total 1"), "{metrics}");
}

#[test]
fn arguments_alone_are_not_confirmed_at_a_webhook_address() {
    let home = TestEnv::new();
    let server = home.start_server();
    for body in [&br#"{"city":"Bern"}"#[..], br#"{"event":"wedding","city":"Bern"}"#, br#"{"name":"Ada","date":"x"}"#] {
        let answer = post_signed(server.address(), body);
        assert_eq!((answer.status, &answer.json()["error"]), (200, &json!("not_an_event")), "{}", answer.text());
        assert!(answer.text().contains("nothing was done. Do not say that it was done."), "{}", answer.text());
    }
    assert_eq!(home.export_events().len(), 3);
    for body in [event_body("call_ended", "call_1"), event_body("something_new", "call_1"), b"[]".to_vec()] {
        assert_eq!(post_signed(server.address(), &body).json(), json!({"received": true}));
    }
}

#[test]
fn an_event_at_the_address_of_a_function_is_an_event() {
    let sink = DestinationServer::start();
    let (home, server) = start_with_weather_function(&sink.url(), "");
    for (path, call_id) in [(WEATHER_PATH, "call_1"), ("/api/v1/function/unknown", "call_2")] {
        let answer = post_function_request(server.address(), path, &event_body("call_ended", call_id));
        assert_eq!((answer.status, answer.json()), (200, json!({"received": true})), "{path}");
    }
    let inbound = post_function_request(server.address(), WEATHER_PATH, &sample_payload("15_"));
    assert_eq!(inbound.json(), json!({"call_inbound": {}}), "a caller gets the answer to an inbound request");
    assert_eq!(home.export_events().len(), 3);
    assert!(sink.received().is_empty() && list_invocations(&home).is_empty());
    let log = server.output();
    assert!(log.contains("event at function address") && log.contains("/api/v1/webhook/retell"), "{log}");
}
