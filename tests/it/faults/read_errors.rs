//! Errors while bodies are read for delivery. Nearly all real `call_ended` and `call_analyzed` bodies are in body files.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::faulty_disk::FaultyDisk;
use crate::support::bodies::event_body;
use crate::support::destination::DestinationServer;
use crate::support::server::ReceiverProcess;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const WAIT_LIMIT: Duration = Duration::from_secs(40);

fn large_event(kind: &str, call_id: &str) -> Vec<u8> {
    [event_body(kind, call_id), vec![b' '; 20_000]].concat()
}

fn forward_config(destination: &DestinationServer, schedule: &str, more: &str) -> String {
    format!(
        "[[handlers]]\nname = \"crm\"\nkind = \"forward\"\nurl = \"{}\"\nretry_schedule = [{schedule}]\n{more}\n",
        destination.url()
    )
}

fn received_kinds(destination: &DestinationServer) -> Vec<String> {
    destination.received().iter().map(|request| request.json()["event"].as_str().unwrap().to_owned()).collect()
}

fn list_deliveries(home: &TestEnv, state: &str) -> Vec<Value> {
    let list = ["deliveries", "list", "--handler", "crm", "--state", state, "--json"];
    home.run_ok(&list).json().as_array().unwrap().clone()
}

fn post(server: &ReceiverProcess, body: &[u8]) {
    let response = server.post_signed(body);
    assert_eq!(response.status, 200, "{}", response.text());
}

/// The reads fail more often than a circuit breaker allows, and the events of the call still arrive, in order.
fn assert_delivered_after(rule: &str) {
    let destination = DestinationServer::start();
    let mut home = TestEnv::new();
    home.write_config(&forward_config(&destination, &["\"200ms\""; 12].join(","), ""));
    let disk = FaultyDisk::attach(&mut home);
    let mut server = home.start_server();
    disk.set_rules(&[rule]);
    for kind in ["call_started", "call_ended", "call_analyzed"] {
        post(&server, &large_event(kind, "call_1"));
    }
    destination.wait_for(3);
    assert_eq!(received_kinds(&destination), ["call_started", "call_ended", "call_analyzed"]);
    assert_eq!(disk.faults().len(), 8, "{:?}", disk.faults());
    assert!(list_deliveries(&home, "dead").is_empty());
    assert_eq!(server.stop(), Some(0));
    let output = server.output();
    assert!(output.contains("delivery failed") && output.contains("the body cannot be read"), "{output}");
    assert!(!output.contains("circuit breaker opened"), "the destination is up: {output}");
}

#[test]
fn a_body_that_cannot_be_opened_is_retried() {
    assert_delivered_after("open *.bodies EMFILE 8");
}

#[test]
fn a_body_that_cannot_be_read_is_retried() {
    assert_delivered_after("read *.bodies EIO 8");
}

/// A filter on the body must not exclude an event whose body cannot be read at the moment, nor let through what it
/// excludes.
#[test]
fn a_filter_waits_for_the_body() {
    let destination = DestinationServer::start();
    let mut home = TestEnv::new();
    let filter = "when = \"$.call[?@ == 'call_wanted']\"";
    home.write_config(&forward_config(&destination, &["\"200ms\""; 12].join(","), filter));
    let disk = FaultyDisk::attach(&mut home);
    let mut server = home.start_server();
    disk.set_rules(&["open *.bodies EMFILE 6"]);
    for call_id in ["call_other", "call_wanted"] {
        post(&server, &large_event("call_ended", call_id));
    }
    destination.wait_for(1);
    assert!(wait_until(WAIT_LIMIT, || !list_deliveries(&home, "skipped").is_empty()));
    let skipped = list_deliveries(&home, "skipped");
    assert_eq!(
        (skipped.len(), &skipped[0]["call_id"], &skipped[0]["reason"]),
        (1, &"call_other".into(), &"filtered".into())
    );
    assert_eq!(server.stop(), Some(0));
    let bodies: Vec<_> =
        destination.received().iter().map(|request| request.json()["call"]["call_id"].clone()).collect();
    assert_eq!(bodies, ["call_wanted"]);
}

/// The body file is gone for longer than the schedule. When it is back, the dead deliveries are attempted again.
#[test]
fn dead_deliveries_resume_when_their_bodies_are_back() {
    let destination = DestinationServer::start();
    let home = TestEnv::new();
    // A handler gets the events from its first start on.
    home.write_config(&forward_config(&destination, "\"100ms\"", ""));
    let mut server = home.start_server();
    assert_eq!(server.stop(), Some(0));
    home.write_config("");
    let mut server = home.start_server();
    for kind in ["call_started", "call_ended", "call_analyzed"] {
        post(&server, &large_event(kind, "call_1"));
    }
    assert_eq!(server.stop(), Some(0));

    let body_file: PathBuf = home.path().join("data/retell-webhook.db-bodies/00000001.bodies");
    let away = home.path().join("away");
    std::fs::rename(&body_file, &away).unwrap();
    home.write_config(&forward_config(&destination, "\"100ms\"", ""));
    let mut server = home.start_server();
    assert!(wait_until(WAIT_LIMIT, || list_deliveries(&home, "dead").len() == 3));
    assert!(server.output().contains("stored bodies missing"), "{}", server.output());
    assert_eq!(server.stop(), Some(0));
    assert_eq!(destination.received().len(), 0);

    std::fs::rename(&away, &body_file).unwrap();
    let mut server = home.start_server();
    destination.wait_for(3);
    assert_eq!(received_kinds(&destination), ["call_started", "call_ended", "call_analyzed"]);
    assert!(server.wait_for_output("dead deliveries resumed"), "{}", server.output());
    assert!(wait_until(WAIT_LIMIT, || list_deliveries(&home, "succeeded").len() == 3));
    assert_eq!(server.stop(), Some(0));
}

/// The same without a restart: the receiver looks for the bodies every minute.
#[test]
fn a_running_receiver_resumes_dead_deliveries() {
    let destination = DestinationServer::start();
    let mut home = TestEnv::new();
    home.write_config(&forward_config(&destination, "\"100ms\"", ""));
    let disk = FaultyDisk::attach(&mut home);
    let mut server = home.start_server();
    disk.set_rules(&["open *.bodies EACCES -1"]);
    post(&server, &large_event("call_ended", "call_1"));
    assert!(wait_until(WAIT_LIMIT, || list_deliveries(&home, "dead").len() == 1));
    disk.set_rules(&[]);
    assert!(wait_until(Duration::from_secs(90), || !destination.received().is_empty()), "{}", server.output());
    assert_eq!(server.stop(), Some(0));
}
