//! `load`: what it sends arrives, and it stays on this machine.

use crate::support::signing::OTHER_KEY;
use crate::support::test_env::TestEnv;

#[test]
fn unique_signed_events_arrive_as_counted() {
    let home = TestEnv::new();
    let server = home.start_server();
    let url = server.url();
    let closed = ["load", "--to", &url, "--seconds", "1", "--connections", "1", "--size", "mix", "--json"];
    let closed = home.run_ok(&closed).json();
    let accepted = closed["accepted"].as_u64().unwrap();
    assert!(accepted > 0 && closed["latency_ms"]["p50"].as_f64() <= closed["latency_ms"]["p99.9"].as_f64(), "{closed}");
    let open = ["load", "--to", &url, "--seconds", "2", "--connections", "8", "--rate", "20", "--json"];
    let open = home.run_ok(&open).json();
    assert_eq!((open["accepted"].as_u64(), open["not_sent"].as_u64()), (Some(40), Some(0)), "{open}");
    let kept = home.export_events();
    assert_eq!(kept.len() as u64, accepted + 40, "none is a duplicate");
    assert!(kept.iter().all(|kept| kept.call_id().unwrap().starts_with("call_test_")));
}

#[test]
fn what_is_refused_is_told_and_is_1() {
    let home = TestEnv::new();
    let server = home.start_server();
    let stranger = TestEnv::without_key().with_env("RETELL_API_KEY", OTHER_KEY);
    let ran = stranger.run(&["load", "--to", &server.url(), "--seconds", "1", "--connections", "1"]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("FAILED") && ran.stdout.contains("status 401"), "{ran:?}");
    let ran = home.run(&["load", "--to", "http://127.0.0.1:1", "--seconds", "1", "--connections", "1"]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("no connection"), "{ran:?}");
}

#[test]
fn another_machine_must_be_asked_for_twice() {
    let home = TestEnv::new();
    for more in [&[][..], &["--yes-really"], &["--i-own-this-server"]] {
        let ran = home.run(&[&["load", "--to", "http://192.0.2.1"], more].concat());
        assert!(ran.exit_code == Some(1) && ran.stderr.contains("--yes-really --i-own-this-server"), "{ran:?}");
    }
    assert_eq!(home.run(&["load", "--to", "ftp://127.0.0.1"]).exit_code, Some(1));
    assert_eq!(home.run(&["load", "--rate", "0"]).exit_code, Some(2));
}
