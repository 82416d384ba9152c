//! `doctor --online` against a fake of Retell.

use serde_json::json;

use crate::base::secret::Secret;
use crate::config::Settings;
use crate::operations::doctor::retell_api::check_retell_api;
use crate::retell::fake::{AgentSeed, FakeRetell, Fault, Workspace, number_bound_to};
use crate::view::{DoctorFinding, FindingLevel};

const KEY: &str = "key_0000000000000000000000test";
const OTHER_KEY: &str = "key_1111111111111111111111test";
const NOW_MS: i64 = 1_795_255_200_000;

async fn fake() -> FakeRetell {
    let mut workspace = Workspace::new("org_1", "Dental practice", KEY);
    AgentSeed::with_llm("agent_voice").add_to(&mut workspace);
    AgentSeed::with_flow("agent_chat").for_chats().add_to(&mut workspace);
    number_bound_to(&mut workspace, "+14155550100", "agent_voice", None);
    workspace.voices.push(json!({"voice_id": "voice_1"}));
    workspace.add_call(json!({"call_id": "call_1", "start_timestamp": NOW_MS - 1_000, "transcript": "a secret word"}));
    FakeRetell::start(workspace).await.unwrap()
}

fn settings(fake: &FakeRetell, api_key: Option<&str>, verifying: &[&str]) -> Settings {
    let mut settings = Settings::default();
    settings.retell.base_url = Some(fake.base_url().parse().unwrap());
    settings.retell.api_key = api_key.map(Secret::new);
    settings.security.keys = verifying.iter().map(|key| Secret::new(*key)).collect();
    settings
}

fn texts(findings: &[DoctorFinding], level: FindingLevel) -> Vec<&str> {
    findings.iter().filter(|finding| finding.level == level).map(|finding| finding.text.as_str()).collect()
}

#[tokio::test]
async fn every_assumption_of_the_fake_is_checked() {
    let fake = fake().await;
    let findings = check_retell_api(&settings(&fake, Some(KEY), &[KEY]), NOW_MS).await.unwrap();
    assert_eq!(
        texts(&findings, FindingLevel::Ok),
        ["default: workspace Dental practice (org_1), key default", "default: 19 of 19 assumptions about the API hold"]
    );
    assert_eq!(findings.len(), 2);
    assert!(fake.requests().iter().all(|request| {
        request.method == "GET" || request.path.starts_with("/v2/list-") || request.path.starts_with("/v3/list-")
    }));
}

#[tokio::test]
async fn an_api_that_behaves_otherwise_is_reported() {
    let fake = fake().await;
    fake.inject("/list-agent-versions", Fault::WrongShape);
    fake.inject("/v2/get-call", Fault::Status(400, None));
    let findings = check_retell_api(&settings(&fake, Some(KEY), &[KEY]), NOW_MS).await.unwrap();
    let warnings = texts(&findings, FindingLevel::Warning);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].contains("the versions of an agent are listed") && warnings[2].contains("a call is read"));
    assert!(findings.iter().all(|finding| !finding.text.contains("secret word") && !finding.text.contains(KEY)));
}

#[tokio::test]
async fn keys_of_two_workspaces_are_a_problem() {
    let fake = fake().await;
    fake.edit(|workspaces| workspaces.add(Workspace::new("org_2", "Hotel", OTHER_KEY)));
    let findings = check_retell_api(&settings(&fake, Some(KEY), &[KEY, OTHER_KEY]), NOW_MS).await.unwrap();
    let problems = texts(&findings, FindingLevel::Problem);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("Hotel (org_2)") && problems[0].contains("belongs to org_1"), "{problems:?}");

    let findings =
        check_retell_api(&settings(&fake, Some("key_2222222222222222222222test"), &[]), NOW_MS).await.unwrap();
    assert!(texts(&findings, FindingLevel::Problem)[0].contains("Retell refused the API key"));
    let findings = check_retell_api(&settings(&fake, None, &[KEY]), NOW_MS).await.unwrap();
    assert!(texts(&findings, FindingLevel::Ok)[0].starts_with("not checked"));
}
