//! Test data: agents with their engine, numbers bound to them, and functions.

use serde_json::{Value, json};

use super::versions::{AgentRecord, Channel, DocumentFields, VersionHistory};
use super::workspace::Workspace;

/// An agent with an engine. The document keys that a test does not set have plain values.
pub(crate) struct AgentSeed {
    agent_id: String,
    channel: Channel,
    response_engine: Value,
    agent: DocumentFields,
    engine: DocumentFields,
    /// Modification time of the first version of both.
    created_ms: i64,
    is_published: bool,
}

impl AgentSeed {
    /// A voice agent with the Retell LLM `llm_<agent_id>`. Version 0 of both is published.
    pub(crate) fn with_llm(agent_id: &str) -> Self {
        let llm_id = format!("llm_{agent_id}");
        let engine = json!({
            "llm_id": llm_id, "general_prompt": "You answer the phone of a dental practice.",
            "begin_message": "Hello, how can I help?", "model": "gpt-4.1", "start_speaker": "agent",
            "general_tools": [{ "type": "end_call", "name": "end_call", "description": "End the call." }],
        });
        Self::new(agent_id, json!({ "type": "retell-llm", "llm_id": llm_id, "version": 0 }), engine)
    }

    /// A voice agent with the conversation flow `flow_<agent_id>`. Version 0 of both is published.
    pub(crate) fn with_flow(agent_id: &str) -> Self {
        let flow_id = format!("flow_{agent_id}");
        let engine = json!({
            "conversation_flow_id": flow_id, "global_prompt": "You book appointments.", "start_node_id": "start",
            "nodes": [{ "id": "start", "type": "conversation", "edges": [] }], "tools": [], "start_speaker": "agent",
            "model_choice": { "type": "cascading", "model": "gpt-4.1" },
        });
        let response_engine = json!({ "type": "conversation-flow", "conversation_flow_id": flow_id, "version": 0 });
        Self::new(agent_id, response_engine, engine)
    }

    fn new(agent_id: &str, response_engine: Value, engine: Value) -> Self {
        let agent = json!({
            "agent_id": agent_id, "agent_name": format!("Agent {agent_id}"), "language": "en-US",
            "voice_id": "11labs-Adrian", "response_engine": response_engine,
        });
        Self {
            agent_id: agent_id.to_owned(),
            channel: Channel::Voice,
            response_engine,
            agent: object(agent),
            engine: object(engine),
            created_ms: 1_790_000_000_000,
            is_published: true,
        }
    }

    /// Makes it an agent for chats, which has no voice.
    pub(crate) fn for_chats(mut self) -> Self {
        self.channel = Channel::Chat;
        self.agent.remove("voice_id");
        self
    }

    /// Leaves version 0 a draft.
    pub(crate) fn unpublished(mut self) -> Self {
        self.is_published = false;
        self
    }

    /// Sets a key of the agent, such as `webhook_url`.
    pub(crate) fn agent_key(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.agent.insert(key.to_owned(), value.into());
        self
    }

    /// Sets a key of the engine, such as `general_prompt`.
    pub(crate) fn engine_key(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.engine.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a function to `general_tools` of an LLM or `tools` of a flow.
    pub(crate) fn tool(mut self, tool: Value) -> Self {
        let is_llm = self.response_engine["type"] == "retell-llm";
        let tools = self.engine.entry(if is_llm { "general_tools" } else { "tools" }).or_insert_with(|| json!([]));
        if let Some(tools) = tools.as_array_mut() {
            tools.push(tool);
        }
        self
    }

    /// Stores agent and engine in `workspace`.
    pub(crate) fn add_to(mut self, workspace: &mut Workspace) {
        for document in [&mut self.agent, &mut self.engine] {
            document.insert("last_modification_timestamp".into(), self.created_ms.into());
        }
        self.agent.insert("channel".into(), self.channel.name().into());
        let mut agent = AgentRecord::new(self.channel, self.agent);
        let mut engine = VersionHistory::new(self.engine);
        if self.is_published {
            agent.history.publish(0);
            engine.publish(0);
        }
        let engine_id = |key: &str| self.response_engine[key].as_str().map(str::to_owned);
        if let Some(llm_id) = engine_id("llm_id") {
            workspace.llms.insert(llm_id, engine);
        } else if let Some(flow_id) = engine_id("conversation_flow_id") {
            workspace.flows.insert(flow_id, engine);
        }
        workspace.agents.insert(self.agent_id, agent);
    }
}

/// A custom function that takes a name, and is called at `url`.
pub(crate) fn custom_tool(name: &str, url: &str) -> Value {
    json!({
        "type": "custom", "name": name, "url": url, "method": "POST", "description": "Looks up the customer.",
        "parameters": { "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] },
        "timeout_ms": 10_000, "speak_during_execution": true, "speak_after_execution": true,
    })
}

/// Adds `number` to `workspace`, bound to `agent_id` for inbound and outbound calls. Without a version, the newest
/// version answers, drafts included.
pub(crate) fn number_bound_to(workspace: &mut Workspace, number: &str, agent_id: &str, version: Option<Value>) {
    let mut binding = json!({ "agent_id": agent_id, "weight": 1 });
    if let Some(version) = version {
        binding["agent_version"] = version;
    }
    let document = json!({
        "phone_number": number, "phone_number_type": "retell-twilio", "nickname": "Front desk",
        "inbound_agents": [binding], "outbound_agents": [binding], "last_modification_timestamp": 1_790_000_000_000_i64,
    });
    workspace.numbers.insert(number.to_owned(), object(document));
}

fn object(value: Value) -> DocumentFields {
    match value {
        Value::Object(object) => object,
        _ => DocumentFields::new(),
    }
}
