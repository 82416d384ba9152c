//! `functions import`: what it takes over from the tools of a Retell agent, and what it reports as not taken over.

use serde_json::{Value, json};

use crate::support::test_env::TestEnv;

fn import_agent(agent: &Value) -> String {
    let home = TestEnv::new();
    std::fs::write(home.path().join("agent.json"), agent.to_string()).unwrap();
    let imported = home.run_ok(&["functions", "import", "agent.json"]).stdout;
    home.write_config(&imported);
    home.run_ok(&["config", "check"]);
    imported
}

#[test]
fn what_is_not_taken_over_is_reported() {
    let tool = json!({
        "type": "custom", "name": "stock", "url": "https://example.com/stock", "method": "GET", "description": "In stock?",
        "timeout_ms": 8_000, "query_params": {"shop": "7"}, "args_at_root": true, "response_variables": {"left": "data.left"},
        "headers": {"authorization": "Bearer 1", "x-call-id": "{{call_id}}"}, "speak_during_execution": true,
        "speak_after_execution": false, "parameter_type": "form", "max_retry": 2
    });
    let imported = import_agent(&json!({ "general_tools": [tool] }));
    for line in [
        "methods = [\"GET\"]",
        "headers = { authorization = \"Bearer 1\" }",
        "timeout_ms = 8000",
        "# not converted: the server received GET requests; it now receives POST with the arguments in the body",
        "# not converted: query_params: set them in the new tool; the receiver passes them on",
        "# not converted: args_at_root: set it in the new tool; the server receives the body as Retell sends it",
        "# not converted: the header x-call-id: Retell replaces {{variables}} in it, the receiver does not",
        "# not converted: response_variables: Retell applies it; set it in the new tool",
        "# not converted: speak_during_execution: Retell applies it; set it in the new tool",
        "# not converted: max_retry: Retell applies it; set it in the new tool",
    ] {
        assert!(imported.lines().any(|imported_line| imported_line == line), "{line}: {imported}");
    }
    assert_eq!(imported.matches("not converted").count(), 7, "{imported}");
}

#[test]
fn tools_of_states_and_flows_are_imported() {
    let tool = |name: &str| json!({"type": "custom", "name": name, "url": "https://example.com/x"});
    let states = json!([{"name": "first", "tools": [tool("a"), {"type": "end_call", "name": "end"}]}, {"name": "second"},
        {"name": "third", "tools": [tool("b")]}]);
    let imported = import_agent(&json!({"general_tools": [tool("c")], "states": states}));
    assert!(["a", "b", "c"].iter().all(|name| imported.contains(&format!("name = \"{name}\""))), "{imported}");
    assert!(!imported.contains("end"), "{imported}");
    assert!(import_agent(&json!({"states": [{"tools": [tool("a")]}]})).contains("name = \"a\""));
    let flow = json!({"nodes": [], "tools": [{"type": "custom", "tool_id": "t1", "name": "a", "url": "https://example.com/x"}]});
    let imported = import_agent(&flow);
    assert!(imported.contains("name = \"a\"") && !imported.contains("not converted"), "{imported}");
}
