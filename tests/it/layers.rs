//! What is around every webhook: request id, client address, allowlist, access line.

use crate::support::bodies::event;
use crate::support::client::{Answer, Client, WEBHOOK};
use crate::support::home::Home;
use crate::support::server::Server;
use crate::support::signing::sign;

const RETELL: &str = "100.20.5.228";

fn post(server: &Server, body: &[u8], headers: &[(&str, &str)]) -> Answer {
    let signature = sign(body);
    let headers = [&[("x-retell-signature", signature.as_str())], headers].concat();
    Client::connect(server.address()).request("POST", WEBHOOK, &headers, body).expect("an answer")
}

fn source(home: &Home) -> String {
    let newest = home.events(&[])[0]["id"].as_str().unwrap().to_owned();
    home.run_well(&["events", "show", &newest, "--json"]).json()["source"].as_str().unwrap().to_owned()
}

#[test]
fn every_answer_carries_a_request_id() {
    let home = Home::new();
    let server = home.start();
    let body = event("call_ended", "call_1");
    let id = |answer: &Answer| answer.header("x-request-id").expect("a request id").to_owned();
    assert_eq!(id(&post(&server, &body, &[("x-request-id", "trace-7")])), "trace-7");
    let minted = id(&post(&server, &body, &[]));
    assert!(minted.starts_with("req_") && minted != id(&post(&server, &body, &[])), "{minted}");
    assert!(id(&post(&server, &body, &[("x-request-id", "forged\tline")])).starts_with("req_"));
    let refused = Client::connect(server.address()).request("POST", WEBHOOK, &[("x-request-id", "trace-8")], &body);
    let refused = refused.unwrap();
    assert_eq!((refused.status, id(&refused).as_str()), (401, "trace-8"));
    let wrong_method = Client::connect(server.address()).request("GET", WEBHOOK, &[("x-request-id", "trace-9")], b"");
    let wrong_method = wrong_method.unwrap();
    assert_eq!((wrong_method.status, id(&wrong_method).as_str()), (405, "trace-9"));
}

#[test]
fn a_forwarding_header_is_believed_from_a_trusted_proxy_only() {
    let mut home = Home::new();
    let server = home.start();
    let forwarded = [("x-forwarded-for", "198.51.100.1, 203.0.113.7")];
    post(&server, &event("call_ended", "call_1"), &forwarded);
    assert_eq!(source(&home), "127.0.0.1");
    drop(server);
    home.set("RETELL_WEBHOOK__SERVER__TRUSTED_PROXIES", "127.0.0.0/8");
    let server = home.start();
    post(&server, &event("call_ended", "call_2"), &forwarded);
    assert_eq!(source(&home), "203.0.113.7");
    drop(server);
}

#[test]
fn an_allowlist_keeps_strangers_out() {
    let home = Home::new()
        .with("RETELL_WEBHOOK__SECURITY__ALLOWLIST", "retell")
        .with("RETELL_WEBHOOK__SERVER__TRUSTED_PROXIES", "127.0.0.1");
    let mut server = home.start();
    let body = event("call_ended", "call_1");
    let stranger = post(&server, &body, &[("x-forwarded-for", "203.0.113.7")]);
    assert_eq!((stranger.status, stranger.text().as_str()), (403, r#"{"message":"Forbidden"}"#));
    // The client's own invention stands in front of what the proxy wrote.
    assert_eq!(post(&server, &body, &[("x-forwarded-for", &format!("{RETELL}, 203.0.113.7"))]).status, 403);
    assert_eq!(post(&server, &body, &[]).status, 403);
    assert_eq!(post(&server, &body, &[("x-forwarded-for", RETELL)]).status, 200);
    assert_eq!(server.get("/ping").status, 200);
    assert_eq!(server.stop(), Some(0));
    assert!(server.output().contains("\"not_on_allowlist\": 3"), "{}", server.output());
}

#[test]
fn each_webhook_has_a_line_that_says_what_became_of_it() {
    let home = Home::new().with("RETELL_WEBHOOK__LOG__FORMAT", "json");
    let server = home.start();
    let body = event("call_ended", "call_1");
    for id in ["first", "again"] {
        post(&server, &body, &[("x-request-id", id)]);
    }
    assert!(server.prints("\"again\""), "{}", server.output());
    let output = server.output();
    let line = |id: &str| -> serde_json::Value {
        let line = output.lines().find(|line| line.contains(&format!("\"request_id\":\"{id}\""))).expect("a line");
        serde_json::from_str(line).unwrap()
    };
    let first = line("first");
    assert_eq!((&first["message"], &first["outcome"]), (&"webhook".into(), &"stored".into()));
    assert_eq!((&first["event"], &first["call_id"]), (&"call_ended".into(), &"call_1".into()));
    assert_eq!(first["size_bytes"], body.len());
    assert!(first["duration_ms"].is_u64(), "{first}");
    assert_eq!(line("again")["outcome"], "duplicate");
}

#[test]
fn networks_that_are_none_are_refused_by_name() {
    for (name, key) in
        [("SERVER__TRUSTED_PROXIES", "server.trusted_proxies[0]"), ("SECURITY__ALLOWLIST", "security.allowlist[0]")]
    {
        let ran = Home::new().with(&format!("RETELL_WEBHOOK__{name}"), "everybody").start_refused();
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(key), "{ran:?}");
    }
}
