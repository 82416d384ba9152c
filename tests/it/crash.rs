//! The receiver is killed at random moments under load: every acknowledged event is stored completely.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use retell_webhook::internals::random_hex;
use serde_json::json;

use crate::support::client::{RawClient, WEBHOOK_PATH};
use crate::support::signing::{KEY, api_key, sign};
use crate::support::test_env::{ExportedEvent, TestEnv};

const KILLS: u32 = 20;
const SENDERS: usize = 16;

/// The call ids of all acknowledged events.
#[derive(Default)]
struct Acknowledged(Mutex<BTreeSet<String>>);

impl Acknowledged {
    /// Sends events on one connection until the server is killed.
    fn send_until_killed(&self, address: SocketAddr, sender: usize) {
        let Ok(mut client) = RawClient::try_connect(address) else { return };
        for number in sender.. {
            let call_id = format!("call_{}", random_hex());
            let body = call_ended_body(&call_id, number);
            let headers = [("X-Retell-Signature", sign(&body))];
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            match client.request("POST", WEBHOOK_PATH, &headers, &body) {
                Some(response) if response.status == 200 => drop(self.0.lock().unwrap().insert(call_id)),
                Some(response) => panic!("{}: {}", response.status, response.text()),
                None => return,
            }
        }
    }
}

/// Mostly small events, and some as large as a call with its transcript, whose bodies go to a body file.
fn call_ended_body(call_id: &str, number: usize) -> Vec<u8> {
    let length = if number.is_multiple_of(4) { 12_000 } else { 300 };
    let transcript = "w".repeat(length);
    json!({ "event": "call_ended", "call": { "call_id": call_id, "transcript": transcript } }).to_string().into()
}

/// A random time between 50 and 800 ms.
fn random_delay() -> Duration {
    let random = u64::from_str_radix(&random_hex()[..8], 16).unwrap();
    Duration::from_millis(50 + random % 750)
}

/// Checks the stored signature over the stored body: it fails for a body that is truncated or mixed up with another.
fn assert_complete(event: &ExportedEvent) {
    let received_at_ms = event.json["received_at_ms"].as_i64().unwrap();
    let verifier = retell_webhook::Verifier::new(vec![api_key(KEY)]);
    let result = verifier.verify(event.signature(), &event.body, received_at_ms);
    assert!(result.is_ok(), "{}: {result:?}", event.json["id"]);
}

#[test]
fn no_acknowledged_event_is_lost_in_twenty_kills() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__LEVEL", "warn");
    let acknowledged = Acknowledged::default();
    for _ in 0..KILLS {
        let mut server = home.start_server();
        let address = server.address();
        std::thread::scope(|scope| {
            let acknowledged = &acknowledged;
            (0..SENDERS).for_each(|sender| drop(scope.spawn(move || acknowledged.send_until_killed(address, sender))));
            std::thread::sleep(random_delay());
            server.kill();
        });
    }
    let mut server = home.start_server();
    let events = home.export_events();
    events.iter().for_each(assert_complete);
    let acknowledged = acknowledged.0.into_inner().unwrap();
    let stored: BTreeSet<_> = events.iter().filter_map(ExportedEvent::call_id).collect();
    let missing: Vec<_> = acknowledged.difference(&stored).collect();
    println!(
        "{KILLS} kills: {} events acknowledged, {} stored, {} missing",
        acknowledged.len(),
        stored.len(),
        missing.len()
    );
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(stored.len(), events.len(), "an event is stored twice");
    assert!(acknowledged.len() > 500, "too little load: {}", acknowledged.len());
    // The identities of the stored events were recovered as well: sent again, an event is a duplicate.
    assert!(events.iter().rev().take(50).all(|event| server.post_signed(&event.body).is_duplicate()));
    assert_eq!(server.stop(), Some(0));
}
