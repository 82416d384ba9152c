//! Who may look at metrics and the details of health, and where.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::client::{RawClient, get, request};
use crate::support::server::ReceiverProcess;
use crate::support::signing::KEY;
use crate::support::test_env::TestEnv;

const TOKEN: &str = "4f9c2d1e8b7a60534f9c2d1e8b7a6053";

/// The status of `/metrics`, and whether health gives details, to a request with these headers.
fn metrics_and_health_access(address: SocketAddr, headers: &[(&str, &str)]) -> (u16, bool) {
    let metrics = request(address, "GET", "/metrics", headers, b"");
    if metrics.status == 404 {
        assert_eq!(metrics.json(), json!({ "message": "Not Found" }), "as for any unknown address");
    }
    let ready = request(address, "GET", "/health/ready", headers, b"");
    assert_eq!(ready.status, 200);
    (metrics.status, ready.json().get("parts").is_some())
}

#[test]
fn only_operators_look() {
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
    let refused = request(address, "POST", "/metrics", &[tunnel], b"");
    assert_eq!(refused.status, 404, "not even the method tells that there is something");
    assert_eq!(request(address, "POST", "/metrics", &[], b"").status, 405);
    assert!(!server.output().contains(TOKEN));
}

#[test]
fn a_listener_of_their_own_takes_them_off_the_main_address() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__OPS__LISTEN", "127.0.0.1:0");
    let mut server = home.start_server();
    let ops = separate_metrics_address(&server);
    assert_ne!(ops, server.address());
    assert_eq!(metrics_and_health_access(server.address(), &[]), (404, false));
    assert_eq!(metrics_and_health_access(ops, &[]), (200, true));
    assert_eq!(metrics_and_health_access(ops, &[("Host", "example.com")]), (200, true), "only this machine reaches it");
    assert_eq!(get(ops, "/ping").status, 200);
    assert_eq!(get(ops, "/api/v1/webhook/retell/test").status, 404);
    // A request under way on either listener is finished, a connection at rest holds nothing up.
    let _idle = RawClient::connect(ops);
    assert_eq!(server.stop(), Some(0));
    assert!(RawClient::try_connect(ops).is_err());
}

fn separate_metrics_address(server: &ReceiverProcess) -> SocketAddr {
    let output = server.output();
    let (_, rest) = output.split_once("http://127.0.0.1:").expect("the address of metrics");
    let (port, _) = rest.split_once("/metrics").unwrap();
    SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
}

#[test]
fn a_listener_others_can_reach_needs_the_token() {
    let mut home = TestEnv::new().with_env("RETELL_WEBHOOK__OPS__LISTEN", "0.0.0.0:0");
    let ran = home.start_expecting_exit();
    assert_eq!(ran.exit_code, Some(1));
    assert!(ran.stderr.contains("ops.listen") && ran.stderr.contains("ops.token"), "{ran:?}");
    home.set_env("RETELL_WEBHOOK__OPS__TOKEN", TOKEN);
    let server = home.start_server();
    let port = server.output().split_once("http://0.0.0.0:").unwrap().1.split_once('/').unwrap().0.parse().unwrap();
    let ops = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(metrics_and_health_access(ops, &[]), (404, false), "loopback or not");
    assert_eq!(metrics_and_health_access(ops, &[("Authorization", &format!("Bearer {TOKEN}"))]), (200, true));
    assert_eq!(
        metrics_and_health_access(server.address(), &[("Authorization", &format!("Bearer {TOKEN}"))]),
        (404, false)
    );
}

#[test]
fn tokens_that_are_none_are_refused_by_name() {
    for token in ["sh0rt_t0ken", "your_ops_token_here", KEY] {
        let ran = TestEnv::new().with_env("RETELL_WEBHOOK__OPS__TOKEN", token).start_expecting_exit();
        assert_eq!(ran.exit_code, Some(1));
        assert!(ran.stderr.contains("ops.token") && !ran.output().contains(token), "{ran:?}");
    }
}
