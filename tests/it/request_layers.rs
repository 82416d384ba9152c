//! The layers around every webhook: request id, client address, allowlist, access log.

use std::time::Duration;

use serde_json::json;

use crate::support::bodies::event_body;
use crate::support::client::{HttpResponse, RawClient, WEBHOOK_PATH};
use crate::support::server::ReceiverProcess;
use crate::support::signing::sign;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const RETELL_ADDRESS: &str = "100.20.5.228";

fn post_signed_with_headers(server: &ReceiverProcess, body: &[u8], headers: &[(&str, &str)]) -> HttpResponse {
    let signature = sign(body);
    let headers = [&[("x-retell-signature", signature.as_str())], headers].concat();
    RawClient::connect(server.address()).request("POST", WEBHOOK_PATH, &headers, body).expect("a response")
}

fn latest_source_address(home: &TestEnv) -> String {
    let newest = home.list_events(&[])[0]["id"].as_str().unwrap().to_owned();
    home.run_ok(&["events", "show", &newest, "--json"]).json()["source"].as_str().unwrap().to_owned()
}

#[test]
fn every_response_has_a_request_id() {
    let home = TestEnv::new();
    let server = home.start_server();
    let body = event_body("call_ended", "call_1");
    let id = |response: &HttpResponse| response.header("x-request-id").expect("a request id").to_owned();
    assert_eq!(id(&post_signed_with_headers(&server, &body, &[("x-request-id", "trace-7")])), "trace-7");
    let generated = id(&post_signed_with_headers(&server, &body, &[]));
    assert!(generated.starts_with("req_"), "{generated}");
    assert_ne!(generated, id(&post_signed_with_headers(&server, &body, &[])));
    assert!(id(&post_signed_with_headers(&server, &body, &[("x-request-id", "forged\tline")])).starts_with("req_"));
    let rejected =
        RawClient::connect(server.address()).request("POST", WEBHOOK_PATH, &[("x-request-id", "trace-8")], &body);
    let rejected = rejected.unwrap();
    assert_eq!((rejected.status, id(&rejected).as_str()), (401, "trace-8"));
    let wrong_method =
        RawClient::connect(server.address()).request("PUT", WEBHOOK_PATH, &[("x-request-id", "trace-9")], b"");
    let wrong_method = wrong_method.unwrap();
    assert_eq!((wrong_method.status, id(&wrong_method).as_str()), (405, "trace-9"));
}

#[test]
fn a_forwarding_header_is_used_from_a_trusted_proxy_only() {
    let mut home = TestEnv::new();
    let server = home.start_server();
    let forwarded = [("x-forwarded-for", "198.51.100.1, 203.0.113.7")];
    post_signed_with_headers(&server, &event_body("call_ended", "call_1"), &forwarded);
    assert_eq!(latest_source_address(&home), "127.0.0.1");
    drop(server);
    home.set_env("RETELL_WEBHOOK__SERVER__TRUSTED_PROXIES", "127.0.0.0/8");
    let server = home.start_server();
    post_signed_with_headers(&server, &event_body("call_ended", "call_2"), &forwarded);
    assert_eq!(latest_source_address(&home), "203.0.113.7");
    drop(server);
}

#[test]
fn addresses_outside_the_allowlist_are_answered_403() {
    let home = TestEnv::new()
        .with_env("RETELL_WEBHOOK__SECURITY__ALLOWLIST", "retell")
        .with_env("RETELL_WEBHOOK__SERVER__TRUSTED_PROXIES", "127.0.0.1");
    let mut server = home.start_server();
    let body = event_body("call_ended", "call_1");
    let rejected = post_signed_with_headers(&server, &body, &[("x-forwarded-for", "203.0.113.7")]);
    assert_eq!((rejected.status, rejected.text().as_str()), (403, r#"{"message":"Forbidden"}"#));
    // An address that the client invents stands in front of the one that the proxy appends.
    assert_eq!(
        post_signed_with_headers(&server, &body, &[("x-forwarded-for", &format!("{RETELL_ADDRESS}, 203.0.113.7"))])
            .status,
        403
    );
    assert_eq!(post_signed_with_headers(&server, &body, &[]).status, 403);
    assert_eq!(post_signed_with_headers(&server, &body, &[("x-forwarded-for", RETELL_ADDRESS)]).status, 200);
    assert_eq!(server.get("/ping").status, 200);
    let list = || home.run_ok(&["rejected", "list", "--json"]).json().as_array().unwrap().clone();
    assert!(wait_until(Duration::from_secs(10), || list().len() == 3), "{:?}", list());
    let rows = list();
    assert!(rows.iter().all(|row| row["reason"] == "not_on_allowlist"), "{rows:?}");
    let (direct, forwarded) = (&rows[0], &rows[2]);
    assert_eq!((&direct["source"], &forwarded["source"]), (&json!("127.0.0.1"), &json!("203.0.113.7")));
    let diagnosis = forwarded["diagnosis"].as_str().unwrap();
    assert!(
        diagnosis.starts_with("203.0.113.7 is not on security.allowlist (forwarded by the trusted proxy 127.0.0.1)"),
        "{diagnosis}"
    );
    assert!(direct["diagnosis"].as_str().unwrap().contains("add it to server.trusted_proxies"), "{direct}");
    assert!(home.run_ok(&["rejected", "list"]).stdout.contains("203.0.113.7 is not on security.allowlist"));
    assert_eq!(server.stop(), Some(0));
    let output = server.output();
    assert!(output.contains("\"not_on_allowlist\": 3"), "{output}");
    let refused = output.lines().find(|line| line.contains("webhook request refused")).unwrap();
    assert!(refused.contains("client_ip=203.0.113.7 proxy=127.0.0.1 status=403"), "{refused}");
}

#[test]
fn the_access_log_has_one_line_per_webhook_with_its_outcome() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__FORMAT", "json");
    let server = home.start_server();
    let body = event_body("call_ended", "call_1");
    for id in ["first", "again"] {
        post_signed_with_headers(&server, &body, &[("x-request-id", id)]);
    }
    assert!(server.wait_for_output("\"again\""), "{}", server.output());
    let output = server.output();
    let line = |id: &str| -> serde_json::Value {
        let line = output.lines().find(|line| line.contains(&format!("\"request_id\":\"{id}\""))).expect("a line");
        serde_json::from_str(line).unwrap()
    };
    let first = line("first");
    assert_eq!((&first["message"], &first["outcome"]), (&"webhook request completed".into(), &"stored".into()));
    assert_eq!((&first["event"], &first["call_id"]), (&"call_ended".into(), &"call_1".into()));
    assert_eq!(first["size_bytes"], body.len());
    assert!(first["duration_ms"].is_u64(), "{first}");
    assert_eq!(line("again")["outcome"], "duplicate");
}

#[test]
fn an_invalid_network_in_the_settings_is_reported_with_its_key() {
    for (name, key) in
        [("SERVER__TRUSTED_PROXIES", "server.trusted_proxies: "), ("SECURITY__ALLOWLIST", "security.allowlist: ")]
    {
        let ran = TestEnv::new().with_env(&format!("RETELL_WEBHOOK__{name}"), "10.0.0.1, all").start_expecting_exit();
        assert_eq!(ran.exit_code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(&format!("{key}entry 2 of the list is invalid; expected")), "{ran:?}");
    }
}
