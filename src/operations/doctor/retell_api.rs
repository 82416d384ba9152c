//! Checks the API keys with Retell's REST API, and that the API behaves as this program assumes. Only reading requests are
//! sent.

use serde::Deserialize;

use crate::base::secret::Secret;
use crate::config::Settings;
use crate::egress::Egress;
use crate::operations::OperationError;
use crate::retell::{
    AgentChannel, AgentVersion, CallRange, ClientError, Document, ResponseEngine, RetellClient, RetellError,
    RetellErrorCause, RetellErrorKind,
};
use crate::security::keys::ApiKey;
use crate::view::DoctorFinding;

const KEY_CHECK: &str = "retell key";
const API_CHECK: &str = "retell api";
/// An id that no agent has.
const UNKNOWN_AGENT: &str = "agent_retell_webhook_doctor";
/// Calls and chats of this long are looked at.
const PROBED_RANGE_MS: i64 = 30 * 24 * 3_600 * 1_000;

/// Whether the API behaves as assumed.
enum Assumption {
    Holds,
    /// The account has nothing to check it with.
    NotChecked,
    /// What the API did instead.
    Differs(String),
}

pub(in crate::operations) async fn check_retell_api(
    settings: &Settings,
    now_ms: i64,
) -> Result<Vec<DoctorFinding>, OperationError> {
    let own = settings.retell.api_key.as_ref().map(|key| ("default", key, &settings.security.keys));
    let companies = settings.companies.iter();
    let companies = companies.filter_map(|company| Some((&*company.slug, company.api_key.as_ref()?, &company.keys)));
    let accounts: Vec<_> = own.into_iter().chain(companies).collect();
    if accounts.is_empty() {
        let text = "not checked, because neither retell.api_key (RETELL_API_KEY) nor api_key of a company is set";
        return Ok(vec![DoctorFinding::ok(KEY_CHECK, text)]);
    }
    let mut findings = Vec::new();
    for (company, key, verifying_keys) in accounts {
        let client = connect(settings, key)?;
        match client.key_info().await {
            Ok(info) => {
                let name = info.api_key_name.map(|name| format!(", key {name}")).unwrap_or_default();
                let text = format!("{company}: workspace {} ({}){name}", info.org_name, info.org_id);
                findings.push(DoctorFinding::ok(KEY_CHECK, text));
                let others = verifying_keys.iter().filter(|other| *other != key);
                findings.extend(check_same_workspace(settings, company, &info.org_id, others).await?);
                findings.extend(check_assumptions(company, &client, now_ms).await);
            }
            Err(error) => findings.push(failed_request(company, &error)),
        }
    }
    Ok(findings)
}

fn connect(settings: &Settings, key: &Secret) -> Result<RetellClient, OperationError> {
    RetellClient::new(&settings.retell.base_url(), key, &Egress::new(&settings.egress)).map_err(|error| match error {
        ClientError::Build(error) => error.into(),
        other => OperationError::InvalidInput(other.to_string()),
    })
}

fn failed_request(company: &str, error: &RetellError) -> DoctorFinding {
    let text = format!("{company}: {error}");
    match error.cause() {
        RetellErrorCause::Key => DoctorFinding::problem(KEY_CHECK, text),
        RetellErrorCause::Network | RetellErrorCause::Retell => DoctorFinding::warning(KEY_CHECK, text),
    }
}

/// A key that verifies signatures may have no permission for the API. If it has, its workspace must be the same.
async fn check_same_workspace(
    settings: &Settings,
    company: &str,
    org_id: &str,
    keys: impl Iterator<Item = &Secret>,
) -> Result<Vec<DoctorFinding>, OperationError> {
    let mut findings = Vec::new();
    for key in keys {
        let Ok(info) = connect(settings, key)?.key_info().await else { continue };
        if info.org_id != org_id {
            let text = format!(
                "{company}: the key with fingerprint {} verifies events of the workspace {} ({}), but the API key belongs to \
                 {org_id}; set both from the same workspace, or give each workspace a [[companies]] table",
                ApiKey::new(key).fingerprint(),
                info.org_name,
                info.org_id
            );
            findings.push(DoctorFinding::problem(KEY_CHECK, text));
        }
    }
    Ok(findings)
}

async fn check_assumptions(company: &str, client: &RetellClient, now_ms: i64) -> Vec<DoctorFinding> {
    let mut results = vec![
        ("an unknown agent is 404 or 422 with an error document", unknown_agent(client).await),
        ("an unknown path is 404 without an error document", unknown_path(client).await),
        ("phone numbers have weighted lists of agents", weighted_numbers(client).await),
        ("voices are a list without pages", seen(client.list_voices().await)),
    ];
    for channel in [AgentChannel::Voice, AgentChannel::Chat] {
        results.extend(agent_assumptions(client, channel).await);
    }
    let range = CallRange { from_ms: now_ms - PROBED_RANGE_MS, to_ms: now_ms };
    results.extend(conversation_assumptions(client, range).await);
    let held = results.iter().filter(|(_, result)| matches!(result, Assumption::Holds)).count();
    let not_checked = results.iter().filter(|(_, result)| matches!(result, Assumption::NotChecked)).count();
    let rest = match not_checked {
        0 => String::new(),
        _ => format!("; {not_checked} could not be checked, because the workspace has nothing to check them with"),
    };
    let text = format!("{company}: {held} of {} assumptions about the API hold{rest}", results.len());
    let differing = results.into_iter().filter_map(|(name, result)| match result {
        Assumption::Differs(what) => Some(DoctorFinding::warning(
            API_CHECK,
            format!("{company}: assumed: {name}; but {what}. Install a newer version of this program"),
        )),
        Assumption::Holds | Assumption::NotChecked => None,
    });
    [DoctorFinding::ok(API_CHECK, text)].into_iter().chain(differing).collect()
}

async fn unknown_agent(client: &RetellClient) -> Assumption {
    match client.get_agent(AgentChannel::Voice, UNKNOWN_AGENT, None).await {
        Err(RetellError { kind: RetellErrorKind::NotFound { .. }, .. }) => Assumption::Holds,
        other => differs(other),
    }
}

async fn unknown_path(client: &RetellClient) -> Assumption {
    match client.get_unknown_endpoint().await {
        Err(RetellError { kind: RetellErrorKind::UnknownEndpoint, .. }) => Assumption::Holds,
        other => differs(other),
    }
}

async fn weighted_numbers(client: &RetellClient) -> Assumption {
    #[derive(Deserialize)]
    struct Number {
        #[serde(default)]
        inbound_agents: Vec<Binding>,
    }
    #[derive(Deserialize)]
    struct Binding {
        weight: f64,
    }
    let is_weighted = |number: &Document| {
        let number = number.view::<Number>();
        number.is_some_and(|number| number.inbound_agents.iter().all(|agent| (0.0..=1.0).contains(&agent.weight)))
    };
    match client.list_phone_numbers().await {
        Ok(numbers) if numbers.is_empty() => Assumption::NotChecked,
        Ok(numbers) if numbers.iter().all(is_weighted) => Assumption::Holds,
        other => differs(other),
    }
}

/// What the versions of the first agent show.
async fn agent_assumptions(client: &RetellClient, channel: AgentChannel) -> Vec<(&'static str, Assumption)> {
    const LISTED: &str = "agents are listed in pages";
    const VERSIONS: &str = "the versions of an agent are listed, drafts included";
    const NEWEST: &str = "an agent without a version is its newest one, drafts included";
    const LATEST: &str = "`latest` is the newest version, drafts included";
    const PUBLISHED: &str = "`latest_published` is a published version";
    const ENGINE: &str = "the engine of an agent is read with its id and version";
    let agent = match client.list_agents(channel).await {
        Ok(agents) => agents.into_iter().next(),
        Err(error) => return vec![(LISTED, Assumption::Differs(error.to_string()))],
    };
    let Some(agent) = agent else {
        let names = [VERSIONS, NEWEST, LATEST, PUBLISHED, ENGINE].map(|name| (name, Assumption::NotChecked));
        return [(LISTED, Assumption::Holds)].into_iter().chain(names).collect();
    };
    let versions = match client.list_agent_versions(&agent.agent_id).await {
        Ok(versions) if !versions.is_empty() => versions,
        other => return vec![(LISTED, Assumption::Holds), (VERSIONS, differs(other))],
    };
    let newest = versions.iter().map(|version| version.version).max();
    let get = |version: Option<&'static str>| client.get_agent(channel, &agent.agent_id, version);
    let is_newest = |agent: &AgentVersion| Some(agent.version) == newest;
    let without_version = get(None).await;
    let engine = match without_version.as_ref().ok().and_then(Document::view::<WithEngine>) {
        Some(agent) => match client.get_engine(&agent.response_engine).await {
            Ok(Some(_)) => Assumption::Holds,
            Ok(None) => Assumption::NotChecked,
            Err(error) => Assumption::Differs(error.to_string()),
        },
        None => Assumption::Differs("the agent has none".to_owned()),
    };
    let published = if versions.iter().any(|version| version.is_published) {
        agent_that(get(Some("latest_published")).await, |agent| agent.is_published)
    } else {
        Assumption::NotChecked
    };
    vec![
        (LISTED, Assumption::Holds),
        (VERSIONS, Assumption::Holds),
        (NEWEST, agent_that(without_version, is_newest)),
        (LATEST, agent_that(get(Some("latest")).await, is_newest)),
        (PUBLISHED, published),
        (ENGINE, engine),
    ]
}

#[derive(Deserialize)]
struct WithEngine {
    response_engine: ResponseEngine,
}

fn agent_that(agent: Result<Document, RetellError>, holds: impl Fn(&AgentVersion) -> bool) -> Assumption {
    match agent {
        Ok(agent) if agent.view().is_some_and(|agent| holds(&agent)) => Assumption::Holds,
        other => differs(other),
    }
}

async fn conversation_assumptions(client: &RetellClient, range: CallRange) -> Vec<(&'static str, Assumption)> {
    #[derive(Deserialize)]
    struct ListedCall {
        call_id: String,
        #[serde(default)]
        transcript: Option<String>,
    }
    const LISTED: &str = "calls are listed by their start, without transcripts";
    const READ: &str = "a call is read with its id";
    const CHATS: &str = "chats are listed by their start";
    let chats = (CHATS, seen(client.list_chats(range, 1).await));
    let calls = match client.list_calls(range, 1).await {
        Ok(page) => page.items,
        Err(error) => return vec![(LISTED, Assumption::Differs(error.to_string())), chats],
    };
    let Some(document) = calls.first() else {
        return vec![(LISTED, Assumption::NotChecked), (READ, Assumption::NotChecked), chats];
    };
    let Some(call) = document.view::<ListedCall>() else {
        return vec![(LISTED, Assumption::Differs("a call has no call_id".to_owned())), chats];
    };
    let listed = match call.transcript {
        None => Assumption::Holds,
        Some(_) => Assumption::Differs("a listed call has a transcript".to_owned()),
    };
    let read = match client.get_call(&call.call_id).await {
        Ok(read) if read.view::<ListedCall>().is_some_and(|read| read.call_id == call.call_id) => Assumption::Holds,
        other => differs(other),
    };
    vec![(LISTED, listed), (READ, read), chats]
}

fn seen<T>(result: Result<T, RetellError>) -> Assumption {
    result.map_or_else(|error| Assumption::Differs(error.to_string()), |_| Assumption::Holds)
}

fn differs<T>(result: Result<T, RetellError>) -> Assumption {
    Assumption::Differs(match result {
        Ok(_) => "the response is another one".to_owned(),
        Err(error) => error.to_string(),
    })
}
