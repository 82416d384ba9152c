//! `status`: its report about a receiver that is up, not ready, or down.

use std::time::Duration;

use crate::support::bodies::event_body;
use crate::support::server::ReceiverProcess;
use crate::support::signing::now_ms;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

/// A receiver, and an environment whose commands look for it on its port.
fn start_server() -> (TestEnv, ReceiverProcess) {
    let mut home = TestEnv::new();
    let server = home.start_server();
    home.use_ports_of(&server);
    (home, server)
}

#[test]
fn counts_received_events_and_shows_idle_handlers() {
    let (home, server) = start_server();
    for (name, call) in [("call_started", "call_1"), ("call_ended", "call_1"), ("call_ended", "call_2")] {
        server.post_signed(&event_body(name, call));
    }
    server.post_signed(&event_body("call_ended", "call_2"));
    let idle = || {
        let status = home.run_ok(&["status", "--json"]).json();
        status["handlers"].as_array().unwrap().iter().all(|handler| handler["behind"] == 0)
    };
    assert!(wait_until(Duration::from_secs(20), idle));
    let status = home.run_ok(&["status", "--json"]).json();
    assert_eq!((status["receiver"]["up"].as_bool(), status["receiver"]["ready"].as_bool()), (Some(true), Some(true)));
    assert_eq!(status["receiver"]["response"]["checks"]["storage"], "ok");
    for key in ["accepted", "accepted_last_hour", "accepted_last_day"] {
        assert_eq!(status["events"][key], 3, "{key}");
    }
    assert_eq!(status["last_event"]["call_id"], "call_2");
    let names: Vec<_> =
        status["handlers"].as_array().unwrap().iter().map(|handler| handler["handler"].clone()).collect();
    assert_eq!(names, ["call_store", "log"]);
    assert!(status["store"]["size_bytes"].as_u64().unwrap() > 4096);
    assert_eq!(status["warnings"], serde_json::json!([]));
    let text = home.run_ok(&["status"]).stdout;
    for part in ["up and ready", "events            3", "call_ended, evt_", "HANDLER", "call_store  0"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_receiver_that_is_down_or_not_ready_exits_with_1() {
    let (home, mut server) = start_server();
    server.post_signed(&event_body("call_ended", "call_1"));
    server.stop();
    let ran = home.run(&["status"]);
    assert_eq!(ran.exit_code, Some(1));
    assert!(ran.stdout.contains("down: no response") && ran.stdout.contains("call_ended, evt_"), "{ran:?}");
    let ran = home.run(&["status", "--json"]);
    assert_eq!((ran.exit_code, ran.json()["receiver"]["up"].as_bool()), (Some(1), Some(false)));
    let mut unready = TestEnv::without_key().with_env("SERVER_URL", "https://example.ngrok.app");
    let server = unready.start_server();
    unready.set_env("RETELL_WEBHOOK__SERVER__PORT", &server.address().port().to_string());
    let ran = unready.run(&["status"]);
    assert_eq!(ran.exit_code, Some(1));
    assert!(ran.stdout.contains("up, not ready") && ran.stdout.contains("security.keys: no API key"), "{ran:?}");
}

#[test]
fn another_receiver_at_the_address_is_a_problem() {
    let (mut home, mut server) = start_server();
    let instance =
        |status: &serde_json::Value, of: &str| status[of]["instance"].as_str().unwrap_or_default().to_owned();
    let own = home.run_ok(&["status", "--json"]).json();
    assert_eq!(instance(&own, "receiver"), instance(&own, "store"));
    assert!(!instance(&own, "store").is_empty() && own["other_receiver"].is_null(), "{own}");
    let (_other_home, other) = start_server();
    home.use_ports_of(&other);
    let status = home.run(&["status", "--json"]);
    assert_eq!(status.exit_code, Some(1));
    let status = status.json();
    let doctor = home.run(&["doctor"]);
    assert_eq!(doctor.exit_code, Some(1));
    let text = home.run(&["status"]).stdout;
    for part in [other.address().to_string(), instance(&status, "receiver"), instance(&own, "store")] {
        assert!(text.contains(&part) && doctor.stdout.contains(&part), "{part} in {text} and {doctor:?}");
    }
    assert!(text.contains("another receiver responds at") && !text.contains("up and ready"), "{text}");
    assert!(doctor.stdout.contains("PROBLEM  receiver       another receiver responds at"), "{doctor:?}");
    // The receiver of this store has stopped; the other one is none of this store all the same.
    server.stop();
    assert_eq!(home.run(&["status"]).exit_code, Some(1));
    // A folder without a store.
    let mut empty = TestEnv::new();
    empty.use_ports_of(&other);
    for command in ["status", "doctor"] {
        let ran = empty.run(&[command]);
        assert!(ran.exit_code == Some(1) && ran.stdout.contains("no receiver has opened the store"), "{ran:?}");
    }
}

#[test]
fn a_missing_store_is_reported_and_not_created() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__SERVER__PORT", "1");
    let ran = home.run(&["status"]);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("start the receiver once"), "{ran:?}");
    let status = home.run(&["status", "--json"]).json();
    assert!(status["events"].is_null() && status["store"]["error"].is_string(), "{status}");
    assert!(!home.path().join("data").exists());
}

#[test]
fn warns_of_backlogs_dead_letters_and_silence() {
    let (home, mut server) = start_server();
    server.post_signed(&event_body("call_ended", "call_1"));
    let succeeded = || home.run_ok(&["deliveries", "list", "--state", "succeeded", "--json"]).json();
    assert!(wait_until(Duration::from_secs(10), || succeeded().as_array().unwrap().len() == 2), "{}", succeeded());
    server.stop();
    let three_days_ago_ms = now_ms() - 3 * 24 * 3_600_000;
    home.open_database().execute("UPDATE events SET received_at_ms = ?1", [three_days_ago_ms]).unwrap();
    home.open_database()
        .execute_batch(
            "UPDATE handlers SET through = 0 WHERE name = 'log';
             INSERT INTO handlers (name, since, through) VALUES ('old', 0, 0);
             UPDATE deliveries SET state = 4, due_ms = NULL WHERE handler_id = (SELECT id FROM handlers WHERE name = 'call_store');
             UPDATE deliveries SET state = 2, due_ms = 1, since_ms = 1000, failed_at_ms = 1000
                WHERE handler_id = (SELECT id FROM handlers WHERE name = 'log');
             UPDATE handlers SET breaker = 'open', breaker_since_ms = 2000 WHERE name = 'log';
             INSERT INTO alarms VALUES ('silence', 'default', 3000, 3000, 'no event of company `default` for 3 days');",
        )
        .unwrap();
    let status = home.run(&["status", "--json"]).json();
    let warnings: Vec<_> = status["warnings"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(warnings.len(), 3, "no warning about a handler that is no longer configured: {warnings:?}");
    assert!(warnings[0].starts_with("no event for 3 days"), "{warnings:?}");
    assert!(warnings[1].contains("`call_store` has 1 dead letters"), "{warnings:?}");
    assert!(warnings[2].contains("`log` is behind: 1 events are waiting, the oldest for 3 days"), "{warnings:?}");
    let configured: Vec<_> =
        status["handlers"].as_array().unwrap().iter().map(|handler| handler["configured"] == true).collect();
    assert_eq!(configured, [true, true, false], "the handler `old` is not configured");
    let log = &status["handlers"][1];
    assert_eq!((log["behind"].as_i64(), log["scheduled"].as_i64(), log["dead"].as_i64()), (Some(1), Some(1), Some(0)));
    assert_eq!((log["oldest_undelivered_since_ms"].as_i64(), log["breaker"].as_str()), (Some(1_000), Some("open")));
    let alarm = serde_json::json!({
        "alarm": "silence", "subject": "default", "since_ms": 3000, "text": "no event of company `default` for 3 days",
    });
    assert_eq!(status["alarms"], serde_json::json!([alarm]));
    let text = home.run(&["status"]).stdout;
    assert!(text.contains("not configured") && text.matches("WARNING").count() == 3, "{text}");
    assert!(text.contains("as of when the receiver stopped): no event of company `default`"), "{text}");
}
