//! Kills the receiver at random moments under load, with a destination that fails at random: every acknowledged event
//! reaches every handler whose filter matches, and few of them twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retell_webhook::internals::random_hex;
use serde_json::{Value, json};

use crate::support::client::{RawClient, WEBHOOK_PATH};
use crate::support::destination::{DestinationServer, status_response};
use crate::support::signing::sign;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const KILLS: usize = 8;
const SENDERS: usize = 4;
const CONCURRENCY: usize = 8;
const EVENT_NAMES: [&str; 3] = ["call_started", "call_ended", "call_analyzed"];

/// Number of accepted deliveries by path and event id.
type ReceiptCounts = Arc<Mutex<BTreeMap<(String, String), usize>>>;

/// Accepts four of five requests and answers 503 to the others.
fn flaky_sink(received: &ReceiptCounts) -> DestinationServer {
    let received = Arc::clone(received);
    DestinationServer::start_with(move |_, request| {
        if random_hex().starts_with(['0', '1', '2']) {
            return status_response(503);
        }
        let id = request.header("webhook-id").unwrap().to_owned();
        *received.lock().unwrap().entry((request.path.clone(), id)).or_default() += 1;
        status_response(200)
    })
}

fn write_forward_config(home: &TestEnv, sink: &DestinationServer) {
    let handler = |name: &str, events: &str| {
        format!(
            "[[handlers]]\nname = \"{name}\"\nkind = \"forward\"\nurl = \"{}/{name}\"\nevents = [{events}]\n\
             concurrency = {CONCURRENCY}\nretry_schedule = [{}]\nordering_timeout_ms = 60000\n",
            sink.url(),
            ["\"100ms\""; 40].join(", ")
        )
    };
    std::fs::create_dir(home.path().join("config")).unwrap();
    let text = handler("all", "") + &handler("ends", "\"call_ended\", \"call_an*\"");
    std::fs::write(home.path().join("config/local.toml"), text).unwrap();
}

/// Sends the three events of one call after another until the server is killed, and records what was acknowledged.
fn send_calls_until_killed(address: SocketAddr, acknowledged: &Mutex<BTreeSet<(String, String)>>) {
    let Ok(mut client) = RawClient::try_connect(address) else { return };
    loop {
        let call_id = format!("call_{}", random_hex());
        for name in EVENT_NAMES {
            let body = json!({ "event": name, "call": { "call_id": call_id } }).to_string();
            let signature = sign(body.as_bytes());
            let headers = [("X-Retell-Signature", signature.as_str())];
            match client.request("POST", WEBHOOK_PATH, &headers, body.as_bytes()) {
                Some(response) => assert_eq!(response.status, 200),
                None => return,
            }
            acknowledged.lock().unwrap().insert((call_id.clone(), name.to_owned()));
            // Leaves processor time to the handlers.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn every_acknowledged_event_reaches_every_handler_despite_kills() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__LEVEL", "error");
    let received = ReceiptCounts::default();
    let sink = flaky_sink(&received);
    write_forward_config(&home, &sink);
    let acknowledged = Mutex::default();
    for _ in 0..KILLS {
        let mut server = home.start_server();
        let address = server.address();
        std::thread::scope(|scope| {
            (0..SENDERS).for_each(|_| drop(scope.spawn(|| send_calls_until_killed(address, &acknowledged))));
            let random = u64::from_str_radix(&random_hex()[..8], 16).unwrap();
            std::thread::sleep(Duration::from_millis(200 + random % 600));
            server.kill();
        });
    }
    let mut server = home.start_server();
    let unfinished = || {
        let status = home.run(&["status", "--json"]).json();
        let count = |handler: &Value| handler["behind"].as_i64().unwrap() + handler["scheduled"].as_i64().unwrap();
        status["handlers"].as_array().unwrap().iter().map(count).sum::<i64>()
    };
    assert!(wait_until(Duration::from_secs(90), || unfinished() == 0), "{} unfinished", unfinished());
    let events = home.export_events();
    let id_of: BTreeMap<_, _> = events
        .iter()
        .map(|event| {
            ((event.call_id().unwrap(), event.event().unwrap().to_owned()), event.json["id"].as_str().unwrap())
        })
        .collect();
    let received = received.lock().unwrap();
    let acknowledged = acknowledged.into_inner().unwrap();
    for key in &acknowledged {
        let id = id_of.get(key).unwrap_or_else(|| panic!("{key:?} is not stored"));
        let reached = |path: &str| received.contains_key(&(path.to_owned(), (*id).to_owned()));
        assert!(reached("/all"), "{key:?} did not reach `all`");
        assert_eq!(reached("/ends"), key.1 != "call_started", "{key:?} and `ends`");
    }
    let repeated: usize = received.values().map(|count| count - 1).sum();
    println!(
        "{KILLS} kills: {} events acknowledged, {} deliveries, {repeated} repeated",
        acknowledged.len(),
        received.len()
    );
    assert!(acknowledged.len() > 200, "too few events for a load: {}", acknowledged.len());
    assert!(repeated <= KILLS * CONCURRENCY * 2, "{repeated} repeated deliveries");
    assert_eq!(server.stop(), Some(0));
}
