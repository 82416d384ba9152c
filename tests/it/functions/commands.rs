//! The `functions` commands, and functions given in Rust.

use retell_webhook::{FunctionContext, FunctionOutcome};
use serde_json::{Map, Value, json};

use super::{post_function_request, start_with_weather_function, weather_function_config};
use crate::support::destination::DestinationServer;
use crate::support::local::LocalReceiver;
use crate::support::signing::OTHER_KEY;
use crate::support::test_env::TestEnv;

#[test]
fn a_closure_is_called_with_checked_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let schema = json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}});
    let local = LocalReceiver::start(folder.path(), |builder| {
        builder
            .function("weather", "", schema, |arguments: Map<String, Value>, context: FunctionContext| async move {
                match arguments["city"].as_str() {
                    Some("nowhere") => FunctionOutcome::InvalidArguments("the city is unknown".to_owned()),
                    Some("panic") => panic!("on purpose"),
                    city => FunctionOutcome::Answer(
                        json!({"city": city, "call": context.call_id, "from": context.from_number}),
                    ),
                }
            })
            .function("fails", "", json!({}), |_: Map<String, Value>, _: FunctionContext| async {
                FunctionOutcome::Failed("the database is unavailable".to_owned())
            })
    });
    let ask = |city: &str| {
        let call_object = json!({"call_id": "call_1", "from_number": "+12025550117"});
        let body = json!({"name": "weather", "call": call_object, "args": {"city": city}}).to_string();
        post_function_request(local.address, super::WEATHER_PATH, body.as_bytes()).json()
    };
    assert_eq!(ask("Bern"), json!({"city": "Bern", "call": "call_1", "from": "+12025550117"}));
    assert!(ask("nowhere")["message"].as_str().unwrap().contains("the city is unknown"));
    assert_eq!(ask("panic")["error"], "unavailable");
    assert_eq!(post_function_request(local.address, "/api/v1/function/fails", b"{}").json()["error"], "unavailable");
    local.stop();
}

#[test]
fn a_configured_function_is_listed_shown_and_tested() {
    let sink = DestinationServer::start();
    let (home, server) = start_with_weather_function(&sink.url(), "description = \"Says how the weather is.\"");
    assert!(home.run_ok(&["functions", "list"]).stdout.contains("weather"));
    let shown = home.run_ok(&["functions", "show", "weather", "--json"]).json();
    assert_eq!(shown["parameters"]["required"], json!(["city"]));
    let to = ["--to", &server.url()];
    let test = |args: &str| home.run(&[&["functions", "test", "weather", "--args", args], &to[..]].concat());
    let ran = test(r#"{"city":"Bern"}"#);
    assert!(ran.exit_code == Some(0) && ran.stdout.contains("said"), "{ran:?}");
    let ran = test(r#"{"city":7}"#);
    assert!(ran.exit_code == Some(1) && ran.stdout.contains("must be text"), "{ran:?}");
    std::fs::write(home.path().join("call.json"), r#"{"call_id":"call_from_file"}"#).unwrap();
    let args = ["functions", "test", "weather", "--args", r#"{"city":"Basel"}"#, "--call", "call.json"];
    home.run_ok(&[&args[..], &to[..]].concat());
    assert_eq!(sink.received().last().unwrap().json()["call"]["call_id"], "call_from_file");
    assert_eq!(home.run(&["functions", "show", "nothing"]).exit_code, Some(1));
}

#[test]
fn functions_test_exits_with_0_only_when_the_function_answered() {
    use axum::response::IntoResponse;
    let sink = DestinationServer::start_with(|_, got| match got.json()["args"]["city"].as_str() {
        Some("Bern") => axum::Json(json!({"error": null, "ok": true})).into_response(),
        _ => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    });
    let (home, server) =
        start_with_weather_function(&sink.url(), "fallback = { ok = false }\nmethods = [\"GET\", \"POST\"]");
    let test = |city: &str| {
        let args = json!({ "city": city, "days": 2 }).to_string();
        let ran = home.run(&["functions", "test", "weather", "--json", "--args", &args, "--to", &server.url()]);
        (ran.exit_code, ran.json()["outcome"].clone(), ran.json()["answer"].clone())
    };
    assert_eq!(test("Bern"), (Some(0), json!("answered"), json!({"error": null, "ok": true})));
    assert_eq!(test("Basel"), (Some(1), json!("failed"), json!({"ok": false})), "the fallback was answered");
    assert_eq!(sink.received()[0].json()["args"], json!({"city": "Bern", "days": 2}), "by GET, its first method");
    let ran = home.run(&["functions", "test", "weather", "--args", r#"{"city":"Bern"}"#, "--to", &server.url()]);
    assert!(ran.stdout.starts_with("200 answered in "), "{ran:?}");
}

#[test]
fn invocations_are_filtered_and_shown_in_full() {
    let sink = DestinationServer::start_with(|_, _| axum::response::IntoResponse::into_response("x".repeat(20_000)));
    let (home, server) = start_with_weather_function(&sink.url(), "");
    for (call_id, city) in [("call_1", json!("Bern")), ("call_2", json!("Basel")), ("call_2", json!(7))] {
        post_function_request(
            server.address(),
            super::WEATHER_PATH,
            &super::function_request_body(call_id, &json!({ "city": city })),
        );
    }
    let rows = |more: &[&str]| {
        let rows = home.run_ok(&[&["functions", "calls", "--json"], more].concat()).json();
        rows.as_array().unwrap().clone()
    };
    assert_eq!(rows(&["--call-id", "call_2"]).len(), 2);
    assert_eq!(rows(&["--call-id", "call_2", "--state", "invalid_arguments"]).len(), 1);
    assert_eq!((rows(&["weather", "--state", "done"]).len(), rows(&["--call-id", "none"]).len()), (2, 0));
    let table = home.run_ok(&["functions", "calls", "--state", "done"]).stdout;
    assert!(table.contains("(truncated) xxx"), "{table}");
    let id = rows(&["--call-id", "call_1"])[0]["invocation"].as_str().unwrap().to_owned();
    let shown = home.run_ok(&["functions", "calls", "--invocation", &id]).stdout;
    for expected in [r#"{"city":"Bern"}"#, "yes, to the 15000 characters", &"x".repeat(15_000), &id] {
        assert!(shown.contains(expected), "{shown}");
    }
    assert_eq!(home.run(&["functions", "calls", "--invocation", "inv_none"]).exit_code, Some(1));
}

#[test]
fn schema_prints_retell_tool_objects() {
    let home = TestEnv::new().with_env("SERVER_URL", "https://example.ngrok.app");
    let more = "description = \"Says how the weather is.\"\ncompanies = [\"acme\"]\ntimeout_ms = 5000";
    let company = format!("[[companies]]\nslug = \"acme\"\nkeys = [\"{OTHER_KEY}\"]\n");
    home.write_config(&format!("{company}{}", weather_function_config("https://example.com", more)));
    assert_eq!(home.run_ok(&["functions", "schema"]).json(), json!([]));
    let tools = home.run_ok(&["functions", "schema", "--company", "acme"]).json();
    let tool = &tools[0];
    assert_eq!((&tool["type"], &tool["name"], &tool["method"]), (&json!("custom"), &json!("weather"), &json!("POST")));
    assert_eq!(tool["url"], "https://example.ngrok.app/api/v1/function/acme/weather");
    assert_eq!(tool["parameters"]["properties"]["days"]["type"], "integer");
    assert!(tool["timeout_ms"].as_i64().unwrap() > 5_000, "Retell waits longer than the receiver");
}

#[test]
fn an_export_can_be_imported() {
    let home = TestEnv::new();
    home.write_config(&weather_function_config("https://example.com", "description = \"Says \\\"how\\\" it is.\""));
    let exported = home.run_ok(&["functions", "export"]).stdout;
    assert!(!exported.contains("/f"), "the path of a url may hold a token");
    let tools = json!({"general_tools": [
        {"type": "end_call", "name": "end"},
        {"type": "custom", "name": "order", "description": "Takes \"an\" order", "url": "https://example.com/order?x=1",
         "method": "PUT", "parameters": {"type": "object", "properties": {"item": {"type": "string", "enum": ["a\n", "b"]}}}},
    ]});
    std::fs::write(home.path().join("tools.json"), tools.to_string()).unwrap();
    let imported = home.run_ok(&["functions", "import", "tools.json"]).stdout;
    home.write_config(&imported);
    let shown = home.run_ok(&["functions", "show", "order", "--json"]).json();
    assert_eq!(shown["parameters"], tools["general_tools"][1]["parameters"]);
    assert_eq!((&shown["methods"], &shown["description"]), (&json!(["PUT"]), &json!("Takes \"an\" order")));
    std::fs::write(home.path().join("own.json"), exported).unwrap();
    let again = home.run_ok(&["functions", "import", "own.json"]).stdout;
    assert!(again.contains("name = \"weather\"") && again.contains("url = "), "{again}");
}

#[cfg(unix)]
#[test]
fn the_documentation_example_works() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/functions.md")).unwrap();
    let example = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let home = TestEnv::new();
    home.write_config(example);
    let server = home.start_server();
    let ask = |args: &str| {
        home.run(&["functions", "test", "order_status", "--json", "--args", args, "--to", &server.url()]).json()
    };
    assert_eq!(ask(r#"{"order": "A-1042"}"#)["answer"], json!({"status": "in transit"}));
    let message = ask(r#"{"order": "1042"}"#)["answer"]["message"].to_string();
    assert!(message.contains("`order` must match the pattern ^[A-Z]-[0-9]+$"), "{message}");
    assert!(home.run_ok(&["functions", "show", "order_status"]).stdout.contains("/api/v1/function/order_status"));
}
