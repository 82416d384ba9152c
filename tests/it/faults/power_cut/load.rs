//! What is sent, and what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use retell_webhook::internals::{EventIdGenerator, random_hex};
use serde_json::json;

use super::random_below;
use crate::support::client::{RawClient, WEBHOOK_PATH};
use crate::support::signing::{now_ms, sign};
use crate::support::test_env::TestEnv;

/// The events of a call, in order.
pub const STAGES: [&str; 3] = ["call_started", "call_ended", "call_analyzed"];
/// A write to the ledger is on disk after about 100 ms; older ones must survive.
const LEDGER_DELAY: Duration = Duration::from_secs(1);
const OLD_EVENTS: usize = 40;
const OLD_EVENT_AGE_MS: i64 = 400 * 86_400_000;

/// A call whose next event was not acknowledged. It is sent again with the same body, as Retell does.
struct OpenCall {
    call_id: String,
    stage: usize,
    transcript_bytes: usize,
}

impl OpenCall {
    fn body(&self) -> Vec<u8> {
        let call = json!({"call_id": self.call_id, "transcript": "w".repeat(self.transcript_bytes)});
        json!({"event": STAGES[self.stage], "call": call}).to_string().into()
    }
}

/// A request to a custom function that was answered.
pub struct AnsweredFunction {
    pub body: Vec<u8>,
    pub signature: String,
    at: Instant,
}

impl AnsweredFunction {
    pub fn was_on_disk(&self, cut_at: Instant) -> bool {
        cut_at.duration_since(self.at) > LEDGER_DELAY
    }
}

#[derive(Default)]
pub struct Load {
    open_calls: Mutex<Vec<OpenCall>>,
    /// The stages of each call that were acknowledged.
    pub acknowledged: Mutex<BTreeMap<String, BTreeSet<usize>>>,
    /// Confirmation numbers of the appointments that were booked.
    pub bookings: Mutex<BTreeSet<String>>,
    pub answered_functions: Mutex<Vec<AnsweredFunction>>,
    /// Calls whose erasure was reported as complete.
    pub erased: Mutex<BTreeSet<String>>,
    event_ids: EventIdGenerator,
}

impl Load {
    /// Sends the events of one call after another, until the receiver ends.
    pub fn send_calls(&self, address: SocketAddr, sender: usize) {
        let Ok(mut client) = RawClient::try_connect(address) else { return };
        for number in sender.. {
            let open_call = self.open_calls.lock().unwrap().pop();
            let mut call = open_call.unwrap_or_else(|| OpenCall {
                call_id: format!("call_{}", random_hex()),
                stage: 0,
                transcript_bytes: if number % 3 == 0 { 12_000 } else { 300 },
            });
            while call.stage < STAGES.len() {
                let body = call.body();
                let signature = sign(&body);
                let response = client.request("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &signature)], &body);
                let Some(response) = response else { return self.open_calls.lock().unwrap().push(call) };
                assert_eq!(response.status, 200, "{}", response.text());
                self.acknowledged.lock().unwrap().entry(call.call_id.clone()).or_default().insert(call.stage);
                call.stage += 1;
            }
        }
    }

    pub fn book_appointments(&self, address: SocketAddr) {
        let Ok(mut client) = RawClient::try_connect(address) else { return };
        loop {
            let time = format!("{:02}:{:02}", random_below(24), random_below(12) * 5);
            let args = json!({"name": format!("Caller {}", random_hex()), "date": "in 3 days", "time": time});
            let call = json!({"call_id": format!("booking_{}", random_hex()), "from_number": "+12025550143"});
            let body = json!({"name": "collect_appointment_information", "call": call, "args": args}).to_string();
            let path = "/api/v1/function/collect_appointment_information";
            let Some(answer) = post_function(&mut client, path, body.as_bytes(), &sign(body.as_bytes())) else {
                return;
            };
            let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
            if answer["result"] == "booked" {
                let number = answer["confirmation_number"].as_str().unwrap().to_owned();
                assert!(self.bookings.lock().unwrap().insert(number), "a confirmation number was given twice");
            }
        }
    }

    /// Calls the function `weather`, until the receiver ends.
    pub fn call_functions(&self, address: SocketAddr) {
        let Ok(mut client) = RawClient::try_connect(address) else { return };
        loop {
            let call = json!({"call_id": format!("function_{}", random_hex())});
            let body = json!({"name": "weather", "call": call, "args": {}}).to_string().into_bytes();
            let signature = sign(&body);
            if post_function(&mut client, "/api/v1/function/weather", &body, &signature).is_none() {
                return;
            }
            let answered = AnsweredFunction { body, signature, at: Instant::now() };
            self.answered_functions.lock().unwrap().push(answered);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Imports events that are so old that the purge deletes them. No receiver may be running.
    pub fn import_old_events(&self, home: &TestEnv) {
        let lines = (0..OLD_EVENTS).map(|number| {
            let at_ms = now_ms() - OLD_EVENT_AGE_MS;
            let transcript = "w".repeat(if number % 2 == 0 { 12_000 } else { 300 });
            let call = json!({ "call_id": format!("old_{}", random_hex()), "transcript": transcript });
            let body = BASE64_STANDARD.encode(json!({ "event": "call_ended", "call": call }).to_string());
            let id = self.event_ids.next_id(at_ms).to_string();
            let headers = json!({});
            let line = json!({"id": id, "company": "default", "received_at_ms": at_ms, "headers": headers, "body_base64": body});
            format!("{line}\n")
        });
        let ran = home.run_with_input(&["events", "import", "-"], lines.collect::<String>().as_bytes());
        assert_eq!(ran.exit_code, Some(0), "{ran:?}");
    }

    /// Chooses a complete call to erase, and expects nothing of it any more.
    pub fn next_erased_call(&self) -> Option<String> {
        let mut acknowledged = self.acknowledged.lock().unwrap();
        let call = acknowledged.iter().find(|(_, stages)| stages.len() == STAGES.len())?.0.clone();
        acknowledged.remove(&call);
        Some(call)
    }

    pub fn record_erasure(&self, call: &str, is_complete: bool) {
        if is_complete {
            self.erased.lock().unwrap().insert(call.to_owned());
        }
    }
}

/// The content of the answer; `None` when the receiver ended before.
pub fn post_function(client: &mut RawClient, path: &str, body: &[u8], signature: &str) -> Option<Vec<u8>> {
    let headers = [("Content-Type", "application/json"), ("X-Retell-Signature", signature)];
    let response = client.request("POST", path, &headers, body)?;
    assert_eq!(response.status, 200, "{}", response.text());
    Some(response.body)
}
