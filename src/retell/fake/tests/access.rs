use serde_json::json;

use super::support::{FakeFixture, KEY, NUMBER, seed};
use crate::retell::fake::{AgentSeed, Workspace};

/// Source: live probe of August 2026.
#[tokio::test]
async fn a_missing_or_wrong_key_gets_401() {
    let fixture = FakeFixture::start().await;
    let expected = (401, json!({ "status": "error", "message": "API key is missing or invalid." }));
    for key in [None, Some("key_unknown")] {
        assert_eq!(fixture.try_send("GET", "/get-api-key-info", None, key).await, Some(expected.clone()));
    }
}

/// Source: Retell's SDK 6.2.13, `resources/identity.py`.
#[tokio::test]
async fn the_key_info_names_the_organization_and_the_key_if_it_has_a_name() {
    let fixture = FakeFixture::start().await;
    fixture.fake.edit(|workspaces| workspaces.first_mut().add_key(None, "key_without_name"));
    let named = json!({ "org_id": "org_1", "org_name": "Dental practice", "api_key_name": "default" });
    assert_eq!(fixture.get("/get-api-key-info").await, (200, named));
    let (_, unnamed) = fixture.try_send("GET", "/get-api-key-info", None, Some("key_without_name")).await.unwrap();
    assert_eq!(unnamed, json!({ "org_id": "org_1", "org_name": "Dental practice" }));
}

/// Source: live probe of August 2026 (text), and a live report of September 2026 (removed endpoints).
#[tokio::test]
async fn unknown_and_removed_routes_get_404_in_plain_text_also_without_a_key() {
    let fixture = FakeFixture::start().await;
    for (method, path) in [
        ("GET", "/get-agent-versions/agent_llm"),
        ("GET", "/list-agents"),
        ("POST", "/v2/list-calls"),
        ("POST", "/publish-agent/agent_llm"),
        ("POST", "/publish-agent-version"),
        ("PUT", "/get-concurrency"),
    ] {
        let answered = fixture.try_send(method, path, None, None).await;
        assert_eq!(answered, Some((404, format!("Cannot {method} {path}").into())));
    }
}

/// Source: Retell's OpenAPI text of April 2026.
#[tokio::test]
async fn unknown_ids_get_422_with_status_and_message() {
    let fixture = FakeFixture::start().await;
    for path in [
        "/get-agent/unknown",
        "/get-agent/agent_chat",
        "/get-chat-agent/agent_llm",
        "/get-agent/agent_llm?version=7",
        "/get-agent/agent_llm?version=prod",
        "/list-agent-versions/unknown",
        "/get-retell-llm/unknown",
        "/get-conversation-flow/flow_agent_flow?version=7",
        "/get-phone-number/%2B15555550000",
        "/v2/get-call/unknown",
        "/get-chat/unknown",
    ] {
        let (status, body) = fixture.get(path).await;
        assert_eq!((status, &body["status"]), (422, &json!("error")), "{path}");
        assert!(body["message"].is_string(), "{path}");
    }
}

/// Source: the same rule; the id of another workspace is unknown under the key.
#[tokio::test]
async fn ids_of_other_workspaces_are_unknown() {
    let fixture = FakeFixture::start().await;
    let mut other = Workspace::new("org_2", "Law firm", "key_of_the_second_workspace");
    AgentSeed::with_llm("agent_law").add_to(&mut other);
    fixture.fake.edit(|workspaces| workspaces.add(other));
    assert!(fixture.fake.edit(|workspaces| workspaces.get_mut("org_2").is_some()));
    assert_eq!(fixture.get("/get-agent/agent_law").await.0, 422);
    let second = Some("key_of_the_second_workspace");
    assert_eq!(fixture.try_send("GET", "/get-agent/agent_law", None, second).await.unwrap().0, 200);
}

/// Source: live probe of August 2026.
#[tokio::test]
async fn a_phone_call_without_a_card_gets_402_and_a_web_call_does_not() {
    let mut workspace = seed();
    workspace.has_card = false;
    let fixture = FakeFixture::start_with(workspace).await;
    let phone_call = json!({ "from_number": NUMBER, "to_number": "+14155550199" });
    assert_eq!(fixture.post("/v2/create-phone-call", phone_call).await.0, 402);
    let web_call = json!({ "agent_id": "agent_llm" });
    let (status, answer) = fixture.post("/v3/create-web-call", web_call).await;
    assert_eq!((status, &answer["transport"]), (201, &json!("gateway")));
    let call_id = answer["call_id"].as_str().unwrap();
    assert_eq!(fixture.get(&format!("/v2/get-call/{call_id}")).await.1["call_status"], "registered");
}

/// Source: SDK 6.1, `idempotency_key` of create-phone-call, valid for one hour.
#[tokio::test]
async fn a_repeated_phone_call_with_the_same_idempotency_key_is_one_call() {
    let fixture = FakeFixture::start().await;
    let mut phone_call = json!({ "from_number": NUMBER, "to_number": "+14155550199", "idempotency_key": "once" });
    let (_, first) = fixture.post("/v2/create-phone-call", phone_call.clone()).await;
    let (_, second) = fixture.post("/v2/create-phone-call", phone_call.clone()).await;
    assert_eq!(first["call_id"], second["call_id"]);
    phone_call["idempotency_key"] = "other".into();
    let (_, third) = fixture.post("/v2/create-phone-call", phone_call).await;
    assert_ne!(first["call_id"], third["call_id"]);
}

/// The fake does not record keys, so that a recording can be printed.
#[tokio::test]
async fn requests_are_recorded_without_their_keys() {
    let fixture = FakeFixture::start().await;
    fixture.patch("/update-retell-llm/llm_agent_llm?version=0", json!({ "model": "gpt-5" })).await;
    let requests = fixture.fake.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("PATCH", "/update-retell-llm/llm_agent_llm"));
    assert_eq!(requests[0].query, [("version".to_owned(), "0".to_owned())]);
    assert_eq!(requests[0].body, json!({ "model": "gpt-5" }));
    assert!(!format!("{requests:?}").contains(KEY));
}
