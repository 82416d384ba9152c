use serde_json::{Value, json};

use super::support::{FakeFixture, KEY, NUMBER, item_values, seed};

/// Source: Retell's SDK 6.2.13, `types/agent_list_response.py`.
#[tokio::test]
async fn items_of_the_agent_list_are_slim() {
    let mut workspace = seed();
    workspace.agents.get_mut("agent_llm").unwrap().assign_tag("prod", Some(0));
    let fixture = FakeFixture::start_with(workspace).await;
    let (_, list) = fixture.post("/v2/list-agents?sort_order=descending", json!({})).await;
    let item = &list["items"][0];
    let expected = json!({
        "agent_id": "agent_llm", "agent_name": "Agent agent_llm", "channel": "voice", "is_suspended": false,
        "tags": { "prod": { "version": 0, "dynamic_variables": {} } }, "user_modified_timestamp": 1_790_000_000_000_i64,
    });
    assert_eq!(item, &expected);
}

/// Source: Retell's SDK 6.2.13, `types/agent_list_params.py`: the body holds the filter only.
#[tokio::test]
async fn the_agent_list_filters_by_the_body_and_pages_by_the_query() {
    let fixture = FakeFixture::start().await;
    let chat = json!({ "filter_criteria": { "channel": { "type": "string", "op": "eq", "value": "chat" } } });
    let (_, list) = fixture.post("/v2/list-agents", chat).await;
    assert_eq!(item_values(&list, "agent_id"), ["agent_chat"]);
    let (_, list) = fixture.post("/v2/list-agents", json!({ "limit": 1 })).await;
    assert_eq!(item_values(&list, "agent_id").len(), 3, "a limit in the body has no effect");
    let (_, list) = fixture.post("/v2/list-agents?limit=1", json!({})).await;
    assert_eq!(item_values(&list, "agent_id").len(), 1);
}

#[tokio::test]
async fn chat_agents_are_read_and_patched_by_their_own_endpoints() {
    let fixture = FakeFixture::start().await;
    assert_eq!(fixture.get("/get-chat-agent/agent_chat").await.1["channel"], "chat");
    fixture.post("/create-agent-version/agent_chat", json!({ "base_version": 0 })).await;
    let patch = json!({ "auto_close_message": "Goodbye", "voice_id": "11labs-Adrian" });
    let (status, agent) = fixture.patch("/update-chat-agent/agent_chat?version=1", patch.clone()).await;
    assert_eq!((status, &agent["auto_close_message"], &agent["voice_id"]), (200, &json!("Goodbye"), &Value::Null));
    assert_eq!(fixture.patch("/update-agent/agent_chat?version=1", patch).await.0, 422);
}

#[tokio::test]
async fn engine_lists_have_the_newest_version_of_each() {
    let fixture = FakeFixture::start().await;
    fixture.post("/create-agent-version/agent_llm", json!({ "base_version": 0 })).await;
    let (_, llms) = fixture.get("/v2/list-retell-llms?sort_order=ascending").await;
    assert_eq!(item_values(&llms, "llm_id"), ["llm_agent_chat", "llm_agent_llm"]);
    assert_eq!(item_values(&llms, "version"), [0, 1]);
    let (_, flows) = fixture.get("/v2/list-conversation-flows").await;
    assert_eq!(item_values(&flows, "conversation_flow_id"), ["flow_agent_flow"]);
}

/// Source: Retell's SDK 6.2.13, `types/voice_list_response.py` and `types/concurrency_retrieve_response.py`.
#[tokio::test]
async fn voices_are_a_bare_array_and_concurrency_is_an_object() {
    let fixture = FakeFixture::start().await;
    assert_eq!(fixture.get("/list-voices").await.1[0]["voice_id"], "11labs-Adrian");
    assert_eq!(fixture.get("/get-concurrency").await.1["concurrency_limit"], 20);
}

/// Source: Retell's OpenAPI text of April 2026, list-test-case-definitions.
#[tokio::test]
async fn test_cases_are_listed_for_one_engine() {
    let mut workspace = seed();
    for (id, version) in [("test_0", 0), ("test_1", 1)] {
        let engine = json!({ "type": "retell-llm", "llm_id": "llm_agent_llm", "version": version });
        workspace.add_test_case(json!({ "test_case_definition_id": id, "response_engine": engine }));
    }
    let fixture = FakeFixture::start_with(workspace).await;
    assert_eq!(fixture.get("/v2/list-test-case-definitions").await.0, 400);
    let path = "/v2/list-test-case-definitions?type=retell-llm&llm_id=";
    let (_, list) = fixture.get(&format!("{path}llm_agent_llm")).await;
    assert_eq!(item_values(&list, "test_case_definition_id"), ["test_1", "test_0"]);
    let (_, list) = fixture.get(&format!("{path}llm_agent_llm&version=0")).await;
    assert_eq!(item_values(&list, "test_case_definition_id"), ["test_0"]);
    assert_eq!(fixture.get(&format!("{path}llm_other")).await.1["items"], json!([]));
}

/// The state can be changed while the fake runs, as in the dashboard.
#[tokio::test]
async fn a_change_of_the_state_is_served_at_once() {
    let fixture = FakeFixture::start().await;
    fixture.fake.edit(|workspaces| {
        let now_ms = workspaces.next_timestamp();
        let agent = workspaces.first_mut().agents.get_mut("agent_llm").unwrap();
        let mut draft = agent.history.get(0).unwrap().clone();
        draft.insert("agent_name".into(), "Renamed".into());
        draft.insert("last_modification_timestamp".into(), now_ms.into());
        agent.history.add_draft(draft);
    });
    assert_eq!(fixture.get("/get-agent/agent_llm").await.1["agent_name"], "Renamed");
}

/// Dropping the fake closes its port, so that a test can stop Retell.
#[tokio::test]
async fn a_dropped_fake_is_unreachable() {
    let fixture = FakeFixture::start().await;
    assert_eq!(fixture.get("/get-concurrency").await.0, 200);
    let address = fixture.fake.base_url().replace("http://", "");
    drop(fixture);
    // The listener closes when the aborted task is next polled.
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_call_can_be_read_with_its_transcript() {
    let mut workspace = seed();
    workspace.add_call(json!({ "call_id": "call_1", "transcript": "Agent: Hello", "to_number": NUMBER }));
    workspace.add_chat(json!({ "chat_id": "chat_1", "transcript": "Agent: Hello" }));
    let fixture = FakeFixture::start_with(workspace).await;
    assert_eq!(fixture.get("/v2/get-call/call_1").await.1["transcript"], "Agent: Hello");
    assert_eq!(fixture.get("/get-chat/chat_1").await.1["transcript"], "Agent: Hello");
    assert!(fixture.try_send("GET", "/v2/get-call/call_1", None, Some(KEY)).await.is_some());
}
