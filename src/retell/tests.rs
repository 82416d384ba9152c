//! The client against a fake of Retell that answers slowly, wrongly, or not at all.

use std::time::Duration;

use serde_json::json;

use super::fake::{AgentSeed, FakeRetell, Fault, Workspace, number_bound_to};
use super::{
    AgentChannel, AgentVersion, CallRange, ClientError, Document, ResponseEngine, RetellClient, RetellError,
    RetellErrorCause, RetellErrorKind,
};
use crate::base::secret::Secret;
use crate::config::EgressSettings;
use crate::egress::Egress;

const KEY: &str = "key_0000000000000000000000test";

fn workspace(agents: usize) -> Workspace {
    let mut workspace = Workspace::new("org_1", "Dental practice", KEY);
    for number in 0..agents {
        AgentSeed::with_llm(&format!("agent_{number}")).add_to(&mut workspace);
    }
    workspace
}

fn client(base_url: &str, key: &str) -> Result<RetellClient, ClientError> {
    RetellClient::new(base_url, &Secret::new(key), &Egress::new(&EgressSettings::default()))
}

async fn connect(workspace: Workspace) -> (FakeRetell, RetellClient) {
    let fake = FakeRetell::start(workspace).await.unwrap();
    let client = client(&fake.base_url(), KEY).unwrap();
    (fake, client)
}

fn kind<T>(result: Result<T, RetellError>) -> RetellErrorKind {
    result.err().expect("an error").kind
}

#[tokio::test]
async fn documents_of_every_kind_are_read() {
    let mut workspace = workspace(1);
    AgentSeed::with_flow("agent_flow").add_to(&mut workspace);
    AgentSeed::with_llm("agent_chat").for_chats().add_to(&mut workspace);
    number_bound_to(&mut workspace, "+14155550100", "agent_0", None);
    workspace.voices.push(json!({"voice_id": "voice_1"}));
    workspace.add_call(json!({"call_id": "call_1", "start_timestamp": 5_000, "transcript": "hello"}));
    let (fake, client) = connect(workspace).await;

    let info = client.key_info().await.unwrap();
    assert_eq!((info.org_id.as_str(), info.api_key_name.as_deref()), ("org_1", Some("default")));
    let agents = client.list_agents(AgentChannel::Voice).await.unwrap();
    let ids: Vec<_> = agents.iter().map(|agent| agent.agent_id.as_str()).collect();
    assert!(ids.len() == 2 && ids.contains(&"agent_0") && ids.contains(&"agent_flow"), "{ids:?}");
    let versions = client.list_agent_versions("agent_0").await.unwrap();
    assert!(versions.iter().any(|version| version.is_published));
    for (channel, id) in
        [(AgentChannel::Voice, "agent_0"), (AgentChannel::Voice, "agent_flow"), (AgentChannel::Chat, "agent_chat")]
    {
        let agent = client.get_agent(channel, id, Some("latest_published")).await.unwrap();
        assert!(agent.view::<AgentVersion>().unwrap().is_published);
        let engine = agent.view::<std::collections::BTreeMap<String, Document>>().unwrap().remove("response_engine");
        let engine: ResponseEngine = engine.unwrap().view().unwrap();
        assert!(client.get_engine(&engine).await.unwrap().is_some(), "{engine:?}");
    }
    assert_eq!(client.list_phone_numbers().await.unwrap().len(), 1);
    assert_eq!(client.list_voices().await.unwrap().len(), 1);
    let listed = client.list_calls(CallRange { from_ms: 0, to_ms: 10_000 }, 10).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    assert!(client.list_calls(CallRange { from_ms: 6_000, to_ms: 10_000 }, 10).await.unwrap().items.is_empty());
    assert!(client.get_call("call_1").await.is_ok());
    assert!(client.list_chats(CallRange { from_ms: 0, to_ms: 10_000 }, 10).await.unwrap().items.is_empty());
    assert!(fake.count("").max_at_once <= 4);
}

#[tokio::test]
async fn lists_of_many_pages_are_read_to_the_end() {
    let (fake, client) = connect(workspace(1_001)).await;
    assert_eq!(client.list_agents(AgentChannel::Voice).await.unwrap().len(), 1_001);
    assert_eq!(fake.count("/v2/list-agents").total, 2);
}

#[tokio::test]
async fn a_list_that_repeats_its_cursor_ends() {
    let (fake, client) = connect(workspace(3)).await;
    fake.inject("/v2/list-agents", Fault::RepeatedCursor);
    let error = client.list_agents(AgentChannel::Voice).await.unwrap_err();
    assert!(error.to_string().contains("the cursor of an earlier one"), "{error}");
    assert_eq!(fake.count("/v2/list-agents").total, 2);
}

#[tokio::test]
async fn errors_say_whose_cause_it_is() {
    let (fake, client_of_key) = connect(workspace(1)).await;
    assert!(matches!(
        kind(client_of_key.get_agent(AgentChannel::Voice, "agent_x", None).await),
        RetellErrorKind::NotFound { .. }
    ));
    assert_eq!(kind(client_of_key.get_unknown_endpoint().await), RetellErrorKind::UnknownEndpoint);

    let other = client(&fake.base_url(), "key_1111111111111111111111test").unwrap();
    let error = other.key_info().await.unwrap_err();
    assert_eq!(error.cause(), RetellErrorCause::Key);
    let text = error.to_string();
    assert!(text.contains("401: API key is missing or invalid") && !text.contains("key_111"), "{text}");

    let address = fake.base_url();
    drop(fake);
    let error = client(&address, KEY).unwrap().list_voices().await.unwrap_err();
    assert_eq!(error.cause(), RetellErrorCause::Network, "{error}");
}

#[tokio::test]
async fn reads_are_repeated_after_failures_that_pass() {
    for fault in [Fault::Status(503, None), Fault::Status(429, Some("0")), Fault::Status(408, None), Fault::Truncated] {
        let (fake, client) = connect(workspace(1)).await;
        fake.inject_times("/list-voices", fault.clone(), 1);
        assert!(client.list_voices().await.is_ok(), "{fault:?}");
        assert_eq!(fake.count("/list-voices").total, 2, "{fault:?}");
    }
}

#[tokio::test]
async fn other_failures_are_not_repeated() {
    let (fake, client) = connect(workspace(1)).await;
    for (fault, expected) in [
        (Fault::Status(400, None), "Retell refused the request (400"),
        (Fault::Status(402, None), "Retell refused the request (402"),
        (Fault::Status(503, Some("86400")), "Retell is not available (503"),
        (Fault::NotJson, "the response is not JSON"),
        (Fault::WrongShape, "the response has other fields or types"),
        (Fault::HugeBody(33 * 1024 * 1024), "the response is longer than"),
    ] {
        fake.clear_faults();
        fake.reset_counts();
        fake.inject("/get-api-key-info", fault.clone());
        let error = client.key_info().await.unwrap_err().to_string();
        assert!(error.starts_with("GET /get-api-key-info: ") && error.contains(expected), "{fault:?}: {error}");
        let requests = fake.count("/get-api-key-info").total;
        assert!(requests == 1 || matches!(fault, Fault::HugeBody(_)), "{fault:?}: {requests} requests");
    }
}

#[tokio::test]
async fn a_key_has_at_most_four_requests_at_once() {
    let (fake, client) = connect(workspace(1)).await;
    fake.inject("/list-voices", Fault::Delay(Duration::from_millis(1_500)));
    let reads = (0..8).map(|_| client.list_voices());
    for voices in futures_util::future::join_all(reads).await {
        voices.unwrap();
    }
    let count = fake.count("/list-voices");
    assert_eq!((count.total, count.max_at_once), (8, 4));
}

#[tokio::test]
async fn after_failures_in_a_row_nothing_is_sent_for_a_while() {
    let (fake, client) = connect(workspace(1)).await;
    fake.inject("/", Fault::Status(500, None));
    assert!(matches!(kind(client.key_info().await), RetellErrorKind::Unavailable { status: 500, .. }));
    assert!(matches!(kind(client.key_info().await), RetellErrorKind::Paused(_)));
    assert_eq!(fake.count("").total, 5);
}
