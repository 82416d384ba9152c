//! Access to `/metrics` and to the results of the health checks.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::bodies::event_body;
use crate::support::client::{HttpResponse, RawClient, get, request};
use crate::support::signing::KEY;
use crate::support::test_env::TestEnv;

const TOKEN: &str = "4f9c2d1e8b7a60534f9c2d1e8b7a6053";

/// The status of `/metrics`, and whether `/health/ready` shows its checks, for a request with these headers.
fn metrics_and_health_access(address: SocketAddr, headers: &[(&str, &str)]) -> (u16, bool) {
    let metrics = request(address, "GET", "/metrics", headers, b"");
    if metrics.status == 404 {
        assert_eq!(metrics.json(), json!({ "message": "Not Found" }), "the same as for any unknown path");
    }
    let ready = request(address, "GET", "/health/ready", headers, b"");
    assert_eq!(ready.status, 200);
    (metrics.status, ready.json().get("checks").is_some())
}

/// Requests that reach the main address from this machine although they were made elsewhere, or pretend to be local.
const FORGERIES: [&str; 12] = [
    // A bare `proxy_pass` and a raw TCP tunnel change nothing, so such a request is like a local one.
    "Host: localhost\r\n",
    "Host: 127.0.0.1:8000\r\n",
    "Host: localhost\r\nHost: example.com\r\n",
    "Host: example.com\r\nHost: localhost\r\n",
    "Host: localhost\r\nCF-Connecting-IP: 192.0.2.1\r\nCF-Ray: 1\r\n",
    "Host: localhost\r\nX-Forwarded-Proto: https\r\n",
    "Host: localhost\r\nCDN-Loop: cloudflare\r\n",
    "Host: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n",
    "Host: localhost\r\nX-Real-IP: 127.0.0.1\r\n",
    "Host: [::1]\r\nForwarded: for=127.0.0.1\r\n",
    "Host: localhost\r\nAuthorization: Bearer\r\n",
    "Host: localhost\r\nAuthorization: Bearer null\r\n",
];

fn send_raw(address: SocketAddr, target: &str, headers: &str) -> Option<HttpResponse> {
    let mut client = RawClient::connect(address);
    client.send(format!("GET {target} HTTP/1.1\r\n{headers}\r\n").as_bytes()).unwrap();
    client.read_response()
}

fn assert_nothing_is_exposed(address: SocketAddr) {
    for headers in FORGERIES {
        for authority in ["", "http://localhost", "http://example.com", "http://127.0.0.1:8001"] {
            let metrics = send_raw(address, &format!("{authority}/metrics"), headers);
            assert!(metrics.is_none_or(|response| matches!(response.status, 400 | 404)), "{authority} {headers}");
            if let Some(ready) = send_raw(address, &format!("{authority}/health/ready"), headers) {
                assert!(ready.status == 400 || ready.json() == json!({ "status": "ok" }), "{authority} {headers}");
            }
        }
    }
}

#[test]
fn the_main_address_serves_operators_with_the_token_only() {
    let mut home = TestEnv::new();
    let server = home.start_server();
    assert_nothing_is_exposed(server.address());
    assert_eq!(request(server.address(), "POST", "/metrics", &[], b"").status, 404);
    drop(server);

    home.set_env("RETELL_WEBHOOK__OPS__TOKEN", TOKEN);
    let server = home.start_server();
    let address = server.address();
    assert_nothing_is_exposed(address);
    let bearer = format!("Bearer {TOKEN}");
    let authorization = [("Authorization", bearer.as_str())];
    assert_eq!(metrics_and_health_access(address, &authorization), (200, true));
    let tunnel = [("Host", "example.ngrok.app"), ("Authorization", &bearer)];
    assert_eq!(metrics_and_health_access(address, &tunnel), (200, true));
    let wrong = [("Authorization", &bearer[..bearer.len() - 1])];
    assert_eq!(metrics_and_health_access(address, &wrong), (404, false));
    let response = request(address, "POST", "/metrics", &[], b"");
    assert_eq!(response.status, 404, "the method does not reveal that the route exists");
    assert_eq!(request(address, "POST", "/metrics", &authorization, b"").status, 405);
    assert!(!server.output().contains(TOKEN));
}

#[test]
fn the_operator_listener_serves_this_machine_and_stops_with_the_receiver() {
    let home = TestEnv::new();
    let mut server = home.start_server();
    let ops = server.ops_address();
    assert!(ops.ip().is_loopback() && ops != server.address());
    assert_eq!(metrics_and_health_access(ops, &[]), (200, true));
    assert_eq!(metrics_and_health_access(ops, &[("Host", "example.com")]), (200, true), "only this machine reaches it");
    assert_eq!(get(ops, "/ping").status, 200);
    assert_eq!(get(ops, "/api/v1/webhook/retell/test").status, 404);
    // A stop waits for requests in progress, but not for idle connections.
    let _idle = RawClient::connect(ops);
    assert_eq!(server.stop(), Some(0));
    assert!(RawClient::try_connect(ops).is_err());
}

#[test]
fn a_second_receiver_on_the_machine_starts_without_the_operator_listener() {
    let first = TestEnv::new();
    let first_server = first.start_server();
    let ops = first_server.ops_address();
    for format in ["human", "json"] {
        let mut second = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__FORMAT", format);
        second.set_env("RETELL_WEBHOOK__OPS__LISTEN", &ops.to_string());
        let mut server = second.start_server();
        assert!(server.wait_for_output("operator listener unavailable"), "{}", server.output());
        assert!(server.output().contains("set ops.listen to a free address"), "{}", server.output());
        assert_eq!(server.post_signed(&event_body("call_ended", "call_1")).status, 200);
        second.set_env("RETELL_WEBHOOK__SERVER__PORT", &server.address().port().to_string());
        // The other receiver's details are not shown as those of this one.
        let status = second.run_ok(&["status", "--json"]).json();
        assert_eq!(status["receiver"]["response"], json!({ "status": "ok" }));
        let doctor = second.run(&["doctor", "--json"]).json();
        let finding = doctor.as_array().unwrap().iter().find(|finding| finding["check"] == "ops.listen").unwrap();
        assert_eq!(finding["level"], "warning", "{finding}");
        assert_eq!(server.stop(), Some(0));
    }
    assert_eq!(metrics_and_health_access(ops, &[]), (200, true));
}

#[test]
fn the_operator_listener_can_be_turned_off_and_the_token_shows_status_its_checks() {
    let mut home = TestEnv::new().with_env("RETELL_WEBHOOK__OPS__LISTEN", "off");
    let server = home.start_server();
    assert!(server.output().contains("ops.listen = \"off\""), "{}", server.output());
    drop(server);
    home.set_env("RETELL_WEBHOOK__OPS__TOKEN", TOKEN);
    let server = home.start_server();
    home.set_env("RETELL_WEBHOOK__SERVER__PORT", &server.address().port().to_string());
    let status = home.run_ok(&["status", "--json"]).json();
    assert_eq!(status["receiver"]["response"]["checks"]["storage"], "ok");
}

#[test]
fn a_listener_that_other_machines_can_reach_needs_the_token() {
    let mut home = TestEnv::new().with_env("RETELL_WEBHOOK__OPS__LISTEN", "0.0.0.0:0");
    let ran = home.start_expecting_exit();
    assert_eq!(ran.exit_code, Some(1));
    assert!(ran.stderr.contains("ops.listen") && ran.stderr.contains("ops.token"), "{ran:?}");
    home.set_env("RETELL_WEBHOOK__OPS__TOKEN", TOKEN);
    let server = home.start_server();
    let ops = SocketAddr::from(([127, 0, 0, 1], server.ops_address().port()));
    assert_eq!(metrics_and_health_access(ops, &[]), (404, false), "also from loopback");
    assert_eq!(metrics_and_health_access(ops, &[("Authorization", &format!("Bearer {TOKEN}"))]), (200, true));
}

#[test]
fn invalid_tokens_are_rejected_by_setting_name() {
    for token in ["sh0rt_t0ken", "your_ops_token_here", KEY] {
        let ran = TestEnv::new().with_env("RETELL_WEBHOOK__OPS__TOKEN", token).start_expecting_exit();
        assert_eq!(ran.exit_code, Some(1));
        assert!(ran.stderr.contains("ops.token") && !ran.output().contains(token), "{ran:?}");
    }
}
