use serde_json::{Value, json};

use super::support::{FakeFixture, item_values, seed};
use crate::retell::fake::AgentSeed;

/// Source: Retell's SDK 6.2.13, `resources/agent.py`; the copy of the engine is documented under agent versions.
#[tokio::test]
async fn a_new_draft_has_a_copy_of_its_engine_as_a_new_version() {
    let fixture = FakeFixture::start().await;
    fixture.patch("/update-agent/agent_llm?version=0", json!({ "version_title": "first" })).await;
    let (status, draft) = fixture.post("/create-agent-version/agent_llm", json!({ "base_version": 0 })).await;
    assert_eq!((status, &draft["version"], &draft["base_version"]), (201, &json!(1), &json!(0)));
    assert_eq!((&draft["is_published"], draft.get("version_title")), (&json!(false), None));
    assert_eq!(draft["response_engine"], json!({ "type": "retell-llm", "llm_id": "llm_agent_llm", "version": 1 }));
    fixture.patch("/update-retell-llm/llm_agent_llm?version=1", json!({ "general_prompt": "new" })).await;
    let prompt = async |version: u64| {
        let (_, llm) = fixture.get(&format!("/get-retell-llm/llm_agent_llm?version={version}")).await;
        llm["general_prompt"].clone()
    };
    assert_eq!(prompt(1).await, "new");
    assert_ne!(prompt(0).await, "new");
}

/// Source: Retell's SDK 6.2.13, `resources/agent.py`: publishes "in place" and answers without a document.
#[tokio::test]
async fn a_publication_publishes_agent_and_engine_in_place_and_answers_without_a_body() {
    let fixture = FakeFixture::start().await;
    fixture.post("/create-agent-version/agent_llm", json!({ "base_version": 0 })).await;
    let publication = json!({ "version": 1, "version_title": "plan 118", "version_description": "hours" });
    assert_eq!(fixture.post("/publish-agent-version/agent_llm", publication).await, (200, json!("")));
    let (_, versions) = fixture.get("/list-agent-versions/agent_llm").await;
    assert_eq!(item_values(&versions, "version"), [1, 0]);
    assert_eq!(item_values(&versions, "is_published"), [true, true]);
    assert_eq!(
        (&versions["items"][0]["version_title"], &versions["items"][0]["base_version"]),
        (&json!("plan 118"), &json!(0))
    );
    assert_eq!(fixture.get("/get-agent/agent_llm?version=latest_published").await.1["version"], 1);
    assert_eq!(fixture.patch("/update-retell-llm/llm_agent_llm?version=1", json!({ "model": "x" })).await.0, 400);
}

/// Source: Retell's SDK 6.2.13, `types/phone_number_response.py`: the version that was published last.
#[tokio::test]
async fn an_older_draft_that_is_published_later_is_latest_published() {
    let fixture = FakeFixture::start().await;
    for _ in 0..2 {
        fixture.post("/create-agent-version/agent_llm", json!({ "base_version": 0 })).await;
    }
    for version in [2, 1] {
        fixture.post("/publish-agent-version/agent_llm", json!({ "version": version })).await;
    }
    assert_eq!(fixture.get("/get-agent/agent_llm?version=latest_published").await.1["version"], 1);
    assert_eq!(fixture.get("/get-agent/agent_llm?version=latest").await.1["version"], 2);
}

/// Source: Retell's SDK 6.2.13, `resources/agent.py`; that published versions stay follows from their immutability.
#[tokio::test]
async fn drafts_can_be_deleted_and_published_versions_cannot() {
    let fixture = FakeFixture::start().await;
    fixture.post("/create-agent-version/agent_flow", json!({ "base_version": 0 })).await;
    assert_eq!(fixture.delete("/delete-agent-version/agent_flow?version=0").await.0, 400);
    assert_eq!(fixture.delete("/delete-agent-version/agent_flow?version=1").await, (204, json!("")));
    assert_eq!(fixture.get("/get-agent/agent_flow?version=1").await.0, 422);
    assert_eq!(fixture.get("/get-conversation-flow/flow_agent_flow?version=1").await.0, 422);
    let (_, next) = fixture.post("/create-agent-version/agent_flow", json!({ "base_version": 0 })).await;
    assert_eq!(next["version"], 2, "a number is not used again");
}

#[tokio::test]
async fn requests_without_their_required_fields_get_400() {
    let fixture = FakeFixture::start().await;
    assert_eq!(fixture.post("/create-agent-version/agent_llm", json!({})).await.0, 400);
    assert_eq!(fixture.post("/publish-agent-version/agent_llm", json!({})).await.0, 400);
    assert_eq!(fixture.delete("/delete-agent-version/agent_llm").await.0, 400);
    assert_eq!(fixture.patch("/update-agent/agent_llm?version=prod", json!({})).await.0, 400);
    assert_eq!(fixture.patch("/update-agent/agent_llm", json!([])).await.0, 400);
    assert_eq!(fixture.post("/create-agent-version/agent_llm", json!({ "base_version": 9 })).await.0, 422);
}

/// Unknown keys of the state survive, so that a client that drops them is found out.
#[tokio::test]
async fn unknown_keys_of_the_state_are_kept() {
    let mut workspace = seed();
    let tool = json!({ "type": "hologram", "name": "wave", "intensity": 0.4 });
    AgentSeed::with_llm("agent_new")
        .unpublished()
        .tool(tool.clone())
        .agent_key("future", json!({ "a": 1 }))
        .engine_key("model", "gpt-5")
        .add_to(&mut workspace);
    let fixture = FakeFixture::start_with(workspace).await;
    fixture.patch("/update-agent/agent_new", json!({ "webhook_url": null })).await;
    let (_, agent) = fixture.get("/get-agent/agent_new").await;
    assert_eq!((&agent["future"], &agent["webhook_url"]), (&json!({ "a": 1 }), &Value::Null));
    let (_, llm) = fixture.get("/get-retell-llm/llm_agent_new").await;
    assert_eq!((&llm["general_tools"][1], &llm["model"]), (&tool, &json!("gpt-5")));
}

/// A client skips agents whose time has not changed, so every change needs a new time.
#[tokio::test]
async fn every_change_has_a_later_modification_time() {
    let fixture = FakeFixture::start().await;
    fixture.post("/create-agent-version/agent_llm", json!({ "base_version": 0 })).await;
    let mut last_ms = 0;
    for name in ["a", "b", "c"] {
        fixture.patch("/update-agent/agent_llm", json!({ "agent_name": name })).await;
        let (_, list) = fixture.post("/v2/list-agents", json!({})).await;
        let agent = list["items"].as_array().unwrap().iter().find(|item| item["agent_id"] == "agent_llm").unwrap();
        let modified_ms = agent["user_modified_timestamp"].as_i64().unwrap();
        assert!(modified_ms > last_ms);
        last_ms = modified_ms;
    }
}
