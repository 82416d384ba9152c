//! `functions import`: what it takes over of a Retell agent's tools, and what it says that it does not.

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
fn what_is_lost_of_a_tool_is_said() {
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
        "# not taken over: the server was sent GET; it is sent POST now, with the arguments in the body",
        "# not taken over: query_params: set them in the new tool, and they are passed on",
        "# not taken over: args_at_root: the server gets the body as Retell sends it; set it in the new tool as well",
        "# not taken over: the header x-call-id: Retell fills {{variables}} in, the receiver does not",
        "# not taken over: response_variables: it is Retell's to do; set it in the new tool as well",
        "# not taken over: speak_during_execution: it is Retell's to do; set it in the new tool as well",
        "# not taken over: max_retry: it is Retell's to do; set it in the new tool as well",
    ] {
        assert!(imported.lines().any(|own| own == line), "{line}: {imported}");
    }
    assert_eq!(imported.matches("not taken over").count(), 7, "{imported}");
}

#[test]
fn tools_of_states_and_of_flows_are_found() {
    let tool = |name: &str| json!({"type": "custom", "name": name, "url": "https://example.com/x"});
    let states = json!([{"name": "first", "tools": [tool("a"), {"type": "end_call", "name": "end"}]}, {"name": "second"},
        {"name": "third", "tools": [tool("b")]}]);
    let imported = import_agent(&json!({"general_tools": [tool("c")], "states": states}));
    assert!(["a", "b", "c"].iter().all(|name| imported.contains(&format!("name = \"{name}\""))), "{imported}");
    assert!(!imported.contains("end"), "{imported}");
    assert!(import_agent(&json!({"states": [{"tools": [tool("a")]}]})).contains("name = \"a\""));
    let flow = json!({"nodes": [], "tools": [{"type": "custom", "tool_id": "t1", "name": "a", "url": "https://example.com/x"}]});
    let imported = import_agent(&flow);
    assert!(imported.contains("name = \"a\"") && !imported.contains("not taken over"), "{imported}");
}
