use serde_json::{Value, json};

use super::support::{FakeFixture, NUMBER};

/// Creates a draft of `agent_llm`, whose version 0 is published, and returns its version number.
async fn new_draft(fixture: &FakeFixture) -> u64 {
    let (status, draft) = fixture.post("/create-agent-version/agent_llm", json!({ "base_version": 0 })).await;
    assert_eq!(status, 201);
    draft["version"].as_u64().unwrap()
}

/// Source: live rejections of September 2026.
#[tokio::test]
async fn published_llms_and_flows_cannot_be_changed() {
    let fixture = FakeFixture::start().await;
    for path in ["/update-retell-llm/llm_agent_llm", "/update-conversation-flow/flow_agent_flow?version=0"] {
        let (status, body) = fixture.patch(path, json!({ "general_prompt": "x", "global_prompt": "x" })).await;
        assert_eq!(status, 400);
        assert!(body["message"].as_str().unwrap().starts_with("Cannot update published"), "{body}");
    }
    let (_, llm) = fixture.get("/get-retell-llm/llm_agent_llm").await;
    assert_ne!(llm["general_prompt"], "x");
}

/// Source: live rejections of September 2026.
#[tokio::test]
async fn published_agents_cannot_be_changed_except_for_the_version_title() {
    let fixture = FakeFixture::start().await;
    assert_eq!(fixture.patch("/update-agent/agent_llm", json!({ "agent_name": "x" })).await.0, 422);
    let both = json!({ "agent_name": "x", "version_title": "y" });
    assert_eq!(fixture.patch("/update-agent/agent_llm?version=0", both).await.0, 422);
    let (status, agent) = fixture.patch("/update-agent/agent_llm?version=0", json!({ "version_title": "y" })).await;
    assert_eq!((status, &agent["version_title"]), (200, &json!("y")));
    assert_eq!(agent["agent_name"], "Agent agent_llm");
}

/// Source: live rejections of September 2026.
#[tokio::test]
async fn the_response_engine_cannot_be_changed_in_a_draft_either() {
    let fixture = FakeFixture::start().await;
    let draft = new_draft(&fixture).await;
    let patch = json!({ "response_engine": { "type": "retell-llm", "llm_id": "llm_other" } });
    let (status, body) = fixture.patch(&format!("/update-agent/agent_llm?version={draft}"), patch).await;
    assert_eq!(status, 400);
    assert!(body["message"].as_str().unwrap().contains("response engine"), "{body}");
}

/// Source: Retell's SDK 6.2.13, `types/agent_update_params.py`.
#[tokio::test]
async fn a_patch_without_version_changes_the_newest_version() {
    let fixture = FakeFixture::start().await;
    let first = new_draft(&fixture).await;
    let second = new_draft(&fixture).await;
    fixture.patch("/update-agent/agent_llm", json!({ "agent_name": "changed" })).await;
    let name = async |version: u64| fixture.get(&format!("/get-agent/agent_llm?version={version}")).await.1;
    assert_eq!(name(first).await["agent_name"], "Agent agent_llm");
    assert_eq!(name(second).await["agent_name"], "changed");
}

/// Source: Retell's SDK 6.2.13, `types/phone_number_response.py`, and for get-agent a public project of 2025.
#[tokio::test]
async fn latest_and_no_version_include_drafts_and_latest_published_does_not() {
    let fixture = FakeFixture::start().await;
    let draft = new_draft(&fixture).await;
    for (query, expected, is_published) in
        [("", draft, false), ("?version=latest", draft, false), ("?version=latest_published", 0, true)]
    {
        let (_, agent) = fixture.get(&format!("/get-agent/agent_llm{query}")).await;
        assert_eq!((agent["version"].as_u64(), &agent["is_published"]), (Some(expected), &json!(is_published)));
        let (_, llm) = fixture.get(&format!("/get-retell-llm/llm_agent_llm{query}")).await;
        assert_eq!(llm["is_published"], is_published);
    }
}

/// Source: Retell's SDK 6.2.13, `types/phone_number_response.py`.
#[tokio::test]
async fn a_tag_means_its_version_and_an_unassigned_tag_means_latest() {
    let fixture = FakeFixture::start().await;
    let draft = new_draft(&fixture).await;
    fixture.fake.edit(|workspaces| {
        let agent = workspaces.first_mut().agents.get_mut("agent_llm").unwrap();
        agent.assign_tag("prod", Some(0));
        agent.assign_tag("staging", None);
    });
    let (_, prod) = fixture.get("/get-agent/agent_llm?version=prod").await;
    assert_eq!((prod["version"].as_u64(), &prod["assigned_tags"]), (Some(0), &json!(["prod"])));
    let (_, staging) = fixture.get("/get-agent/agent_llm?version=staging").await;
    assert_eq!((staging["version"].as_u64(), &staging["assigned_tags"]), (Some(draft), &json!([])));
}

/// Source: Retell's SDK 6.2.13, `types/phone_number_response.py`.
#[tokio::test]
async fn a_binding_without_version_serves_the_newest_draft() {
    let fixture = FakeFixture::start().await;
    let phone_call = json!({ "from_number": NUMBER, "to_number": "+14155550199" });
    let (_, before) = fixture.post("/v2/create-phone-call", phone_call.clone()).await;
    assert_eq!(before["agent_version"], 0);
    let draft = new_draft(&fixture).await;
    let (_, after) = fixture.post("/v2/create-phone-call", phone_call.clone()).await;
    assert_eq!(after["agent_version"].as_u64(), Some(draft));
    let pinned = json!({ "outbound_agents": [{ "agent_id": "agent_llm", "weight": 1, "agent_version": 0 }] });
    assert_eq!(fixture.patch("/update-phone-number/%2B14155550100", pinned).await.0, 200);
    let (_, pinned_call) = fixture.post("/v2/create-phone-call", phone_call).await;
    assert_eq!(pinned_call["agent_version"], 0);
}

/// Source: Retell's OpenAPI text of mid 2026.
#[tokio::test]
async fn a_stale_draft_gets_412() {
    let fixture = FakeFixture::start().await;
    let draft = new_draft(&fixture).await;
    fixture.fake.edit(|workspaces| {
        workspaces.first_mut().agents.get_mut("agent_llm").unwrap().history.mark_stale(draft);
    });
    let path = format!("/update-agent/agent_llm?version={draft}");
    assert_eq!(fixture.patch(&path, json!({ "agent_name": "x" })).await.0, 412);
}

/// Source: a public project that deployed through the API in 2025.
#[tokio::test]
async fn read_only_and_unknown_keys_of_a_patch_are_ignored_without_an_error() {
    let fixture = FakeFixture::start().await;
    let draft = new_draft(&fixture).await;
    let path = format!("/update-agent/agent_llm?version={draft}");
    let body = json!({
        "is_published": true, "last_modification_timestamp": 1, "version": 9, "agent_id": "x", "invented": 1,
        "agent_name": "changed",
    });
    let (status, agent) = fixture.patch(&path, body).await;
    assert_eq!((status, &agent["agent_name"], &agent["is_published"]), (200, &json!("changed"), &json!(false)));
    assert_eq!((agent["version"].as_u64(), &agent["agent_id"]), (Some(draft), &json!("agent_llm")));
    assert_eq!(agent["invented"], Value::Null);
    assert!(agent["last_modification_timestamp"].as_i64().unwrap() > 1_000_000);
    let ignored_only = json!({ "is_published": false });
    assert_eq!(fixture.patch("/update-agent/agent_llm?version=0", ignored_only).await.0, 200);
}

/// Source: Retell's SDK 6.2.13, `types/llm_update_params.py` and `types/conversation_flow_update_params.py`.
#[tokio::test]
async fn arrays_are_replaced_as_a_whole() {
    let fixture = FakeFixture::start().await;
    new_draft(&fixture).await;
    let states = json!({ "general_tools": [{ "type": "end_call", "name": "bye" }], "states": [{ "name": "a" }] });
    let (_, llm) = fixture.patch("/update-retell-llm/llm_agent_llm", states).await;
    assert_eq!(llm["general_tools"], json!([{ "type": "end_call", "name": "bye" }]));
    assert_eq!(llm["states"], json!([{ "name": "a" }]));
    assert_eq!(llm["begin_message"], "Hello, how can I help?", "keys that are not sent stay");
    fixture.post("/create-agent-version/agent_flow", json!({ "base_version": 0 })).await;
    let flow = json!({ "nodes": [], "tools": [] });
    let (_, flow) = fixture.patch("/update-conversation-flow/flow_agent_flow?version=1", flow).await;
    assert_eq!((&flow["nodes"], &flow["tools"]), (&json!([]), &json!([])));
}
