//! Custom functions, as Retell and the one who runs the receiver see them.

mod answers;
mod built_in;
mod exchange;
mod late;
mod once;
mod verb;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::client::{Answer, request};
use crate::support::home::Home;
use crate::support::server::Server;
use crate::support::signing::{OTHER_KEY, now_ms, sign, sign_with};
use crate::support::sink::Sink;

const PATH: &str = "/api/v1/function/weather";

/// A function `weather` at this URL, with more lines for its table.
fn weather(url: &str, more: &str) -> String {
    format!(
        r#"
[[functions]]
name = "weather"
url = "{url}/f"
parameters = {{ type = "object", required = ["city"], properties = {{ city = {{ type = "string" }}, days = {{ type = "integer" }} }}, additionalProperties = false }}
{more}
"#
    )
}

fn start(url: &str, more: &str) -> (Home, Server) {
    let home = Home::new();
    home.configure(&weather(url, more));
    let server = home.start();
    (home, server)
}

/// Both forms' bodies.
fn whole(call_id: &str, args: &Value) -> Vec<u8> {
    json!({"name": "weather", "call": {"call_id": call_id, "access_token": "x"}, "args": args}).to_string().into_bytes()
}

fn call(address: SocketAddr, path: &str, body: &[u8]) -> Answer {
    send(address, "POST", path, &[], body)
}

fn send(address: SocketAddr, method: &str, path: &str, more: &[(&str, &str)], body: &[u8]) -> Answer {
    let signature = sign(body);
    let mut headers = vec![("Content-Type", "application/json"), ("X-Retell-Signature", &signature)];
    headers.extend(more);
    request(address, method, path, &headers, body)
}

fn ledger(home: &Home) -> Vec<Value> {
    home.run_well(&["functions", "calls", "--json"]).json().as_array().unwrap().clone()
}

#[test]
fn both_forms_reach_the_url_and_its_answer_comes_back() {
    let sink = Sink::answering(|_, _| {
        axum::response::Response::builder()
            .header("content-type", "application/json")
            .body(axum::body::Body::from(r#"{"sky":"clear"}"#))
            .unwrap()
    });
    let (home, server) = start(
        &sink.url(),
        "secret = \"whsec_YWJjYWJjYWJjYWJjYWJjYWJjYWJjYWJj\"\nheaders = { authorization = \"Bearer 1\" }",
    );
    let body = whole("call_1", &json!({"city": "Zürich"}));
    let answer = call(server.address(), PATH, &body);
    assert_eq!((answer.status, answer.json()), (200, json!({"sky": "clear"})));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let bare = br#"{"city":"Bern","days":2}"#;
    let answer = send(server.address(), "PUT", PATH, &[("x-call-id", "call_2")], bare);
    assert_eq!(answer.json(), json!({"sky": "clear"}));
    let answer = send(server.address(), "PATCH", &format!("{PATH}/?call_id=call_3"), &[], bare);
    assert_eq!(answer.json(), json!({"sky": "clear"}));

    let got = sink.got();
    assert_eq!((got.len(), &got[0].body[..], &got[1].body[..]), (3, &body[..], &bare[..]));
    let verifier = retell_webhook::Verifier::new(vec![crate::support::signing::key(crate::support::signing::KEY)]);
    assert!(verifier.verify(got[0].header("x-retell-signature"), &body, now_ms()).is_ok(), "signed afresh");
    assert_eq!(got[0].header("authorization"), Some("Bearer 1"));
    assert!(got[0].header("webhook-signature").unwrap().starts_with("v1,"));
    let calls: Vec<_> = got.iter().map(|got| got.header("x-retell-webhook-call-id").unwrap().to_owned()).collect();
    assert_eq!(calls, ["call_1", "call_2", "call_3"]);

    let ledger = ledger(&home);
    assert_eq!(ledger.len(), 3);
    assert_eq!(ledger[2]["invocation"], got[0].header("idempotency-key").unwrap());
    assert_eq!(ledger[2]["answer"], r#"{"sky":"clear"}"#);
    assert_eq!((&ledger[2]["state"], &ledger[2]["arguments"]), (&json!("done"), &json!(r#"{"city":"Zürich"}"#)));
    assert!(home.export().is_empty(), "function calls are no events");
    let metrics = server.get("/metrics").text();
    assert!(
        metrics.contains(r#"retell_webhook_function_requests_total{function="weather",outcome="answered"} 3"#),
        "{metrics}"
    );
    assert!(metrics.contains("retell_webhook_function_duration_seconds_count 3"));
    let output = server.output();
    assert!(output.contains("custom_function") && !output.contains("Zürich") && !output.contains("Bern"), "{output}");
}

#[test]
fn the_query_goes_along_and_headers_do_not() {
    let sink = Sink::answering(|before, _| axum::response::Response::new(before.to_string().into()));
    let home = Home::new();
    let table = |name: &str, path: &str| format!("[[functions]]\nname = \"{name}\"\nurl = \"{}{path}\"\n", sink.url());
    home.configure(&[table("plain", "/f"), table("own", "/f?token=a")].concat());
    let server = home.start();
    let at = now_ms();
    let ask = |path: &str| {
        let body = b"{\"city\":\"Bern\"}";
        let signature = sign_with(crate::support::signing::KEY, body, at);
        let headers = [("X-Retell-Signature", &*signature), ("X-Tenant", "7"), ("Authorization", "Bearer 1")];
        request(server.address(), "POST", &format!("/api/v1/function/{path}"), &headers, body).text()
    };
    assert_eq!([ask("plain?tenant=7&call_id=c1"), ask("plain?tenant=8&call_id=c1")], ["0", "1"], "two invocations");
    assert_eq!(ask("plain?call_id=c1&tenant=7"), "0", "in any order");
    let signature = sign_with(crate::support::signing::KEY, b"{}", at);
    let path = "/api/v1/function/own?q=a%26b";
    request(server.address(), "POST", path, &[("X-Retell-Signature", &*signature)], b"{}");
    let got = sink.got();
    let paths: Vec<_> = got.iter().map(|got| got.path.as_str()).collect();
    assert_eq!(paths, ["/f?tenant=7&call_id=c1", "/f?tenant=8&call_id=c1", "/f?token=a&q=a%26b"]);
    assert!(got.iter().all(|got| got.header("x-tenant").is_none() && got.header("authorization").is_none()));
    assert!(!server.output().contains("tenant="), "{}", server.output());
}

#[test]
fn methods_are_those_listed() {
    let sink = Sink::start();
    let (_home, server) = start(&sink.url(), "");
    for method in ["GET", "DELETE"] {
        let answer = send(server.address(), method, &format!("{PATH}?city=Bern"), &[], b"");
        assert_eq!(answer.status, 405, "{method}");
    }
    let (_home, server) = start(&sink.url(), "methods = [\"GET\"]");
    let answer = send(server.address(), "GET", &format!("{PATH}?city=Bern&days=2&call_id=c1"), &[], b"");
    assert_eq!((answer.status, answer.text()), (200, "said".to_owned()));
    assert_eq!(sink.got()[0].json(), json!({"name": "weather", "args": {"city": "Bern", "days": 2}}));
    assert_eq!(call(server.address(), PATH, b"{}").status, 405);
}

#[test]
fn who_is_no_retell_learns_nothing() {
    let sink = Sink::start();
    let (_home, server) = start(&sink.url(), "");
    let body = whole("call_1", &json!({"city": "Bern"}));
    for (path, signature) in [
        (PATH, String::new()),
        ("/api/v1/function/other", String::new()),
        (PATH, sign_with(OTHER_KEY, &body, now_ms())),
        (PATH, sign_with(crate::support::signing::KEY, &body, now_ms() - 600_000)),
    ] {
        let answer = crate::support::client::post_to(server.address(), path, &body, &signature);
        assert_eq!((answer.status, answer.json()), (401, json!({"message": "Unauthorized"})));
    }
    assert!(sink.got().is_empty());
    let unknown = call(server.address(), "/api/v1/function/other", &body);
    assert_eq!((unknown.status, &unknown.json()["error"]), (404, &json!("unknown_function")));
}

#[test]
fn what_is_wrong_is_said_in_words_and_kept() {
    let sink = Sink::start();
    let (home, server) = start(&sink.url(), "");
    let said = |body: &[u8]| {
        let answer = call(server.address(), PATH, body);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        (answer.json()["error"].as_str().unwrap().to_owned(), answer.json()["message"].as_str().unwrap().to_owned())
    };
    let (error, message) = said(&whole("call_1", &json!({"days": "two", "town": "Bern"})));
    assert_eq!(error, "invalid_arguments");
    for part in ["`city` is missing", "`days` must be a whole number, not text", "`town` is no argument"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(said(b"{").1.contains("not valid JSON"));
    assert!(said(b"[]").1.contains("no JSON object"));
    let other = json!({"name": "cancel", "call": {"call_id": "c"}, "args": {"city": "Bern"}}).to_string();
    assert_eq!(said(other.as_bytes()).0, "wrong_function");
    assert!(sink.got().is_empty());
    let ledger = ledger(&home);
    assert_eq!(ledger.len(), 4);
    assert!(ledger.iter().all(|row| row["state"] == "invalid" && row["answer"].as_str().unwrap().contains("message")));
}

#[test]
fn companies_have_functions_of_their_own() {
    let sink = Sink::start();
    let home = Home::new();
    let own = weather(&sink.url(), "companies = [\"acme\"]");
    home.configure(&format!(
        "[[companies]]\nslug = \"acme\"\nkeys = [\"{OTHER_KEY}\"]\n{own}\n[[functions]]\nname = \"all\"\nurl = \"{}\"",
        sink.url()
    ));
    let server = home.start();
    let body = whole("call_1", &json!({"city": "Bern"}));
    assert_eq!(call(server.address(), PATH, &body).status, 404, "the plain route's company has it not");
    let acme = |path: &str, key: &str, body: &[u8]| {
        crate::support::client::post_to(server.address(), path, body, &sign_with(key, body, now_ms())).status
    };
    assert_eq!(acme("/api/v1/function/acme/weather", OTHER_KEY, &body), 200);
    assert_eq!(acme("/api/v1/function/acme/weather", crate::support::signing::KEY, &body), 401);
    assert_eq!(acme("/api/v1/function/nobody/weather", OTHER_KEY, &body), 404);
    assert_eq!(acme("/api/v1/function/acme/all", OTHER_KEY, b"{\"a\":1}"), 200);
    assert_eq!(sink.got()[0].header("x-retell-webhook-company"), Some("acme"));
    assert_eq!(call(server.address(), "/api/v1/function/all", b"{\"a\":2}").status, 200);
}

#[test]
fn the_guides_address_takes_calls_and_events() {
    const GUIDE: &str = "/api/mcp/retell/custom-function";
    let sink = Sink::start();
    let (home, server) = start(&sink.url(), "");
    let answer = call(server.address(), GUIDE, &whole("call_1", &json!({"city": "Bern"})));
    assert_eq!((answer.status, answer.text()), (200, "said".to_owned()));
    let unknown = json!({"name": "other", "call": {"call_id": "c"}, "args": {}}).to_string();
    assert_eq!(call(server.address(), GUIDE, unknown.as_bytes()).status, 404);
    assert_eq!(call(server.address(), GUIDE, &crate::support::bodies::event("call_started", "call_1")).status, 200);
    assert_eq!(home.export().len(), 1, "the event alone");
}

#[test]
fn a_reload_exchanges_functions() {
    let (sink, other) = (Sink::start(), Sink::start());
    let (home, server) = start(&sink.url(), "");
    assert_eq!(call(server.address(), PATH, &whole("call_1", &json!({"city": "Bern"}))).status, 200);
    home.configure(&weather(&other.url(), ""));
    server.signal("-HUP");
    let reached = crate::support::wait_until(std::time::Duration::from_secs(10), || {
        call(server.address(), PATH, &whole(&format!("call_{}", now_ms()), &json!({"city": "Bern"})));
        !other.got().is_empty()
    });
    assert!(reached, "{}", server.output());
}

#[test]
fn tables_that_cannot_be_had_are_refused_at_start() {
    let table = |more: &str| format!("[[functions]]\nname = \"weather\"\n{more}\n");
    for (text, said) in [
        (table(""), "url"),
        (table("url = \"https://example.com\"\nparameters = { minimum = \"7\" }"), "no JSON Schema"),
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
        let home = Home::new();
        home.configure(&text);
        let refused = home.start_refused();
        assert!(refused.code == Some(1) && refused.stderr.contains(said), "{text}: {refused:?}");
    }
    let home = Home::new().with("RETELL_WEBHOOK__FUNCTIONS[0]__COMMAND[0]", "sh");
    assert_eq!(home.start_refused().code, Some(1));
}
