//! Custom functions, as Retell and the operator of the receiver see them.

mod built_in;
mod commands;
mod idempotency;
mod import;
mod labels;
mod ledger_damage;
mod responses;
mod timeouts;
mod unreadable_parts;
mod wrong_address;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::client::{HttpResponse, request};
use crate::support::destination::DestinationServer;
use crate::support::server::ReceiverProcess;
use crate::support::signing::{OTHER_KEY, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;

const WEATHER_PATH: &str = "/api/v1/function/weather";

/// The table of a function `weather` at `url`, with further lines.
fn weather_function_config(url: &str, more_lines: &str) -> String {
    format!(
        r#"
[[functions]]
name = "weather"
url = "{url}/f"
parameters = {{ type = "object", required = ["city"], properties = {{ city = {{ type = "string" }}, days = {{ type = "integer" }} }}, additionalProperties = false }}
{more_lines}
"#
    )
}

fn start_with_weather_function(url: &str, more_lines: &str) -> (TestEnv, ReceiverProcess) {
    let home = TestEnv::new();
    home.write_config(&weather_function_config(url, more_lines));
    let server = home.start_server();
    (home, server)
}

/// The envelope that Retell sends.
fn function_request_body(call_id: &str, args: &Value) -> Vec<u8> {
    json!({"name": "weather", "call": {"call_id": call_id, "access_token": "x"}, "args": args}).to_string().into_bytes()
}

fn post_function_request(address: SocketAddr, path: &str, body: &[u8]) -> HttpResponse {
    send_function_request(address, "POST", path, &[], body)
}

fn send_function_request(
    address: SocketAddr,
    method: &str,
    path: &str,
    extra_headers: &[(&str, &str)],
    body: &[u8],
) -> HttpResponse {
    let signature = sign(body);
    let mut headers = vec![("Content-Type", "application/json"), ("X-Retell-Signature", &signature)];
    headers.extend(extra_headers);
    request(address, method, path, &headers, body)
}

fn list_invocations(home: &TestEnv) -> Vec<Value> {
    home.run_ok(&["functions", "calls", "--json"]).json().as_array().unwrap().clone()
}

#[test]
fn the_envelope_and_bare_arguments_reach_the_url() {
    let sink = DestinationServer::start_with(|_, _| {
        axum::response::Response::builder()
            .header("content-type", "application/json")
            .body(axum::body::Body::from(r#"{"sky":"clear"}"#))
            .unwrap()
    });
    let (home, server) = start_with_weather_function(
        &sink.url(),
        "secret = \"whsec_YWJjYWJjYWJjYWJjYWJjYWJjYWJjYWJj\"\nheaders = { authorization = \"Bearer 1\" }",
    );
    let body = function_request_body("call_1", &json!({"city": "Zürich"}));
    let answer = post_function_request(server.address(), WEATHER_PATH, &body);
    assert_eq!((answer.status, answer.json()), (200, json!({"sky": "clear"})));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let bare = br#"{"city":"Bern","days":2}"#;
    let answer = send_function_request(server.address(), "PUT", WEATHER_PATH, &[("x-call-id", "call_2")], bare);
    assert_eq!(answer.json(), json!({"sky": "clear"}));
    let answer =
        send_function_request(server.address(), "PATCH", &format!("{WEATHER_PATH}/?call_id=call_3"), &[], bare);
    assert_eq!(answer.json(), json!({"sky": "clear"}));

    let got = sink.received();
    assert_eq!((got.len(), &got[0].body[..], &got[1].body[..]), (3, &body[..], &bare[..]));
    let verifier = retell_webhook::Verifier::new(vec![crate::support::signing::api_key(crate::support::signing::KEY)]);
    assert!(verifier.verify(got[0].header("x-retell-signature"), &body, now_ms()).is_ok(), "has a new signature");
    assert_eq!(got[0].header("authorization"), Some("Bearer 1"));
    assert!(got[0].header("webhook-signature").unwrap().starts_with("v1,"));
    let calls: Vec<_> = got.iter().map(|got| got.header("x-retell-webhook-call-id").unwrap().to_owned()).collect();
    assert_eq!(calls, ["call_1", "call_2", "call_3"]);

    let ledger = list_invocations(&home);
    assert_eq!(ledger.len(), 3);
    assert_eq!(ledger[2]["invocation"], got[0].header("idempotency-key").unwrap());
    assert_eq!(ledger[2]["answer"], r#"{"sky":"clear"}"#);
    assert_eq!((&ledger[2]["state"], &ledger[2]["arguments"]), (&json!("done"), &json!(r#"{"city":"Zürich"}"#)));
    assert!(home.export_events().is_empty(), "function requests are not events");
    let metrics = server.metrics().text();
    assert!(
        metrics.contains(r#"retell_webhook_function_requests_total{function="weather",outcome="answered"} 3"#),
        "{metrics}"
    );
    assert!(metrics.contains("retell_webhook_function_request_duration_seconds_count 3"));
    let output = server.output();
    assert!(output.contains("custom_function") && !output.contains("Zürich") && !output.contains("Bern"), "{output}");
}

#[test]
fn the_query_is_passed_on_and_headers_are_not() {
    let sink = DestinationServer::start_with(|before, _| axum::response::Response::new(before.to_string().into()));
    let home = TestEnv::new();
    let table = |name: &str, path: &str| format!("[[functions]]\nname = \"{name}\"\nurl = \"{}{path}\"\n", sink.url());
    home.write_config(&[table("plain", "/f"), table("own", "/f?token=a")].concat());
    let server = home.start_server();
    let at = now_ms();
    let ask = |path: &str| {
        let body = b"{\"city\":\"Bern\"}";
        let signature = sign_with(crate::support::signing::KEY, body, at);
        let headers = [("X-Retell-Signature", &*signature), ("X-Tenant", "7"), ("Authorization", "Bearer 1")];
        request(server.address(), "POST", &format!("/api/v1/function/{path}"), &headers, body).text()
    };
    assert_eq!(
        [ask("plain?tenant=7&call_id=c1"), ask("plain?tenant=8&call_id=c1")],
        ["0", "1"],
        "another query is another invocation"
    );
    assert_eq!(ask("plain?call_id=c1&tenant=7"), "0", "the order of the query does not matter");
    let signature = sign_with(crate::support::signing::KEY, b"{}", at);
    let path = "/api/v1/function/own?q=a%26b";
    request(server.address(), "POST", path, &[("X-Retell-Signature", &*signature)], b"{}");
    let got = sink.received();
    let paths: Vec<_> = got.iter().map(|got| got.path.as_str()).collect();
    assert_eq!(paths, ["/f?tenant=7&call_id=c1", "/f?tenant=8&call_id=c1", "/f?token=a&q=a%26b"]);
    assert!(got.iter().all(|got| got.header("x-tenant").is_none() && got.header("authorization").is_none()));
    assert!(!server.output().contains("tenant="), "{}", server.output());
}

#[test]
fn only_listed_methods_are_answered() {
    let sink = DestinationServer::start();
    let (_home, server) = start_with_weather_function(&sink.url(), "");
    for method in ["GET", "DELETE"] {
        let answer = send_function_request(server.address(), method, &format!("{WEATHER_PATH}?city=Bern"), &[], b"");
        assert_eq!(answer.status, 405, "{method}");
    }
    let (_home, server) = start_with_weather_function(&sink.url(), "methods = [\"GET\"]");
    let answer = send_function_request(
        server.address(),
        "GET",
        &format!("{WEATHER_PATH}?city=Bern&days=2&call_id=c1"),
        &[],
        b"",
    );
    assert_eq!((answer.status, answer.text()), (200, "said".to_owned()));
    assert_eq!(sink.received()[0].json(), json!({"name": "weather", "args": {"city": "Bern", "days": 2}}));
    assert_eq!(post_function_request(server.address(), WEATHER_PATH, b"{}").status, 405);
}

#[test]
fn an_unsigned_request_does_not_learn_which_functions_exist() {
    let sink = DestinationServer::start();
    let (_home, server) = start_with_weather_function(&sink.url(), "");
    let body = function_request_body("call_1", &json!({"city": "Bern"}));
    for (path, signature) in [
        (WEATHER_PATH, String::new()),
        ("/api/v1/function/other", String::new()),
        (WEATHER_PATH, sign_with(OTHER_KEY, &body, now_ms())),
        (WEATHER_PATH, sign_with(crate::support::signing::KEY, &body, now_ms() - 600_000)),
    ] {
        let answer = crate::support::client::post_to(server.address(), path, &body, &signature);
        assert_eq!((answer.status, answer.json()), (401, json!({"message": "Unauthorized"})));
    }
    assert!(sink.received().is_empty());
    let unknown = post_function_request(server.address(), "/api/v1/function/other", &body);
    assert_eq!((unknown.status, &unknown.json()["error"]), (404, &json!("unknown_function")));
}

#[test]
fn invalid_requests_are_explained_and_recorded() {
    let sink = DestinationServer::start();
    let (home, server) = start_with_weather_function(&sink.url(), "");
    let error_and_message = |body: &[u8]| {
        let answer = post_function_request(server.address(), WEATHER_PATH, body);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        (answer.json()["error"].as_str().unwrap().to_owned(), answer.json()["message"].as_str().unwrap().to_owned())
    };
    let (error, message) = error_and_message(&function_request_body("call_1", &json!({"days": "two", "town": "Bern"})));
    assert_eq!(error, "invalid_arguments");
    for part in ["`city` is missing", "`days` must be a whole number, not text", "`town` is not an argument"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(error_and_message(b"{").1.contains("not valid JSON"));
    assert!(error_and_message(b"[]").1.contains("not a JSON object"));
    let other = json!({"name": "cancel", "call": {"call_id": "c"}, "args": {"city": "Bern"}}).to_string();
    assert_eq!(error_and_message(other.as_bytes()).0, "wrong_function");
    assert!(sink.received().is_empty());
    let ledger = list_invocations(&home);
    assert_eq!(ledger.len(), 4);
    assert!(
        ledger
            .iter()
            .all(|row| row["state"] == "invalid_arguments" && row["answer"].as_str().unwrap().contains("message"))
    );
}

#[test]
fn a_function_can_belong_to_some_companies() {
    let sink = DestinationServer::start();
    let home = TestEnv::new();
    let own = weather_function_config(&sink.url(), "companies = [\"acme\"]");
    home.write_config(&format!(
        "[[companies]]\nslug = \"acme\"\nkeys = [\"{OTHER_KEY}\"]\n{own}\n[[functions]]\nname = \"all\"\nurl = \"{}\"",
        sink.url()
    ));
    let server = home.start_server();
    let body = function_request_body("call_1", &json!({"city": "Bern"}));
    assert_eq!(
        post_function_request(server.address(), WEATHER_PATH, &body).status,
        404,
        "the default company does not have the function"
    );
    let acme = |path: &str, key: &str, body: &[u8]| {
        crate::support::client::post_to(server.address(), path, body, &sign_with(key, body, now_ms())).status
    };
    assert_eq!(acme("/api/v1/function/acme/weather", OTHER_KEY, &body), 200);
    assert_eq!(acme("/api/v1/function/acme/weather", crate::support::signing::KEY, &body), 401);
    assert_eq!(acme("/api/v1/function/unknown/weather", OTHER_KEY, &body), 404);
    assert_eq!(acme("/api/v1/function/acme/all", OTHER_KEY, b"{\"a\":1}"), 200);
    assert_eq!(sink.received()[0].header("x-retell-webhook-company"), Some("acme"));
    assert_eq!(post_function_request(server.address(), "/api/v1/function/all", b"{\"a\":2}").status, 200);
}

#[test]
fn the_legacy_route_takes_functions_and_events() {
    const LEGACY_PATH: &str = "/api/mcp/retell/custom-function";
    let sink = DestinationServer::start();
    let (home, server) = start_with_weather_function(&sink.url(), "");
    let answer = post_function_request(
        server.address(),
        LEGACY_PATH,
        &function_request_body("call_1", &json!({"city": "Bern"})),
    );
    assert_eq!((answer.status, answer.text()), (200, "said".to_owned()));
    let unknown = json!({"name": "other", "call": {"call_id": "c"}, "args": {}}).to_string();
    assert_eq!(post_function_request(server.address(), LEGACY_PATH, unknown.as_bytes()).status, 404);
    assert_eq!(
        post_function_request(
            server.address(),
            LEGACY_PATH,
            &crate::support::bodies::event_body("call_started", "call_1")
        )
        .status,
        200
    );
    assert_eq!(home.export_events().len(), 1, "only the event is stored");
}

#[test]
fn a_reload_replaces_functions() {
    let sink = DestinationServer::start();
    let other = DestinationServer::start();
    let (home, server) = start_with_weather_function(&sink.url(), "");
    assert_eq!(
        post_function_request(
            server.address(),
            WEATHER_PATH,
            &function_request_body("call_1", &json!({"city": "Bern"}))
        )
        .status,
        200
    );
    home.write_config(&weather_function_config(&other.url(), ""));
    server.send_signal("-HUP");
    let reached = crate::support::wait_until(std::time::Duration::from_secs(10), || {
        post_function_request(
            server.address(),
            WEATHER_PATH,
            &function_request_body(&format!("call_{}", now_ms()), &json!({"city": "Bern"})),
        );
        !other.received().is_empty()
    });
    assert!(reached, "{}", server.output());
}

#[test]
fn invalid_tables_stop_the_start() {
    let table = |more: &str| format!("[[functions]]\nname = \"weather\"\n{more}\n");
    for (text, expected) in [
        (table(""), "url"),
        (table("url = \"https://example.com\"\nparameters = { minimum = \"7\" }"), "not a JSON Schema"),
        (
            table(
                "url = \"https://example.com\"\nparameters = { properties = { a = { \"$ref\" = \"https://example.com/s\" } } }",
            ),
            "leads outside",
        ),
        (table("url = \"https://example.com\"\nparameters_file = \"none.json\""), "none.json"),
        (table("url = \"http://169.254.169.254/\""), "url"),
        (table("url = \"https://example.com\"\ntimeout = 1"), "functions.timeout_ms"),
        (table("builtin = \"nothing\""), "builtin"),
        (table("builtin = \"nothing\"\nmethods = [\"GET\"]"), "methods"),
        (table("command = [\"/no/such/program\"]"), "command"),
    ] {
        let home = TestEnv::new();
        home.write_config(&text);
        let exited = home.start_expecting_exit();
        assert!(exited.exit_code == Some(1) && exited.stderr.contains(expected), "{text}: {exited:?}");
    }
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__FUNCTIONS[0]__COMMAND[0]", "sh");
    assert_eq!(home.start_expecting_exit().exit_code, Some(1));
}
