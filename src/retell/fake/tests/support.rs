//! A small client, and a workspace with one agent of each kind.

use std::time::Duration;

use serde_json::{Value, json};

use crate::egress::{Client, build_client};
use crate::retell::fake::{AgentSeed, FakeRetell, Workspace, custom_tool, number_bound_to};

pub(super) const KEY: &str = "key_of_the_first_workspace";
pub(super) const NUMBER: &str = "+14155550100";

/// Status and body of an answer. A body that is not JSON is a JSON string.
pub(super) type Answered = (u16, Value);

/// A fake with a client that uses its first key.
pub(super) struct FakeFixture {
    pub(super) fake: FakeRetell,
    client: Client,
}

impl FakeFixture {
    pub(super) async fn start() -> Self {
        Self::start_with(seed()).await
    }

    pub(super) async fn start_with(seed: Workspace) -> Self {
        let client = build_client(Duration::from_secs(30)).unwrap();
        Self { fake: FakeRetell::start(seed).await.unwrap(), client }
    }

    pub(super) async fn get(&self, path: &str) -> Answered {
        self.send("GET", path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answered {
        self.send("POST", path, Some(body)).await
    }

    pub(super) async fn patch(&self, path: &str, body: Value) -> Answered {
        self.send("PATCH", path, Some(body)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answered {
        self.send("DELETE", path, None).await
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answered {
        self.try_send(method, path, body, Some(KEY)).await.unwrap()
    }

    /// Sends a request with `key`; `None` when the answer is missing or incomplete.
    pub(super) async fn try_send(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        key: Option<&str>,
    ) -> Option<Answered> {
        let url = format!("{}{path}", self.fake.base_url());
        let mut request = self.client.request(method.parse().unwrap(), url);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let text = response.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// The `Retry-After` header of a GET.
    pub(super) async fn retry_after(&self, path: &str) -> Option<String> {
        let request = self.client.get(format!("{}{path}", self.fake.base_url()));
        let response = request.header("authorization", format!("Bearer {KEY}")).send().await.unwrap();
        response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned())
    }
}

/// Agents `agent_llm` (with a function and a number), `agent_flow` and `agent_chat`, all published.
pub(super) fn seed() -> Workspace {
    let mut workspace = Workspace::new("org_1", "Dental practice", KEY);
    let tool = custom_tool("find_customer", "http://127.0.0.1:9/functions/find_customer");
    AgentSeed::with_llm("agent_llm").tool(tool.clone()).add_to(&mut workspace);
    AgentSeed::with_flow("agent_flow").tool(tool).add_to(&mut workspace);
    AgentSeed::with_llm("agent_chat").for_chats().add_to(&mut workspace);
    number_bound_to(&mut workspace, NUMBER, "agent_llm", None);
    workspace.voices.push(json!({ "voice_id": "11labs-Adrian", "voice_name": "Adrian", "provider": "elevenlabs" }));
    workspace
}

/// The values of `key` in the items of a list.
pub(super) fn item_values<'a>(list: &'a Value, key: &str) -> Vec<&'a Value> {
    list["items"].as_array().unwrap().iter().map(|item| &item[key]).collect()
}
