//! `inbound test`: which rule would answer a request.

use serde_json::{Value, json};

use crate::support::destination::DestinationServer;
use crate::support::test_env::TestEnv;

const RULES_CONFIG: &str = r#"
[[companies]]
slug = "acme"
keys = ["key_0123456789abcdef_of_acme"]

[[inbound.rules]]
name = "spam"
from = ["+999*"]
reject = true

[[inbound.rules]]
name = "acme"
companies = ["acme"]
metadata = { of = "acme" }

[[inbound.rules]]
name = "texts"
kind = "chat"
agents = ["agent_texts"]

[[inbound.rules]]
name = "night"
hours = "18:00-08:00"
time_zone = "Europe/Berlin"
agent = "agent_night"
dynamic_variables = { number = "{{ from_number }}", calls = "{{ caller.calls }}" }

[[inbound.rules]]
name = "crm"
known_caller = false
to = ["tel:+49-30-99-1"]
"#;

#[test]
fn dry_run_prints_rule_and_answer_without_side_effects() {
    let sink = DestinationServer::start();
    let home = TestEnv::new();
    home.write_config(&format!("{RULES_CONFIG}ask = {{ url = \"{}\" }}\n", sink.url()));
    drop(home.start_server());
    let dry_run = |from: &str, at: &str, more: &[&str]| -> (Value, Value) {
        let args = ["inbound", "test", "--json", "--from", from, "--to", "+4930991", "--at", at];
        let result = home.run_ok(&[&args[..], more].concat()).json();
        (result["rule"].clone(), result["answer"].clone())
    };
    let (day, night) = ("2026-11-21T12:00:00+01:00", "2026-11-21T22:00:00+01:00");
    assert_eq!(dry_run("+999123", night, &[]), (json!("spam"), json!({"call_inbound": {"reject": true}})));
    let variables = json!({"number": "+4930123", "calls": "0"});
    let answer = json!({"call_inbound": {"override_agent_id": "agent_night", "dynamic_variables": variables}});
    assert_eq!(dry_run("+4930123", night, &[]), (json!("night"), answer));
    assert_eq!(dry_run("+4930123", day, &[]), (json!("crm"), Value::Null), "the service is not called");
    assert_eq!(dry_run("anonymous", "2026-11-21T06:59:00Z", &[]).0, "night", "08:00 in Berlin is 07:00 in UTC");
    assert_eq!(
        dry_run("+4930123", day, &["--sms", "--agent", "agent_texts"]),
        (json!("texts"), json!({"chat_inbound": {}}))
    );
    assert_eq!(
        dry_run("+4930123", day, &["--company", "acme"]).1,
        json!({"call_inbound": {"metadata": {"of": "acme"}}})
    );
    let none = home.run_ok(&["inbound", "test", "--from", "+4930123", "--to", "+1", "--at", day]).stdout;
    assert!(none.contains("no rule matches") && none.contains(r#"{"call_inbound":{}}"#), "{none}");
    assert!(sink.received().is_empty() && home.list_events(&[]).is_empty());
    let args = ["inbound", "test", "--from", "+1", "--to", "+1", "--company", "unknown"];
    assert_eq!(home.run(&args).exit_code, Some(1));
}
