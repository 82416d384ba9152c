//! Killed at random moments under load: whatever was acknowledged is still there, whole.

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

/// Every acknowledged call id.
#[derive(Default)]
struct Acknowledged(Mutex<BTreeSet<String>>);

impl Acknowledged {
    /// Sends events on one connection until the server is gone.
    fn send_until_killed(&self, address: SocketAddr, sender: usize) {
        let Ok(mut client) = RawClient::try_connect(address) else { return };
        for number in sender.. {
            let call_id = format!("call_{}", random_hex());
            let body = call_ended_body(&call_id, number);
            let headers = [("X-Retell-Signature", sign(&body))];
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            match client.request("POST", WEBHOOK_PATH, &headers, &body) {
                Some(answer) if answer.status == 200 => drop(self.0.lock().unwrap().insert(call_id)),
                Some(answer) => panic!("{}: {}", answer.status, answer.text()),
                None => return,
            }
        }
    }
}

/// Mostly small events, some of the size of a call with its transcript.
fn call_ended_body(call_id: &str, number: usize) -> Vec<u8> {
    let words = if number.is_multiple_of(4) { 12_000 } else { 300 };
    json!({ "event": "call_ended", "call": { "call_id": call_id, "transcript": "w".repeat(words) } }).to_string().into()
}

/// Anything between almost at once and well into the load.
fn random_delay() -> Duration {
    let random = u64::from_str_radix(&random_hex()[..8], 16).unwrap();
    Duration::from_millis(50 + random % 750)
}

/// The bytes are those that were signed: nothing is torn, mixed up or cut off.
fn assert_complete(kept: &ExportedEvent) {
    let received_at_ms = kept.json["received_at_ms"].as_i64().unwrap();
    let verifier = retell_webhook::Verifier::new(vec![api_key(KEY)]);
    let verdict = verifier.verify(kept.signature(), &kept.body, received_at_ms);
    assert!(verdict.is_ok(), "{}: {verdict:?}", kept.json["id"]);
}

#[test]
fn nothing_acknowledged_is_lost_over_twenty_kills() {
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
    let kept = home.export_events();
    kept.iter().for_each(assert_complete);
    let acknowledged = acknowledged.0.into_inner().unwrap();
    let stored: BTreeSet<_> = kept.iter().filter_map(ExportedEvent::call_id).collect();
    let missing: Vec<_> = acknowledged.difference(&stored).collect();
    println!(
        "{KILLS} kills: {} events acknowledged, {} stored, {} missing",
        acknowledged.len(),
        stored.len(),
        missing.len()
    );
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(stored.len(), kept.len(), "an event is stored twice");
    assert!(acknowledged.len() > 500, "hardly any load: {}", acknowledged.len());
    // What was stored is also known: sent again, it is a duplicate.
    assert!(kept.iter().rev().take(50).all(|kept| server.post_signed(&kept.body).is_duplicate()));
    assert_eq!(server.stop(), Some(0));
}
