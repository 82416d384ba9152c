//! The routes and their responses.

mod settings;

use serde_json::{Value, json};

use crate::support::bodies::{event_body, sample_payload};
use crate::support::client::{HttpResponse, WEBHOOK_PATH, get, post_to, request};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;

const LEGACY_PATH: &str = "/api/mcp/retell/custom-function";
const INBOUND_PATH: &str = "/api/v1/webhook/retell/inbound";

fn post_signed(server: &ReceiverProcess, path: &str, body: &[u8]) -> HttpResponse {
    post_to(server.address(), path, body, &sign(body))
}

fn accepted_json(answer: &HttpResponse) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

fn stored_bodies(home: &TestEnv) -> Vec<Vec<u8>> {
    home.export_events().into_iter().map(|kept| kept.body).collect()
}

#[test]
fn the_test_route_names_the_webhook_url_and_the_instance() {
    let mut home = TestEnv::new();
    let server = home.start_server();
    let instance = |server: &ReceiverProcess| {
        let answer = server.get("/api/v1/webhook/retell/test");
        answer.header("x-retell-webhook-instance").expect("the instance header").to_owned()
    };
    let answer = server.get("/api/v1/webhook/retell/test/?any=query");
    let url = format!("POST http://localhost:{}/api/v1/webhook/retell", server.address().port());
    let expected = json!({ "status": "ok", "message": "Retell webhook endpoint is accessible", "webhook_url": url });
    assert_eq!((answer.status, answer.json()), (200, expected));
    let first = instance(&server);
    assert_eq!(instance(&server), first);
    drop(server);
    home.set_env("SERVER_URL", "https://example.ngrok.app/");
    let server = home.start_server();
    assert_ne!(instance(&server), first);
    let answer = server.get("/api/v1/webhook/retell/test");
    assert_eq!(answer.json()["webhook_url"], "POST https://example.ngrok.app/api/v1/webhook/retell");
}

#[test]
fn every_webhook_route_receives_events() {
    let home = TestEnv::new();
    let server = home.start_server();
    let paths = [
        WEBHOOK_PATH,
        "/webhook",
        "/webhook/",
        LEGACY_PATH,
        "/api/mcp/retell/custom-function/",
        INBOUND_PATH,
        "/webhook?a=b",
    ];
    for (number, path) in paths.iter().enumerate() {
        let body = event_body("call_ended", &format!("call_{number}"));
        assert_eq!(accepted_json(&post_signed(&server, path, &body)), json!({ "received": true }), "{path}");
        assert_eq!(post_to(server.address(), path, &body, "v=1,d=2").status, 401, "{path}");
        assert_eq!(request(server.address(), "PUT", path, &[], b"").status, 405, "{path}");
    }
    assert_eq!(home.export_events().len(), paths.len());
}

#[test]
fn the_legacy_route_distinguishes_events_from_function_calls() {
    let home = TestEnv::new();
    let server = home.start_server();
    let function = sample_payload("17_");
    let neither = br#"{"message":"hello"}"#;
    let answer = post_signed(&server, LEGACY_PATH, &function);
    assert_eq!(answer.status, 404, "an unknown function is an error: {}", answer.text());
    assert_eq!(accepted_json(&post_signed(&server, LEGACY_PATH, neither))["error"], "not_an_event");
    assert_eq!(accepted_json(&post_signed(&server, LEGACY_PATH, b"[]")), json!({ "received": true }));
    let both = br#"{"event":"call_ended","name":"x","call":{"call_id":"call_both"}}"#;
    assert_eq!(accepted_json(&post_signed(&server, LEGACY_PATH, both)), json!({ "received": true }));
    assert_eq!(stored_bodies(&home), [&neither[..], b"[]", both], "a function call is not an event");
    let listed = home.run_ok(&["events", "list", "--json"]).json();
    let states: Vec<_> = listed.as_array().unwrap().iter().rev().map(|event| event["state"].clone()).collect();
    assert_eq!(states, ["unparsed", "unparsed", "stored"]);
}

#[test]
fn inbound_requests_get_the_empty_answer_on_every_route() {
    let home = TestEnv::new();
    let server = home.start_server();
    for path in [INBOUND_PATH, WEBHOOK_PATH] {
        for (prefix, key) in [("15_", "call_inbound"), ("15b_", "call_inbound"), ("15c_", "chat_inbound")] {
            let body = sample_payload(prefix);
            let mut expected = json!({});
            expected[key] = json!({});
            assert_eq!(accepted_json(&post_signed(&server, path, &body)), expected, "{path} {prefix}");
        }
    }
    let kept = home.export_events();
    assert!(kept.iter().all(|kept| matches!(kept.event(), Some("call_inbound" | "chat_inbound"))));
}

#[test]
fn anonymous_callers_are_different_events_and_named_calls_are_duplicates() {
    let home = TestEnv::new();
    let server = home.start_server();
    let anonymous =
        br#"{"event":"call_inbound","call_inbound":{"from_number":"anonymous","to_number":"+12025550178"}}"#;
    let named = br#"{"event":"call_inbound","call_inbound":{"call_id":"call_in_1","from_number":"anonymous"}}"#;
    for body in [&anonymous[..], named] {
        for at_ms in [now_ms(), now_ms() - 5] {
            let answer = post_to(server.address(), INBOUND_PATH, body, &sign_with(KEY, body, at_ms));
            assert_eq!(accepted_json(&answer), json!({ "call_inbound": {} }));
        }
    }
    assert_eq!(stored_bodies(&home), [&anonymous[..], anonymous, named]);
    let signature = sign(anonymous);
    for _ in 0..2 {
        accepted_json(&post_to(server.address(), WEBHOOK_PATH, anonymous, &signature));
    }
    assert_eq!(home.export_events().len(), 4, "a retry with the same signature is the same caller");
}

#[test]
fn health_shows_its_checks_on_the_operator_listener_only() {
    let home = TestEnv::new();
    let server = home.start_server();
    for path in ["/ping", "/health/live"] {
        assert_eq!((server.get(path).status, server.get(path).json()), (200, json!({ "status": "ok" })));
    }
    let with_checks = json!({ "status": "ok", "checks": { "storage": "ok", "invocations": "ok", "keys": "ok" } });
    assert_eq!(server.health_details().json(), with_checks);
    assert_eq!(server.get("/health/ready").json(), json!({ "status": "ok" }));
}

#[test]
fn an_unknown_path_is_404_and_a_wrong_method_405() {
    let home = TestEnv::new();
    let server = home.start_server();
    let answer = get(server.address(), "/nothing");
    assert_eq!((answer.status, answer.json()), (404, json!({ "message": "Not Found" })));
    let answer = request(server.address(), "POST", "/ping", &[], b"");
    assert_eq!((answer.status, answer.json()), (405, json!({ "message": "Method Not Allowed" })));
}

/// The status and the text of a page for people.
fn page(server: &ReceiverProcess, path: &str) -> (u16, String) {
    let answer = server.get(path);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
    (answer.status, answer.text())
}

#[test]
fn a_person_who_opens_the_address_gets_a_page() {
    let home = TestEnv::new();
    home.write_config("[[companies]]\nslug = \"acme\"\nkeys = [\"key_tests_acme_7c0a4de5588b2031\"]\n");
    let server = home.start_server();
    let url = format!("<code>http://localhost:{}{WEBHOOK_PATH}", server.address().port());
    for path in ["/", "/webhook", WEBHOOK_PATH, INBOUND_PATH, LEGACY_PATH, "/webhook/?a=%3Cscript%3E"] {
        let (status, text) = page(&server, path);
        assert_eq!(status, 200, "{path}");
        assert!(text.contains(&format!("{url}</code>")) && !text.contains("script"), "{path}: {text}");
        assert!(text.contains("start a tunnel and set <code>SERVER_URL</code>"), "{text}");
        let placeholders = ["{webhook_url}", "{test_path}", "{note}", "{docs}"];
        assert!(!placeholders.iter().any(|name| text.contains(name)), "{text}");
        assert_eq!(text.contains("href=\"/docs\""), path == "/", "{path}");
    }
    let (_, of_company) = page(&server, "/api/v1/webhook/retell/acme");
    assert!(of_company.contains(&format!("{url}/acme</code>")), "{of_company}");
    let test_path = of_company.split("href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert_eq!(server.get(test_path).json()["webhook_url"], format!("POST {}/acme", url.trim_start_matches("<code>")));
    assert_eq!(server.get("/api/v1/webhook/retell/unknown").status, 404);
}

#[test]
fn the_page_of_a_public_receiver_shows_its_public_url_only() {
    let home = TestEnv::new()
        .with_env("SERVER_URL", "https://hooks.example.com")
        .with_env("RETELL_WEBHOOK__DOCS__ENABLED", "false");
    let server = home.start_server();
    let address = server.address();
    let forged = request(address, "GET", "/", &[("Host", "evil.example"), ("X-Forwarded-Host", "evil.example")], b"");
    let text = forged.text();
    assert!(text.contains("<code>https://hooks.example.com/api/v1/webhook/retell</code>"), "{text}");
    assert!(!text.contains("evil.example") && !text.contains("tunnel") && !text.contains("/docs"), "{text}");
    assert!(server.output().contains("Enter the webhook URL in Retell's dashboard"), "{}", server.output());
    assert!(!server.output().contains("tunnel"), "{}", server.output());
}

#[test]
fn the_start_of_a_local_receiver_advises_a_tunnel() {
    let server = TestEnv::new().start_server();
    let output = server.output();
    assert!(output.contains("Start a tunnel, such as `ngrok http") && output.contains("SERVER_URL"), "{output}");
    assert!(!output.to_lowercase().contains("paste") && !output.contains("dashboard"), "{output}");
}

#[test]
fn trace_is_405_on_every_path_with_and_without_a_signature() {
    let home = TestEnv::new();
    home.write_config(
        "[appointments]\nenabled = true\n[[functions]]\nname = \"lookup\"\ncommand = [\"/bin/true\"]\n\
         [[companies]]\nslug = \"acme\"\nkeys = [\"key_tests_acme_7c0a4de5588b2031\"]\n",
    );
    let server = home.start_server();
    let paths = [
        "/",
        "/nothing",
        "/ping",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/docs",
        "/docs/",
        "/docs/nothing.js",
        "/redoc",
        "/api/v1/openapi.json",
        WEBHOOK_PATH,
        INBOUND_PATH,
        "/webhook",
        "/webhook/",
        LEGACY_PATH,
        "/api/v1/webhook/retell/test",
        "/api/v1/webhook/retell/acme",
        "/api/v1/webhook/retell/unknown",
        "/api/v1/webhook/retell/acme/test",
        "/api/v1/function/lookup",
        "/api/v1/function/acme/lookup",
        "/api/v1/function/nothing",
        "/api/v1/function/lookup/",
    ];
    let signature = sign(b"");
    for path in paths {
        for address in [server.address(), server.ops_address()] {
            for headers in [&[][..], &[("X-Retell-Signature", signature.as_str())]] {
                let answer = request(address, "TRACE", path, headers, b"");
                assert_eq!(answer.status, 405, "{path} {headers:?}");
                assert!(answer.header("allow").is_some(), "{path}: {answer:?}");
                assert!(!answer.text().contains("TRACE"), "{path} echoes the request");
            }
        }
    }
}

#[test]
fn a_405_names_the_allowed_methods() {
    let home = TestEnv::new();
    home.write_config("[[functions]]\nname = \"lookup\"\ncommand = [\"/bin/true\"]\nmethods = [\"PUT\", \"POST\"]\n");
    let server = home.start_server();
    let allowed = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let answer = request(server.address(), method, path, headers, b"");
        assert_eq!(answer.status, 405, "{method} {path}");
        answer.header("allow").map(str::to_owned)
    };
    assert_eq!(allowed("PUT", WEBHOOK_PATH, &[]).as_deref(), Some("POST,GET,HEAD"));
    assert_eq!(allowed("PUT", LEGACY_PATH, &[]).as_deref(), Some("POST,GET,HEAD"));
    assert_eq!(allowed("POST", "/ping", &[]).as_deref(), Some("GET,HEAD"));
    assert_eq!(allowed("POST", "/docs", &[]).as_deref(), Some("GET,HEAD"));
    assert_eq!(allowed("OPTIONS", "/api/v1/function/lookup", &[]).as_deref(), Some("GET,HEAD,PUT,POST,PATCH,DELETE"));
    let signed = [("X-Retell-Signature", &*sign(b""))];
    assert_eq!(allowed("DELETE", "/api/v1/function/lookup", &signed).as_deref(), Some("PUT,POST"));
}
