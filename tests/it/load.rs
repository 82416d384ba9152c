//! `load`: its events arrive, failures are reported, and another machine must be confirmed.

use crate::support::signing::OTHER_KEY;
use crate::support::test_env::TestEnv;

#[test]
fn unique_signed_events_are_stored_as_counted() {
    let home = TestEnv::new();
    let server = home.start_server();
    let url = server.url();
    let closed_loop = ["load", "--to", &url, "--seconds", "1", "--connections", "1", "--size", "mix", "--json"];
    let closed = home.run_ok(&closed_loop).json();
    let accepted = closed["accepted"].as_u64().unwrap();
    assert!(accepted > 0 && closed["latency_ms"]["p50"].as_f64() <= closed["latency_ms"]["p99.9"].as_f64(), "{closed}");
    let open_loop = ["load", "--to", &url, "--seconds", "2", "--connections", "8", "--rate", "20", "--json"];
    let open = home.run_ok(&open_loop).json();
    assert_eq!((open["accepted"].as_u64(), open["not_sent"].as_u64()), (Some(40), Some(0)), "{open}");
    let events = home.export_events();
    assert_eq!(events.len() as u64, accepted + 40, "no event is a duplicate");
    assert!(events.iter().all(|event| event.call_id().unwrap().starts_with("call_test_")));
}

#[test]
fn rejected_requests_are_reported_with_exit_code_1() {
    let home = TestEnv::new();
    let server = home.start_server();
    let stranger = TestEnv::without_key().with_env("RETELL_API_KEY", OTHER_KEY);
    let ran = stranger.run(&["load", "--to", &server.url(), "--seconds", "1", "--connections", "1"]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("FAILED") && ran.stdout.contains("status 401"), "{ran:?}");
    let ran = home.run(&["load", "--to", "http://127.0.0.1:1", "--seconds", "1", "--connections", "1"]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("no connection"), "{ran:?}");
}

#[test]
fn load_on_another_machine_must_be_confirmed() {
    let home = TestEnv::new();
    for more in [&[][..], &["--yes-really"], &["--i-own-this-server"]] {
        let ran = home.run(&[&["load", "--to", "http://192.0.2.1"], more].concat());
        assert!(ran.exit_code == Some(1) && ran.stderr.contains("--yes-really --i-own-this-server"), "{ran:?}");
    }
    assert_eq!(home.run(&["load", "--to", "ftp://127.0.0.1"]).exit_code, Some(1));
    assert_eq!(home.run(&["load", "--rate", "0"]).exit_code, Some(2));
}
