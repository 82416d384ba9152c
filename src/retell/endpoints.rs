//! The endpoints that are read, a function each.

use serde::de::DeserializeOwned;
use serde_json::json;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::client::{ReadRequest, RetellClient};
use super::documents::{AgentChannel, AgentItem, AgentVersion, Document, KeyInfo, ResponseEngine};
use super::error::RetellError;
use super::pages::{ListPage, read_all};

/// The largest page that Retell sends.
const PAGE_ITEMS: usize = 1_000;

/// Start times of calls or chats, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallRange {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

impl RetellClient {
    /// The workspace and the name of the key.
    pub(crate) async fn key_info(&self) -> Result<KeyInfo, RetellError> {
        self.get("GET /get-api-key-info", "/get-api-key-info".to_owned()).await
    }

    /// All agents of one channel.
    pub(crate) async fn list_agents(&self, channel: AgentChannel) -> Result<Vec<AgentItem>, RetellError> {
        const ENDPOINT: &str = "POST /v2/list-agents";
        let body = json!({"filter_criteria": {"channel": {"type": "string", "op": "eq", "value": channel.as_str()}}});
        read_all(ENDPOINT, async |cursor| {
            let path_and_query = format!("/v2/list-agents?{}", page_query(cursor));
            self.post(ENDPOINT, path_and_query, body.to_string()).await
        })
        .await
    }

    /// All versions of an agent, drafts included.
    pub(crate) async fn list_agent_versions(&self, agent_id: &str) -> Result<Vec<AgentVersion>, RetellError> {
        const ENDPOINT: &str = "GET /list-agent-versions";
        read_all(ENDPOINT, async |cursor| {
            let path_and_query = format!("/list-agent-versions/{}?{}", encode(agent_id), page_query(cursor));
            self.get(ENDPOINT, path_and_query).await
        })
        .await
    }

    /// An agent. `version` is a number, `latest`, `latest_published` or a tag; without it Retell sends the newest
    /// version, drafts included.
    pub(crate) async fn get_agent(
        &self,
        channel: AgentChannel,
        agent_id: &str,
        version: Option<&str>,
    ) -> Result<Document, RetellError> {
        let (endpoint, path) = match channel {
            AgentChannel::Voice => ("GET /get-agent", "/get-agent"),
            AgentChannel::Chat => ("GET /get-chat-agent", "/get-chat-agent"),
        };
        self.get(endpoint, versioned(path, agent_id, version)).await
    }

    /// What generates the words of an agent; `None` for one that Retell does not keep.
    pub(crate) async fn get_engine(&self, engine: &ResponseEngine) -> Result<Option<Document>, RetellError> {
        let (endpoint, path, id, version) = match engine {
            ResponseEngine::RetellLlm { llm_id, version } => {
                ("GET /get-retell-llm", "/get-retell-llm", llm_id, version)
            }
            ResponseEngine::ConversationFlow { conversation_flow_id, version } => {
                ("GET /get-conversation-flow", "/get-conversation-flow", conversation_flow_id, version)
            }
            ResponseEngine::Other => return Ok(None),
        };
        let version = version.map(|version| version.to_string());
        self.get(endpoint, versioned(path, id, version.as_deref())).await.map(Some)
    }

    pub(crate) async fn list_phone_numbers(&self) -> Result<Vec<Document>, RetellError> {
        const ENDPOINT: &str = "GET /v2/list-phone-numbers";
        read_all(ENDPOINT, async |cursor| {
            self.get(ENDPOINT, format!("/v2/list-phone-numbers?{}", page_query(cursor))).await
        })
        .await
    }

    pub(crate) async fn list_voices(&self) -> Result<Vec<Document>, RetellError> {
        self.get("GET /list-voices", "/list-voices".to_owned()).await
    }

    /// The newest calls that started within the range, at most `limit`.
    pub(crate) async fn list_calls(&self, range: CallRange, limit: usize) -> Result<ListPage<Document>, RetellError> {
        self.post("POST /v3/list-calls", "/v3/list-calls".to_owned(), conversation_filter(range, limit)).await
    }

    /// A call with its transcript.
    pub(crate) async fn get_call(&self, call_id: &str) -> Result<Document, RetellError> {
        self.get("GET /v2/get-call", format!("/v2/get-call/{}", encode(call_id))).await
    }

    /// The newest chats that started within the range, at most `limit`.
    pub(crate) async fn list_chats(&self, range: CallRange, limit: usize) -> Result<ListPage<Document>, RetellError> {
        self.post("POST /v3/list-chats", "/v3/list-chats".to_owned(), conversation_filter(range, limit)).await
    }

    /// An endpoint that Retell does not have, to see how it answers.
    pub(crate) async fn get_unknown_endpoint(&self) -> Result<Document, RetellError> {
        self.get("GET /no-such-endpoint", "/no-such-endpoint".to_owned()).await
    }

    async fn get<T: DeserializeOwned>(&self, endpoint: &'static str, path_and_query: String) -> Result<T, RetellError> {
        self.read(ReadRequest { endpoint, path_and_query, body: None }).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        endpoint: &'static str,
        path_and_query: String,
        body: String,
    ) -> Result<T, RetellError> {
        self.read(ReadRequest { endpoint, path_and_query, body: Some(body) }).await
    }
}

/// A part of a path. The plus of a phone number is encoded too.
fn encode(part: &str) -> String {
    byte_serialize(part.as_bytes()).collect()
}

fn versioned(path: &str, id: &str, version: Option<&str>) -> String {
    let query = version.map(|version| format!("?version={}", encode(version))).unwrap_or_default();
    format!("{path}/{}{query}", encode(id))
}

fn page_query(cursor: Option<String>) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("limit", &PAGE_ITEMS.to_string());
    if let Some(cursor) = cursor {
        query.append_pair("pagination_key", &cursor);
    }
    query.finish()
}

fn conversation_filter(range: CallRange, limit: usize) -> String {
    let started = json!({"type": "range", "op": "bt", "value": [range.from_ms, range.to_ms]});
    json!({"filter_criteria": {"start_timestamp": started}, "limit": limit, "sort_order": "descending"}).to_string()
}
