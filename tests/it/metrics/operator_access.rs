//! Access to `/metrics` and to the results of the health checks.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::client::{RawClient, get, request};
use crate::support::server::ReceiverProcess;
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

#[test]
fn only_operators_have_access() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__OPS__TOKEN", TOKEN);
    let server = home.start_server();
    let address = server.address();
    let bearer = format!("Bearer {TOKEN}");
    let tunnel = ("Host", "example.ngrok.app");
    assert_eq!(metrics_and_health_access(address, &[]), (200, true), "from this machine");
    assert_eq!(metrics_and_health_access(address, &[tunnel]), (404, false));
    assert_eq!(metrics_and_health_access(address, &[("X-Forwarded-For", "192.0.2.1")]), (404, false));
    assert_eq!(metrics_and_health_access(address, &[tunnel, ("Authorization", &bearer)]), (200, true));
    assert_eq!(
        metrics_and_health_access(address, &[tunnel, ("Authorization", &bearer[..bearer.len() - 1])]),
        (404, false)
    );
    assert_eq!(metrics_and_health_access(address, &[tunnel, ("Authorization", "Bearer ")]), (404, false));
    let response = request(address, "POST", "/metrics", &[tunnel], b"");
    assert_eq!(response.status, 404, "the method does not reveal that the route exists");
    assert_eq!(request(address, "POST", "/metrics", &[], b"").status, 405);
    assert!(!server.output().contains(TOKEN));
}

#[test]
fn a_separate_listener_removes_them_from_the_main_listener() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__OPS__LISTEN", "127.0.0.1:0");
    let mut server = home.start_server();
    let ops = separate_metrics_address(&server);
    assert_ne!(ops, server.address());
    assert_eq!(metrics_and_health_access(server.address(), &[]), (404, false));
    assert_eq!(metrics_and_health_access(ops, &[]), (200, true));
    assert_eq!(metrics_and_health_access(ops, &[("Host", "example.com")]), (200, true), "only this machine reaches it");
    assert_eq!(get(ops, "/ping").status, 200);
    assert_eq!(get(ops, "/api/v1/webhook/retell/test").status, 404);
    // A stop waits for requests in progress, but not for idle connections.
    let _idle = RawClient::connect(ops);
    assert_eq!(server.stop(), Some(0));
    assert!(RawClient::try_connect(ops).is_err());
}

fn separate_metrics_address(server: &ReceiverProcess) -> SocketAddr {
    let output = server.output();
    let (_, rest) = output.split_once("http://127.0.0.1:").expect("the URL of /metrics");
    let (port, _) = rest.split_once("/metrics").unwrap();
    SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
}

#[test]
fn a_listener_that_other_machines_can_reach_needs_the_token() {
    let mut home = TestEnv::new().with_env("RETELL_WEBHOOK__OPS__LISTEN", "0.0.0.0:0");
    let ran = home.start_expecting_exit();
    assert_eq!(ran.exit_code, Some(1));
    assert!(ran.stderr.contains("ops.listen") && ran.stderr.contains("ops.token"), "{ran:?}");
    home.set_env("RETELL_WEBHOOK__OPS__TOKEN", TOKEN);
    let server = home.start_server();
    let port = server.output().split_once("http://0.0.0.0:").unwrap().1.split_once('/').unwrap().0.parse().unwrap();
    let ops = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(metrics_and_health_access(ops, &[]), (404, false), "also from loopback");
    assert_eq!(metrics_and_health_access(ops, &[("Authorization", &format!("Bearer {TOKEN}"))]), (200, true));
    assert_eq!(
        metrics_and_health_access(server.address(), &[("Authorization", &format!("Bearer {TOKEN}"))]),
        (404, false)
    );
}

#[test]
fn invalid_tokens_are_rejected_by_setting_name() {
    for token in ["sh0rt_t0ken", "your_ops_token_here", KEY] {
        let ran = TestEnv::new().with_env("RETELL_WEBHOOK__OPS__TOKEN", token).start_expecting_exit();
        assert_eq!(ran.exit_code, Some(1));
        assert!(ran.stderr.contains("ops.token") && !ran.output().contains(token), "{ran:?}");
    }
}
