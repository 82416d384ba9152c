use serde_json::{Value, json};

use super::support::{FakeFixture, item_values, seed};

/// A fake with the calls `call_0` to `call_9`, one per second; odd ones are of `agent_flow`, and `call_9` is ongoing.
async fn fixture_with_calls() -> FakeFixture {
    let mut workspace = seed();
    for index in 0..10 {
        let agent_id = if index % 2 == 0 { "agent_llm" } else { "agent_flow" };
        workspace.add_call(json!({
            "call_id": format!("call_{index}"), "agent_id": agent_id, "agent_version": index % 3,
            "call_status": if index == 9 { "ongoing" } else { "ended" }, "start_timestamp": 1_000 * index,
            "transcript": "Agent: Hello", "transcript_object": [], "transcript_with_tool_calls": [],
        }));
        workspace.add_chat(json!({ "chat_id": format!("chat_{index}"), "start_timestamp": 1_000 * index }));
    }
    FakeFixture::start_with(workspace).await
}

async fn call_ids(fixture: &FakeFixture, body: Value) -> Vec<String> {
    let (status, list) = fixture.post("/v3/list-calls", body).await;
    assert_eq!(status, 200, "{list}");
    item_values(&list, "call_id").into_iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// Source: Retell's SDK 6.2.13, `types/call_list_response.py`.
#[tokio::test]
async fn items_of_the_call_list_have_no_transcripts() {
    let fixture = fixture_with_calls().await;
    let (_, list) = fixture.post("/v3/list-calls", json!({ "limit": 1 })).await;
    let keys: Vec<_> = list["items"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["agent_id", "agent_version", "call_id", "call_status", "start_timestamp"]);
}

/// Source: Retell's SDK 6.2.13, `types/call_list_params.py`.
#[tokio::test]
async fn calls_are_filtered_by_time_agent_and_status() {
    let fixture = fixture_with_calls().await;
    let criteria = json!({ "filter_criteria": {
        "start_timestamp": { "type": "range", "op": "bt", "value": [2_000, 9_000] },
        "agent": [{ "agent_id": "agent_flow", "version": [0, 1] }, { "agent_id": "unknown" }],
        "call_status": { "type": "enum", "op": "in", "value": ["ended", "error"] },
    } });
    assert_eq!(call_ids(&fixture, criteria).await, ["call_7", "call_3"]);
    for (field, filter, count) in [
        ("call_id", json!({ "type": "string", "op": "ew", "value": "_4" }), 1),
        ("call_id", json!({ "type": "string", "op": "co", "value": "all" }), 10),
        ("start_timestamp", json!({ "type": "number", "op": "ge", "value": 7_000 }), 3),
        ("duration_ms", json!({ "type": "number", "op": "lt", "value": 7_000 }), 0),
        ("duration_ms", json!({ "type": "present", "op": "np" }), 10),
        ("in_voicemail", json!({ "type": "boolean", "op": "eq", "value": true }), 0),
    ] {
        let ids = call_ids(&fixture, json!({ "filter_criteria": { field: filter } })).await;
        assert_eq!(ids.len(), count, "{field}");
    }
    for filter in [json!({ "type": "range", "op": "in", "value": [1, 2] }), json!({ "op": "eq" }), json!("ended")] {
        let body = json!({ "filter_criteria": { "call_status": filter } });
        assert_eq!(fixture.post("/v3/list-calls", body).await.0, 400);
    }
}

/// Source: Retell's OpenAPI text of April 2026, `PaginatedResponseBase`.
#[tokio::test]
async fn pages_continue_after_their_cursor_while_calls_are_added() {
    let fixture = fixture_with_calls().await;
    let mut found = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let mut body = json!({ "limit": 4 });
        if cursor.is_string() {
            body["pagination_key"] = cursor;
        }
        let (_, list) = fixture.post("/v3/list-calls", body).await;
        found.extend(item_values(&list, "call_id").into_iter().map(|id| id.as_str().unwrap().to_owned()));
        cursor = list["pagination_key"].clone();
        assert_eq!(list["has_more"].as_bool().unwrap(), cursor.is_string(), "the last page has no cursor");
        if cursor.is_null() {
            break;
        }
        let newer = json!({ "call_id": format!("call_new_{}", found.len()), "start_timestamp": 99_000 });
        fixture.fake.edit(|workspaces| workspaces.first_mut().add_call(newer));
    }
    let expected: Vec<_> = (0..10).rev().map(|index| format!("call_{index}")).collect();
    assert_eq!(found, expected);
}

/// Source: Retell's OpenAPI text of April 2026, parameter `limit`.
#[tokio::test]
async fn a_page_has_50_items_by_default_and_at_most_1000() {
    let fixture = FakeFixture::start().await;
    fixture.fake.edit(|workspaces| {
        for index in 0..1_001 {
            workspaces.first_mut().add_call(json!({ "call_id": format!("call_{index}"), "start_timestamp": index }));
        }
    });
    assert_eq!(call_ids(&fixture, json!({})).await.len(), 50);
    assert_eq!(call_ids(&fixture, json!({ "limit": 1_000 })).await.len(), 1_000);
    for limit in [json!(1_001), json!(0), json!(-1), json!("ten")] {
        assert_eq!(fixture.post("/v3/list-calls", json!({ "limit": limit })).await.0, 400);
    }
    for path in ["/v2/list-phone-numbers?limit=1001", "/v2/list-phone-numbers?limit=x"] {
        assert_eq!(fixture.get(path).await.0, 400);
    }
}

/// Source: Retell's documentation of list-calls, revision of August 2026.
#[tokio::test]
async fn skip_and_pagination_key_exclude_each_other() {
    let fixture = fixture_with_calls().await;
    let (_, first) = fixture.post("/v3/list-calls", json!({ "limit": 2 })).await;
    let both = json!({ "skip": 1, "pagination_key": first["pagination_key"] });
    assert_eq!(fixture.post("/v3/list-calls", both).await.0, 400);
    let skipped = json!({ "skip": 8, "sort_order": "ascending" });
    assert_eq!(call_ids(&fixture, skipped).await, ["call_8", "call_9"]);
}

/// Source: Retell's SDK 6.2.13, `types/call_list_params.py`: the total ignores limit, skip and cursor.
#[tokio::test]
async fn the_total_is_counted_on_request_only() {
    let fixture = fixture_with_calls().await;
    let (_, list) = fixture.post("/v3/list-calls", json!({ "limit": 2 })).await;
    assert_eq!(list["total"], Value::Null);
    let body = json!({ "limit": 2, "pagination_key": list["pagination_key"], "include_total": true });
    let (_, list) = fixture.post("/v3/list-calls", body).await;
    assert_eq!((&list["total"], item_values(&list, "call_id").len()), (&json!(10), 2));
    let (_, chats) = fixture.post("/v3/list-chats", json!({ "include_total": true, "limit": 3 })).await;
    assert_eq!((&chats["total"], &chats["items"][0]["chat_id"]), (&json!(10), &json!("chat_9")));
}

#[tokio::test]
async fn invalid_cursors_and_sort_orders_get_400() {
    let fixture = fixture_with_calls().await;
    for body in [json!({ "pagination_key": "zz" }), json!({ "sort_order": "random" })] {
        assert_eq!(fixture.post("/v3/list-calls", body).await.0, 400);
    }
}
