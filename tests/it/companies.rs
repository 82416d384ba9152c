//! Companies with their own keys and routes, and reloading them while the receiver runs.

use std::fs;

use serde_json::json;

use crate::support::bodies::{event_body, sample_payload};
use crate::support::client::{HttpResponse, WEBHOOK_PATH, get, post_to};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;

const ACME_KEY: &str = "key_acme_0123456789abcdef";
const ACME_ROUTE: &str = "/api/v1/webhook/retell/acme";

fn company_config(slug: &str, key: &str) -> String {
    format!("[[companies]]\nslug = \"{slug}\"\nkeys = [\"{key}\"]\nagents = [\"agent_1\"]\n")
}

fn write_local_config(home: &TestEnv, text: &str) {
    fs::create_dir_all(home.path().join("config")).unwrap();
    fs::write(home.path().join("config/local.toml"), text).unwrap();
}

fn post_signed_with(server: &ReceiverProcess, path: &str, key: &str, body: &[u8]) -> HttpResponse {
    post_to(server.address(), path, body, &sign_with(key, body, now_ms()))
}

#[test]
fn each_company_has_its_own_routes_and_keys() {
    let home = TestEnv::new();
    write_local_config(&home, &company_config("acme", ACME_KEY));
    let server = home.start_server();
    let body = event_body("call_ended", "call_1");
    assert_eq!(post_signed_with(&server, ACME_ROUTE, ACME_KEY, &body).status, 200);
    assert_eq!(post_signed_with(&server, &format!("{ACME_ROUTE}/"), ACME_KEY, &body).json()["duplicate"], true);
    assert_eq!(post_signed_with(&server, ACME_ROUTE, KEY, &event_body("call_ended", "call_2")).status, 401);
    assert_eq!(post_signed_with(&server, WEBHOOK_PATH, ACME_KEY, &event_body("call_ended", "call_2")).status, 401);
    for text in ["signed with the key of company `default`", "signed with the key of company `acme`"] {
        assert!(server.wait_for_output(text), "{text}: {}", server.output());
    }
    // The same body for another company is not a duplicate.
    let answer = post_signed_with(&server, WEBHOOK_PATH, KEY, &body);
    assert_eq!((answer.status, answer.is_duplicate()), (200, false));
    let inbound = post_signed_with(&server, &format!("{ACME_ROUTE}/inbound"), ACME_KEY, &sample_payload("15_"));
    assert_eq!(inbound.status, 200, "{}", inbound.text());

    let companies: Vec<_> = home.export_events().iter().map(|event| event.json["company"].clone()).collect();
    assert_eq!(companies, ["acme", "default", "acme"]);
    let test = server.get(&format!("{ACME_ROUTE}/test"));
    assert!(test.json()["webhook_url"].as_str().unwrap().ends_with(ACME_ROUTE), "{}", test.text());
}

#[test]
fn an_unknown_company_is_not_found_whatever_the_signature() {
    let home = TestEnv::new();
    write_local_config(&home, &company_config("acme", ACME_KEY));
    let server = home.start_server();
    let body = event_body("call_ended", "call_1");
    for path in ["/api/v1/webhook/retell/unknown", "/api/v1/webhook/retell/unknown/inbound"] {
        assert_eq!(post_to(server.address(), path, &body, &sign(&body)).status, 404, "{path}");
        assert_eq!(post_to(server.address(), path, &body, "v=1,d=00").status, 404, "{path}");
    }
    assert_eq!(get(server.address(), "/api/v1/webhook/retell/unknown/test").status, 404);
    assert!(home.export_events().is_empty());
}

#[test]
fn an_event_of_an_unlisted_agent_is_stored_with_a_warning() {
    let home = TestEnv::new();
    write_local_config(&home, &company_config("acme", ACME_KEY));
    let server = home.start_server();
    let body = event_body("call_ended", "call_1");
    let body = String::from_utf8(body).unwrap().replace("agent_1", "agent_2").into_bytes();
    assert_eq!(post_signed_with(&server, ACME_ROUTE, ACME_KEY, &body).status, 200);
    assert!(server.wait_for_output("webhook from unknown agent"), "{}", server.output());
}

#[test]
fn companies_are_listed_with_their_webhook_urls() {
    let home = TestEnv::new().with_env("SERVER_URL", "https://user:hunter2@example.com");
    write_local_config(&home, &format!("{}name = \"Acme Dental\"\n", company_config("acme", ACME_KEY)));
    let listed = home.run_ok(&["companies", "list", "--json"]).json();
    assert_eq!((&listed[0]["slug"], &listed[0]["keys"]), (&json!("default"), &json!(1)));
    let acme = json!({"slug": "acme", "name": "Acme Dental", "keys": 1, "agent_ids": ["agent_1"],
        "webhook_url": format!("https://user:***@example.com{ACME_ROUTE}")});
    assert_eq!((&listed[1], listed.as_array().unwrap().len()), (&acme, 2));
    let table = home.run_ok(&["companies", "list"]).stdout;
    assert!(table.contains("Acme Dental") && table.contains(ACME_ROUTE) && !table.contains("hunter2"), "{table}");
}

#[test]
fn send_signs_for_a_company() {
    let home = TestEnv::new();
    write_local_config(&home, &company_config("acme", ACME_KEY));
    let server = home.start_server();
    home.run_ok(&["send", "call_ended", "--company", "acme", "--to", &server.url()]);
    assert_eq!(home.export_events()[0].json["company"], "acme");
    let ran = home.run(&["send", "call_ended", "--company", "unknown", "--to", &server.url()]);
    assert_eq!(ran.exit_code, Some(1));
    assert!(ran.stderr.contains("no company `unknown`"), "{ran:?}");
}

#[test]
fn sighup_reloads_companies_keys_and_handlers() {
    let home = TestEnv::new();
    write_local_config(&home, &company_config("acme", ACME_KEY));
    let server = home.start_server();
    let handlers = "[[handlers]]\nname = \"only_ended\"\nkind = \"log\"\nevents = [\"call_ended\"]\n";
    let globex = "[[companies]]\nslug = \"globex\"\nkeys = \"key_globex_0123456789\"\n";
    let rotated = "key_acme_fedcba9876543210";
    write_local_config(&home, &format!("{}{}{handlers}", company_config("acme", rotated), globex));
    server.send_signal("-HUP");
    assert!(server.wait_for_output("settings reloaded"), "{}", server.output());
    let body = event_body("call_ended", "call_1");
    assert_eq!(post_signed_with(&server, ACME_ROUTE, ACME_KEY, &body).status, 401);
    assert_eq!(post_signed_with(&server, ACME_ROUTE, rotated, &body).status, 200);
    let globex = "/api/v1/webhook/retell/globex";
    assert_eq!(post_signed_with(&server, globex, "key_globex_0123456789", &body).status, 200);
    assert!(server.wait_for_output("call_1"), "the new handler logs: {}", server.output());

    write_local_config(&home, "[server]\nbody_limit_bytes = 4096\n");
    server.send_signal("-HUP");
    assert!(server.wait_for_output("server.body_limit_bytes"), "{}", server.output());
    assert_eq!(post_signed_with(&server, ACME_ROUTE, rotated, &body).status, 404);
    assert_eq!(server.post_signed(&body).status, 200);
}

#[test]
fn an_invalid_file_changes_nothing_and_logs_the_reason() {
    let home = TestEnv::new();
    write_local_config(&home, &company_config("acme", ACME_KEY));
    let server = home.start_server();
    let invalid = [
        ("not toml [", "not valid TOML"),
        ("[[companies]]\nslug = \"Bad Slug\"\nkeys = \"key_0123456789abcdef\"\n", "companies[0].slug"),
        ("[[handlers]]\nname = \"x\"\nkind = \"nothing\"\n", "expected log, call_store"),
    ];
    for (text, reason) in invalid {
        write_local_config(&home, text);
        server.send_signal("-HUP");
        assert!(server.wait_for_output(reason), "{reason}: {}", server.output());
        assert!(server.wait_for_output("settings reload failed"));
        let body = event_body("call_ended", reason);
        assert_eq!(post_signed_with(&server, ACME_ROUTE, ACME_KEY, &body).status, 200);
    }
}
