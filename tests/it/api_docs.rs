//! The API documentation: complete, without external files, and only where it is turned on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use retell_webhook::Settings;
use serde_json::Value;

use crate::support::client::{HttpResponse, WEBHOOK_PATH, request};
use crate::support::local::{LocalReceiver, RouterServer, storage_url};
use crate::support::test_env::TestEnv;

const PAGES: [&str; 2] = ["/docs", "/redoc"];
const OPENAPI: &str = "/api/v1/openapi.json";
const METHODS: [&str; 2] = ["get", "post"];

fn openapi_document(answer: &HttpResponse) -> Value {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    answer.json()
}

/// All objects in `value`, including itself.
fn objects(value: &Value) -> Vec<&serde_json::Map<String, Value>> {
    match value {
        Value::Object(fields) => std::iter::once(fields).chain(fields.values().flat_map(objects)).collect(),
        Value::Array(items) => items.iter().flat_map(objects).collect(),
        _ => Vec::new(),
    }
}

/// All operations under `key` as (path, method, operation).
fn operations<'a>(document: &'a Value, key: &str) -> Vec<(&'a str, &'a str, &'a Value)> {
    let paths = document[key].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    all.collect()
}

/// The route paths in the source code.
fn routes_in_source() -> BTreeSet<String> {
    let files = ["src/live/routes.rs", "src/live/functions/routes.rs", "src/app/health.rs"];
    let texts = files.map(|file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap());
    let quoted = texts.iter().flat_map(|text| text.split('"').skip(1).step_by(2));
    quoted.filter(|text| text.starts_with('/') && !text.contains(' ')).map(str::to_owned).collect()
}

#[test]
fn the_document_is_complete_openapi_3_1() {
    let home = TestEnv::new().with_env("SERVER_URL", "https://example.ngrok.app/");
    let document = openapi_document(&home.start_server().get(OPENAPI));
    let typed: utoipa::openapi::OpenApi = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(typed.openapi).unwrap(), "3.1.0");
    assert_eq!((&document["info"]["title"], &document["servers"][0]["url"]), (&"retell-webhook".into(), &"/".into()));
    assert_eq!(document["servers"][1]["url"], "https://example.ngrok.app");
    for target in objects(&document).iter().filter_map(|object| object.get("$ref")?.as_str()) {
        assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target} does not exist");
    }
    let all = [operations(&document, "paths"), operations(&document, "webhooks")].concat();
    let ids: BTreeSet<_> = all.iter().map(|(_, _, operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), all.len());
    let declared: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for (path, method, operation) in all {
        assert!(METHODS.contains(&method), "{method} {path}");
        let tag = &operation["tags"][0];
        assert!(tag == "events" || declared.contains(&tag), "{path}: {tag}");
        assert!(!operation["responses"].as_object().unwrap().is_empty(), "{path}");
    }
}

#[test]
fn every_route_is_documented_and_every_documented_path_exists() {
    let home = TestEnv::new();
    let company = "[[companies]]\nslug = \"acme\"\nkeys = \"key_acme_0123456789abcdef\"\n";
    std::fs::create_dir(home.path().join("config")).unwrap();
    std::fs::write(home.path().join("config/local.toml"), company).unwrap();
    let server = home.start_server();
    let document = openapi_document(&server.get(OPENAPI));
    let documented: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let missing: Vec<_> = routes_in_source().into_iter().filter(|path| !documented.contains(path)).collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
    assert!(routes_in_source().len() >= 8);
    for (path, method, operation) in operations(&document, "paths") {
        let answer = request(server.address(), &method.to_uppercase(), &path.replace("{company}", "acme"), &[], b"");
        let expected = if method == "post" { 401 } else { 200 };
        assert_eq!(answer.status, expected, "{method} {path}");
        assert!(operation["responses"].get(answer.status.to_string()).is_some(), "{path}: {}", answer.status);
    }
}

#[test]
fn webhook_operations_document_signature_and_responses() {
    let server = TestEnv::new().start_server();
    let document = openapi_document(&server.get(OPENAPI));
    let webhooks = operations(&document, "paths").into_iter().filter(|(_, method, _)| *method == "post");
    let mut count = 0;
    for (path, _, operation) in webhooks {
        count += 1;
        let tag = if path.starts_with("/api/v1/function/") { "functions" } else { "webhooks" };
        assert_eq!(operation["tags"], serde_json::json!([tag]), "{path}");
        let header = &operation["parameters"][0];
        assert_eq!((&header["name"], &header["in"]), (&"X-Retell-Signature".into(), &"header".into()));
        assert!(operation["description"].as_str().unwrap().contains("retell-webhook sign"), "{path}");
        for status in ["200", "400", "401", "408", "413", "500", "503"] {
            let content = &operation["responses"][status]["content"]["application/json"];
            assert!(content["examples"].as_object().is_some_and(|all| !all.is_empty()), "{path} {status}");
        }
        assert!(operation["responses"]["503"]["headers"].get("Retry-After").is_some(), "{path}");
    }
    assert_eq!(count, 8);
    let unauthorized = &document["paths"][WEBHOOK_PATH]["post"]["responses"]["401"]["content"]["application/json"];
    let response = request(server.address(), "POST", WEBHOOK_PATH, &[], b"").json();
    assert!(objects(&unauthorized["examples"]).iter().any(|example| example.get("value") == Some(&response)));
}

#[test]
fn the_examples_are_accepted_unchanged() {
    let home = TestEnv::new();
    let server = home.start_server();
    let document = openapi_document(&server.get(OPENAPI));
    let examples = &document["paths"][WEBHOOK_PATH]["post"]["requestBody"]["content"]["application/json"]["examples"];
    for name in ["call_started", "call_ended", "call_analyzed"] {
        let body = &examples[name]["value"];
        assert_eq!(body["event"], name);
        assert!(body["call"]["call_id"].is_string());
        let answer = server.post_signed(&serde_json::to_vec_pretty(body).unwrap());
        assert_eq!((answer.status, answer.is_duplicate()), (200, false), "{name}");
    }
}

#[test]
fn pages_load_nothing_from_other_hosts_and_forbid_it() {
    let server = TestEnv::new().start_server();
    for page in PAGES.into_iter().flat_map(|page| [page.to_owned(), format!("{page}/")]) {
        let answer = server.get(&page);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")), "{page}");
        let html = answer.text();
        assert!(!html.contains("//"), "{page} names another host: {html}");
        let tags: Vec<_> = html.split("<script").skip(1).collect();
        assert!(tags.len() == 2 && tags.iter().all(|tag| tag.starts_with(" src=\"/")), "{page}: {html}");
        let files = html.split(['"']).filter(|text| text.starts_with('/'));
        for file in files.map(|file| server.get(file)).chain([answer]) {
            assert_eq!(file.status, 200);
            assert_security_headers(&file);
        }
    }
}

fn assert_security_headers(answer: &HttpResponse) {
    let policy = answer.header("content-security-policy").expect("a content security policy");
    let rules: Vec<_> = policy.split(';').map(str::trim).collect();
    for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(rules.contains(&rule), "{policy}");
    }
    assert!(!policy.contains("http") && !policy.contains('*') && !policy.contains("unsafe-eval"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
}

#[test]
fn the_content_policy_applies_to_the_pages_only() {
    let server = TestEnv::new().start_server();
    assert_eq!(server.get("/ping").header("content-security-policy"), None);
    assert_eq!(server.get("/docs/nothing.js").status, 404);
    let posted = request(server.address(), "POST", "/docs", &[], b"");
    assert_eq!((posted.status, posted.json()["message"].as_str()), (405, Some("Method Not Allowed")));
}

#[test]
fn turned_off_the_pages_do_not_exist() {
    let server = TestEnv::new().with_env("RETELL_WEBHOOK__DOCS__ENABLED", "false").start_server();
    for path in ["/docs", "/docs/", "/docs/start.js", "/redoc", "/redoc/redoc.standalone.js", OPENAPI] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.json()["message"].as_str()), (404, Some("Not Found")), "{path}");
    }
    assert_eq!(server.get("/ping").status, 200);
}

#[test]
fn the_embeddable_router_has_no_documentation_pages() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { handlers: Vec::new(), ..Settings::default() };
    let local = LocalReceiver::start(folder.path(), |builder| {
        builder.settings(settings).storage_url(storage_url(folder.path()))
    });
    let alone = RouterServer::start(local.receiver.router());
    for path in [PAGES[0], PAGES[1], OPENAPI] {
        assert_eq!(request(local.address, "GET", path, &[], b"").status, 404, "{path}");
        assert_eq!(request(alone.address, "GET", path, &[], b"").status, 200, "{path}");
    }
    drop(alone);
    local.stop();
}
