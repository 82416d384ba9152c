use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use serde_json::{Value, json};

use super::support::{FakeFixture, KEY, seed};
use crate::base::supervise::TaskGroup;
use crate::retell::fake::{PlayError, PlayedEvent};
use crate::security::keys::ApiKey;
use crate::security::signature::{SIGNATURE_HEADER, Signature};

type Received = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A receiver that acknowledges webhooks, with its URL and the signatures and bodies that it received.
async fn start_receiver(tasks: &mut TaskGroup) -> (String, Received) {
    let received = Received::default();
    let store = Arc::clone(&received);
    let router = Router::new().fallback(async move |request: Request| {
        let signature = request.headers()[SIGNATURE_HEADER].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(request.into_body(), 100_000).await.unwrap();
        store.lock().unwrap().push((signature, body.to_vec()));
        "ok"
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhook", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, received)
}

async fn new_call(fixture: &FakeFixture) -> String {
    let (_, answer) = fixture.post("/v3/create-web-call", json!({ "agent_id": "agent_llm" })).await;
    answer["call_id"].as_str().unwrap().to_owned()
}

fn played(events: &[&'static str]) -> Vec<PlayedEvent> {
    events.iter().map(|event| PlayedEvent { event, status: Some(200) }).collect()
}

/// Source: Retell's Python package, `lib/webhook_auth.py`; the key with the webhook badge signs.
#[tokio::test]
async fn a_call_posts_its_events_in_order_signed_with_the_webhook_key() {
    let mut tasks = TaskGroup::default();
    let (url, received) = start_receiver(&mut tasks).await;
    let mut workspace = seed();
    workspace.webhook_url = Some(url);
    workspace.add_key(Some("webhooks"), "key_that_signs");
    workspace.set_webhook_key("key_that_signs");
    let fixture = FakeFixture::start_with(workspace).await;
    let call_id = new_call(&fixture).await;
    let events = fixture.fake.play_call(&call_id).await.unwrap();
    assert_eq!(events, played(&["call_started", "call_ended", "call_analyzed"]));
    let received = std::mem::take(&mut *received.lock().unwrap());
    assert_eq!(received.len(), 3);
    for ((signature, body), played) in received.iter().zip(&events) {
        let body_json: Value = serde_json::from_slice(body).unwrap();
        assert_eq!((&body_json["event"], &body_json["call"]["call_id"]), (&json!(played.event), &json!(call_id)));
        let sent: Signature = signature.parse().unwrap();
        let expected = Signature::sign(&ApiKey::from("key_that_signs"), body, sent.timestamp_ms());
        assert_eq!(signature, &expected.to_string());
    }
    let (_, call) = fixture.get(&format!("/v2/get-call/{call_id}")).await;
    assert_eq!((&call["call_status"], &call["call_analysis"]["user_sentiment"]), (&json!("ended"), &json!("Neutral")));
}

/// Source: Retell's documentation of webhooks, revision of August 2026.
#[tokio::test]
async fn the_url_of_the_agent_version_replaces_that_of_the_account() {
    let mut tasks = TaskGroup::default();
    let (account_url, account) = start_receiver(&mut tasks).await;
    let (agent_url, agent) = start_receiver(&mut tasks).await;
    let mut workspace = seed();
    workspace.webhook_url = Some(account_url);
    let fixture = FakeFixture::start_with(workspace).await;
    fixture.post("/create-agent-version/agent_llm", json!({ "base_version": 0 })).await;
    let patch = json!({ "webhook_url": agent_url, "webhook_events": ["call_analyzed"] });
    fixture.patch("/update-agent/agent_llm?version=1", patch).await;
    let events = fixture.fake.play_call(&new_call(&fixture).await).await.unwrap();
    assert_eq!(events, played(&["call_analyzed"]));
    assert_eq!((account.lock().unwrap().len(), agent.lock().unwrap().len()), (0, 1));
}

/// Nothing is sent to other machines, even if the test data contains such URLs.
#[tokio::test]
async fn a_call_is_not_played_to_other_machines_or_without_a_key() {
    let fixture = FakeFixture::start().await;
    let call_id = new_call(&fixture).await;
    assert!(matches!(fixture.fake.play_call("unknown").await, Err(PlayError::UnknownCall(_))));
    assert!(matches!(fixture.fake.play_call(&call_id).await, Err(PlayError::NoWebhookUrl(_))));
    for url in ["https://example.com/webhook", "http://10.0.0.1/", "not a URL"] {
        fixture.fake.edit(|workspaces| workspaces.first_mut().webhook_url = Some(url.to_owned()));
        assert!(matches!(fixture.fake.play_call(&call_id).await, Err(PlayError::NotLocal(_))), "{url}");
    }
    fixture.fake.edit(|workspaces| {
        workspaces.first_mut().webhook_url = Some("http://localhost:1/".to_owned());
        workspaces.first_mut().set_webhook_key("key_unknown");
    });
    assert!(matches!(fixture.fake.play_call(&call_id).await, Err(PlayError::NoWebhookKey(_))));
    fixture.fake.edit(|workspaces| workspaces.first_mut().set_webhook_key(KEY));
    let unanswered = PlayedEvent { event: "call_started", status: None };
    assert_eq!(fixture.fake.play_call(&call_id).await.unwrap()[0], unanswered);
}
