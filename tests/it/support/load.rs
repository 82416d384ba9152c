//! Events under load, and the check that each acknowledged one is stored completely.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use retell_webhook::internals::random_hex;
use serde_json::json;

use super::client::{RawClient, WEBHOOK_PATH};
use super::signing::{KEY, api_key, sign};
use super::test_env::{ExportedEvent, TestEnv};

/// The call ids of the events that were sent, and of those that were acknowledged.
#[derive(Default)]
pub struct EventLog {
    acknowledged: Mutex<BTreeSet<String>>,
    /// Bodies without a response, or with 503. Retell sends them again, so the next senders do as well.
    unanswered: Mutex<Vec<Vec<u8>>>,
    stopped: AtomicBool,
}

impl EventLog {
    /// Sends events on one connection until the receiver ends or [`EventLog::stop_senders`] is called. A response other
    /// than 200 and 503 is a failure.
    pub fn send_until_stopped(&self, address: SocketAddr, sender: usize) {
        let Ok(mut client) = RawClient::try_connect(address) else { return };
        for number in sender.. {
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            let resent = self.unanswered.lock().unwrap().pop();
            let body = resent.unwrap_or_else(|| call_ended_body(&format!("call_{}", random_hex()), number));
            let signature = sign(&body);
            let response = client.request("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &signature)], &body);
            match response.as_ref().map(|response| response.status) {
                Some(200) => drop(self.acknowledged.lock().unwrap().insert(call_id_of(&body))),
                Some(503) => {
                    self.unanswered.lock().unwrap().push(body);
                    std::thread::sleep(Duration::from_millis(50));
                }
                Some(status) => panic!("{status}: {}", response.unwrap().text()),
                None => return self.unanswered.lock().unwrap().push(body),
            }
        }
    }

    /// Runs `work` while `senders` threads send events.
    pub fn while_sending<T>(&self, address: SocketAddr, senders: usize, work: impl FnOnce() -> T) -> T {
        self.stopped.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            (0..senders).for_each(|sender| drop(scope.spawn(move || self.send_until_stopped(address, sender))));
            let stop = StopOnDrop(&self.stopped);
            let result = work();
            drop(stop);
            result
        })
    }

    /// The call ids of the events acknowledged so far.
    pub fn acknowledged(&self) -> BTreeSet<String> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Compares what is stored with what was acknowledged. `home` must be able to run commands.
    pub fn compare(&self, home: &TestEnv) -> StoredEvents {
        let events = home.export_events();
        events.iter().for_each(assert_complete);
        let ids: Vec<_> = events.iter().filter_map(ExportedEvent::call_id).collect();
        let stored: BTreeSet<_> = ids.iter().cloned().collect();
        let acknowledged = self.acknowledged.lock().unwrap();
        StoredEvents {
            stored: stored.len(),
            acknowledged: acknowledged.len(),
            lost: acknowledged.difference(&stored).cloned().collect(),
            twice: ids.len() - stored.len(),
        }
    }

    /// Fails unless every acknowledged event is stored exactly once.
    pub fn assert_stored(&self, home: &TestEnv) -> StoredEvents {
        let found = self.compare(home);
        assert!(found.lost.is_empty(), "{} of {} lost: {:?}", found.lost.len(), found.acknowledged, found.lost);
        assert_eq!(found.twice, 0, "events stored twice");
        found
    }
}

/// The senders end also when `work` panics.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the store has of the sent events.
#[derive(Debug)]
pub struct StoredEvents {
    pub stored: usize,
    pub acknowledged: usize,
    pub lost: Vec<String>,
    pub twice: usize,
}

/// Mostly small events, and some as large as a call with its transcript, whose bodies go to a body file.
fn call_ended_body(call_id: &str, number: usize) -> Vec<u8> {
    let length = if number.is_multiple_of(4) { 12_000 } else { 300 };
    let transcript = "w".repeat(length);
    json!({ "event": "call_ended", "call": { "call_id": call_id, "transcript": transcript } }).to_string().into()
}

fn call_id_of(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["call"]["call_id"].as_str().unwrap().to_owned()
}

/// Checks the stored signature over the stored body: it fails for a body that is truncated or mixed up with another.
pub fn assert_complete(event: &ExportedEvent) {
    let received_at_ms = event.json["received_at_ms"].as_i64().unwrap();
    let verifier = retell_webhook::Verifier::new(vec![api_key(KEY)]);
    let result = verifier.verify(event.signature(), &event.body, received_at_ms);
    assert!(result.is_ok(), "{}: {result:?}", event.json["id"]);
}

/// A random time of the given length at most, at least 50 ms.
pub fn random_delay(max_ms: u64) -> Duration {
    let random = u64::from_str_radix(&random_hex()[..8], 16).unwrap();
    Duration::from_millis(50 + random % (max_ms - 50))
}
