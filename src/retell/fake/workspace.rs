//! The state: workspaces with their keys and documents.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::versions::{AgentRecord, DocumentFields, VersionHistory};
use crate::base::clock::Clock;

/// One organization of Retell. Its ids are unknown to the keys of all others.
#[derive(Clone)]
pub(crate) struct Workspace {
    pub(crate) org_id: String,
    pub(crate) org_name: String,
    keys: Vec<WorkspaceKey>,
    /// Index of the key with the webhook badge, so that there is at most one.
    webhook_key: Option<usize>,
    /// Webhook URL of the account, which agents without a URL use. No endpoint reads or sets it.
    pub(crate) webhook_url: Option<String>,
    /// Whether a payment card is on file, without which no phone call can be made.
    pub(crate) has_card: bool,
    pub(crate) agents: BTreeMap<String, AgentRecord>,
    pub(crate) llms: BTreeMap<String, VersionHistory>,
    pub(crate) flows: BTreeMap<String, VersionHistory>,
    /// Phone numbers in E.164 form to their documents.
    pub(crate) numbers: BTreeMap<String, DocumentFields>,
    pub(crate) voices: Vec<Value>,
    pub(crate) test_cases: BTreeMap<String, DocumentFields>,
    pub(crate) calls: BTreeMap<String, DocumentFields>,
    pub(crate) chats: BTreeMap<String, DocumentFields>,
    pub(crate) concurrency: DocumentFields,
}

/// An API key of a workspace. Keys from before names existed have none.
#[derive(Clone)]
struct WorkspaceKey {
    name: Option<String>,
    secret: String,
}

impl Workspace {
    /// A workspace without agents. `secret` is its first API key, has the webhook badge, and is named "default".
    pub(crate) fn new(org_id: &str, org_name: &str, secret: &str) -> Self {
        let key = WorkspaceKey { name: Some("default".to_owned()), secret: secret.to_owned() };
        Self {
            org_id: org_id.to_owned(),
            org_name: org_name.to_owned(),
            keys: vec![key],
            webhook_key: Some(0),
            webhook_url: None,
            has_card: true,
            agents: BTreeMap::new(),
            llms: BTreeMap::new(),
            flows: BTreeMap::new(),
            numbers: BTreeMap::new(),
            voices: Vec::new(),
            test_cases: BTreeMap::new(),
            calls: BTreeMap::new(),
            chats: BTreeMap::new(),
            concurrency: default_concurrency(),
        }
    }

    pub(crate) fn add_key(&mut self, name: Option<&str>, secret: &str) {
        self.keys.push(WorkspaceKey { name: name.map(str::to_owned), secret: secret.to_owned() });
    }

    /// Moves the webhook badge to the key `secret`; an unknown key removes the badge.
    pub(crate) fn set_webhook_key(&mut self, secret: &str) {
        self.webhook_key = self.keys.iter().position(|key| key.secret == secret);
    }

    /// The key that signs webhooks.
    pub(super) fn webhook_secret(&self) -> Option<&str> {
        Some(self.keys.get(self.webhook_key?)?.secret.as_str())
    }

    fn has_key(&self, secret: &str) -> bool {
        self.keys.iter().any(|key| key.secret == secret)
    }

    /// The name of the key `secret`, if it has one.
    pub(super) fn key_name(&self, secret: &str) -> Option<&str> {
        self.keys.iter().find(|key| key.secret == secret)?.name.as_deref()
    }

    /// The history of an engine that a `response_engine` object names, and the version in it.
    pub(super) fn engine_of(&mut self, response_engine: &Value) -> Option<(&mut VersionHistory, u64)> {
        let id = |key: &str| response_engine.get(key).and_then(Value::as_str);
        let history = match response_engine.get("type").and_then(Value::as_str)? {
            "retell-llm" => self.llms.get_mut(id("llm_id")?)?,
            "conversation-flow" => self.flows.get_mut(id("conversation_flow_id")?)?,
            _ => return None,
        };
        let version = response_engine.get("version").and_then(Value::as_u64).or_else(|| history.newest())?;
        Some((history, version))
    }

    /// Stores a call or a chat document under its id.
    pub(crate) fn add_call(&mut self, call: Value) {
        insert_by_id(&mut self.calls, "call_id", call);
    }

    pub(crate) fn add_chat(&mut self, chat: Value) {
        insert_by_id(&mut self.chats, "chat_id", chat);
    }

    pub(crate) fn add_test_case(&mut self, test_case: Value) {
        insert_by_id(&mut self.test_cases, "test_case_definition_id", test_case);
    }
}

fn insert_by_id(documents: &mut BTreeMap<String, DocumentFields>, id_key: &str, document: Value) {
    if let Value::Object(document) = document
        && let Some(id) = document.get(id_key).and_then(Value::as_str)
    {
        documents.insert(id.to_owned(), document);
    }
}

/// The figures of a pay-as-you-go workspace.
fn default_concurrency() -> DocumentFields {
    let document = json!({
        "current_concurrency": 0, "concurrency_limit": 20, "base_concurrency": 20, "purchased_concurrency": 0,
        "concurrency_purchase_limit": 100, "remaining_purchase_limit": 100, "reserved_inbound_concurrency": 0,
        "concurrency_burst_enabled": false, "concurrency_burst_limit": 0,
    });
    document.as_object().cloned().unwrap_or_default()
}

/// All workspaces of a fake, and the source of its modification times.
pub(crate) struct Workspaces {
    all: Vec<Workspace>,
    clock: Clock,
    last_timestamp_ms: i64,
    next_id: u64,
}

impl Workspaces {
    pub(super) fn new(first: Workspace, clock: Clock) -> Self {
        Self { all: vec![first], clock, last_timestamp_ms: 0, next_id: 1 }
    }

    pub(crate) fn add(&mut self, workspace: Workspace) {
        self.all.push(workspace);
    }

    /// The workspace with this `org_id`.
    pub(crate) fn get_mut(&mut self, org_id: &str) -> Option<&mut Workspace> {
        self.all.iter_mut().find(|workspace| workspace.org_id == org_id)
    }

    /// The workspace that the fake was started with.
    pub(crate) fn first_mut(&mut self) -> &mut Workspace {
        // Workspaces are added and never removed, so the first exists.
        &mut self.all[0]
    }

    pub(super) fn with_key(&mut self, secret: &str) -> Option<&mut Workspace> {
        self.all.iter_mut().find(|workspace| workspace.has_key(secret))
    }

    pub(super) fn with_call(&mut self, call_id: &str) -> Option<&mut Workspace> {
        self.all.iter_mut().find(|workspace| workspace.calls.contains_key(call_id))
    }

    /// The current time, later than that of every change before. Two changes within a millisecond would otherwise have
    /// equal modification times, and a client that compares them would miss the second.
    pub(crate) fn next_timestamp(&mut self) -> i64 {
        self.last_timestamp_ms = self.clock.now_ms().max(self.last_timestamp_ms + 1);
        self.last_timestamp_ms
    }

    /// A number for the id of a new document.
    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}
