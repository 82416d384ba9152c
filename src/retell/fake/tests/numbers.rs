use serde_json::json;

use super::support::{FakeFixture, NUMBER};

const PATH: &str = "/update-phone-number/%2B14155550100";

/// Source: live probe of August 2026.
#[tokio::test]
async fn a_binding_without_weight_gets_400() {
    let fixture = FakeFixture::start().await;
    for list in ["inbound_agents", "outbound_agents", "inbound_sms_agents", "outbound_sms_agents"] {
        assert_eq!(fixture.patch(PATH, json!({ list: [{ "agent_id": "agent_llm" }] })).await.0, 400, "{list}");
        assert_eq!(fixture.patch(PATH, json!({ list: [{ "weight": 1 }] })).await.0, 400, "{list}");
    }
}

/// Source: Retell's deprecation notice of 2026-03-31.
#[tokio::test]
async fn the_singular_agent_fields_get_400() {
    let fixture = FakeFixture::start().await;
    for field in ["inbound_agent_id", "outbound_agent_id", "inbound_agent_version"] {
        assert_eq!(fixture.patch(PATH, json!({ field: "agent_llm", "nickname": "x" })).await.0, 400, "{field}");
    }
    assert_eq!(fixture.get("/get-phone-number/%2B14155550100").await.1["nickname"], "Front desk");
}

/// Source: Retell's SDK 6.2.13, `types/phone_number_response.py`.
#[tokio::test]
async fn the_weights_of_a_list_add_up_to_one() {
    let fixture = FakeFixture::start().await;
    let bindings = |first: f64, second: f64| {
        let first = json!({ "agent_id": "agent_llm", "weight": first, "agent_version": "latest_published" });
        json!({ "inbound_agents": [first, { "agent_id": "agent_flow", "weight": second }] })
    };
    assert_eq!(fixture.patch(PATH, bindings(0.5, 0.4)).await.0, 400);
    let (status, number) = fixture.patch(PATH, bindings(0.7, 0.3)).await;
    assert_eq!((status, &number["inbound_agents"][0]["agent_version"]), (200, &json!("latest_published")));
    let (status, number) = fixture.patch(PATH, json!({ "inbound_agents": [] })).await;
    assert_eq!((status, &number["inbound_agents"]), (200, &json!([])));
}

/// Source: none for this endpoint; it follows from the rule for ids.
#[tokio::test]
async fn a_binding_to_an_unknown_agent_gets_422() {
    let fixture = FakeFixture::start().await;
    let patch = json!({ "inbound_agents": [{ "agent_id": "unknown", "weight": 1 }] });
    assert_eq!(fixture.patch(PATH, patch).await.0, 422);
}

#[tokio::test]
async fn the_plus_sign_of_a_number_may_be_encoded_or_plain() {
    let fixture = FakeFixture::start().await;
    for path in ["/get-phone-number/%2B14155550100", "/get-phone-number/+14155550100"] {
        let (status, number) = fixture.get(path).await;
        assert_eq!((status, &number["phone_number"]), (200, &json!(NUMBER)), "{path}");
    }
    let (_, list) = fixture.get("/v2/list-phone-numbers?limit=10").await;
    assert_eq!((&list["items"][0]["phone_number"], &list["has_more"]), (&json!(NUMBER), &json!(false)));
}
