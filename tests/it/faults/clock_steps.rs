//! The clock of the machine is wrong for a while: a day ahead, and then right again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::preload;
use crate::support::bodies::event_body;
use crate::support::client::post;
use crate::support::destination::{DestinationServer, status_response};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, now_ms, sign_with};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(60);
const DAY_SECONDS: i64 = 86_400;

/// A receiver whose clock can be set, with a handler whose destination can be switched off.
struct ClockScenario {
    home: TestEnv,
    destination: DestinationServer,
    is_up: Arc<AtomicBool>,
}

/// Sends an event of one call, whose signature has the time of the receiver.
fn post_ahead(server: &ReceiverProcess, kind: &str, ahead_seconds: i64) {
    let body = event_body(kind, "call_1");
    let response = post(server.address(), &body, &sign_with(KEY, &body, now_ms() + ahead_seconds * 1_000));
    assert_eq!(response.status, 200, "{}", response.text());
}

impl ClockScenario {
    fn new() -> Self {
        let is_up = Arc::new(AtomicBool::new(false));
        let up = Arc::clone(&is_up);
        let respond = move |_: usize, _: &_| status_response(if up.load(Ordering::Relaxed) { 200 } else { 503 });
        let destination = DestinationServer::start_with(respond);
        let mut home = TestEnv::new();
        home.write_config(&format!(
            "[[handlers]]\nname = \"crm\"\nkind = \"forward\"\nurl = \"{}\"\n\
             retry_schedule = [\"3s\", \"3s\", \"3s\", \"3s\", \"3s\", \"3s\", \"3s\", \"3s\"]\nordering_timeout_ms = 5000\n",
            destination.url()
        ));
        home.set_env("LD_PRELOAD", preload::library("clock").to_str().unwrap());
        let offset = home.path().join("offset").display().to_string();
        home.set_env("CLOCK_OFFSET_FILE", &offset);
        Self { home, destination, is_up }
    }

    fn set_clock_ahead(&self, seconds: i64) {
        // Renamed, so that no process reads half of it.
        let new = self.home.path().join("offset.new");
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(new, self.home.path().join("offset")).unwrap();
    }

    fn deliveries(&self) -> Vec<Value> {
        self.home.run_ok(&["deliveries", "list", "--handler", "crm", "--json"]).json().as_array().unwrap().clone()
    }

    /// Waits until an attempt has failed a day ahead, with the next event of the call behind it.
    fn fail_a_day_ahead(&self, server: &ReceiverProcess) {
        self.set_clock_ahead(DAY_SECONDS);
        post_ahead(server, "call_started", DAY_SECONDS);
        post_ahead(server, "call_ended", DAY_SECONDS);
        let tomorrow_ms = now_ms() + DAY_SECONDS * 1_000 - 3_600_000;
        let is_scheduled = || {
            let deliveries = self.deliveries();
            deliveries.len() == 2 && deliveries.iter().all(|row| row["next_attempt_at_ms"].as_i64() > Some(tomorrow_ms))
        };
        assert!(wait_until(WAIT_LIMIT, is_scheduled), "{:?}", self.deliveries());
    }

    /// All events of the call arrive within minutes, in order.
    fn assert_delivered(&self) {
        self.is_up.store(true, Ordering::Relaxed);
        let all_done = || self.deliveries().iter().all(|row| row["state"] == "succeeded");
        assert!(wait_until(WAIT_LIMIT, all_done), "{:?}", self.deliveries());
        assert!(!self.destination.received().is_empty());
    }
}

#[test]
fn a_retry_planned_a_day_ahead_is_due_within_its_schedule_again() {
    let scenario = ClockScenario::new();
    let mut server = scenario.home.start_server();
    scenario.fail_a_day_ahead(&server);
    scenario.set_clock_ahead(0);
    post_ahead(&server, "call_analyzed", 0);
    scenario.assert_delivered();
    assert_eq!(server.stop(), Some(0));
    assert!(server.output().contains("due times corrected"), "{}", server.output());
}

#[test]
fn the_clock_is_right_again_after_a_restart() {
    for ends_by_crash in [false, true] {
        let scenario = ClockScenario::new();
        let mut server = scenario.home.start_server();
        scenario.fail_a_day_ahead(&server);
        if ends_by_crash {
            server.kill();
        } else {
            server.stop();
        }
        scenario.set_clock_ahead(0);
        let mut server = scenario.home.start_server();
        scenario.assert_delivered();
        assert_eq!(server.stop(), Some(0));
    }
}

/// Enough failures a day ahead open the circuit breaker, which must not stay open for a day.
#[test]
fn a_circuit_breaker_that_opened_a_day_ahead_closes() {
    let scenario = ClockScenario::new();
    let mut server = scenario.home.start_server();
    scenario.set_clock_ahead(DAY_SECONDS);
    for number in 0..6 {
        let body = event_body("call_ended", &format!("call_{number}"));
        post(server.address(), &body, &sign_with(KEY, &body, now_ms() + DAY_SECONDS * 1_000));
    }
    assert!(server.wait_for_output("circuit breaker opened"), "{}", server.output());
    scenario.set_clock_ahead(0);
    scenario.assert_delivered();
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn the_clock_library_sets_the_clock() {
    let scenario = ClockScenario::new();
    scenario.set_clock_ahead(DAY_SECONDS);
    let server = scenario.home.start_server();
    let body = event_body("call_ended", "call_1");
    let stale = post(server.address(), &body, &sign_with(KEY, &body, now_ms()));
    assert_eq!(stale.status, 401, "the receiver is a day ahead");
}
