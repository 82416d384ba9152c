//! Inbound calls and text messages, answered by the receiver with the rules of a configuration file.

mod ask;
mod closures;
mod deadlines;
mod dry_run;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{HttpResponse, post_to};
use crate::support::destination::{DestinationServer, ReceivedRequest};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{OTHER_KEY, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

const CALLER: &str = "+12025550143";
const CALLED: &str = "+12025550178";

/// The body for a ringing call. Every `id` makes a separate event.
fn call_inbound_body(from: &str, id: &str) -> Vec<u8> {
    json!({"event": "call_inbound", "call_inbound": {"call_id": id, "agent_id": "agent_1", "from_number": from,
        "to_number": CALLED, "custom_sip_headers": {"x-trunk": "a"}}})
    .to_string()
    .into()
}

fn start_with_rules(rules: &str) -> (TestEnv, ReceiverProcess) {
    let home = TestEnv::new();
    home.write_config(rules);
    let server = home.start_server();
    (home, server)
}

/// The fields below `call_inbound` of the answer.
fn answer_fields(answer: &HttpResponse) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let keys: Vec<_> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["call_inbound"]);
    json["call_inbound"].clone()
}

fn rule_config(name: &str, lines: &str) -> String {
    format!("[[inbound.rules]]\nname = \"{name}\"\n{lines}\n")
}

/// A rule whose answer contains its name in the metadata.
fn marked_rule_config(name: &str, conditions: &str) -> String {
    rule_config(name, &format!("{conditions}\nmetadata = {{ rule = \"{name}\" }}"))
}

/// Waits until the answer to the event is stored, which happens after it was sent.
fn wait_for_inbound_answer(home: &TestEnv, event_id: &str) -> Value {
    let show = || home.run_ok(&["events", "show", event_id, "--json"]).json()["inbound_answer"].clone();
    assert!(wait_until(Duration::from_secs(10), || show().is_object()), "no stored answer");
    show()
}

fn latest_event_id(home: &TestEnv) -> String {
    home.list_events(&["--limit", "1"])[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn first_rule_whose_conditions_hold_answers() {
    let rules = [
        marked_rule_config("exact", "from = [\"\u{2068}+49 (0)30\u{2011}1234\u{2069}\"]"),
        marked_rule_config("prefix", "from = [\"+4940*\"]\nkind = \"call\""),
        marked_rule_config("file", "from = [\"@lists/vip.txt\"]"),
        marked_rule_config("withheld", "from = [\"anonymous\"]"),
        marked_rule_config("to", "to = [\"+33*\"]"),
        marked_rule_config("agents", "agents = [\"agent_2\", \"agent_3\"]"),
        marked_rule_config("both", "from = [\"+61*\"]\nagents = [\"agent_9\"]"),
        marked_rule_config("companies", "companies = [\"acme\"]"),
        marked_rule_config("chat", "kind = \"chat\""),
        marked_rule_config(
            "never",
            "days = [\"mon-sun\"]\nhours = \"00:00-24:00\"\ntime_zone = \"Europe/Berlin\"\nfrom = [\"+81*\"]",
        ),
        marked_rule_config("rest", "from = [\"+1*\"]"),
    ];
    let home = TestEnv::new();
    std::fs::create_dir(home.path().join("lists")).unwrap();
    std::fs::write(home.path().join("lists/vip.txt"), "# friends\n+7 999 000\n").unwrap();
    home.write_config(&format!("[[companies]]\nslug = \"acme\"\nkeys = [\"{OTHER_KEY}\"]\n{}", rules.concat()));
    let server = home.start_server();
    let ids = std::cell::Cell::new(0);
    let next = || ids.replace(ids.get() + 1);
    let body = |from: &str, to: &str, agent: &str| {
        let call =
            json!({"agent_id": agent, "from_number": from, "to_number": to, "call_id": format!("call_in_{}", next())});
        json!({"event": "call_inbound", "call_inbound": call}).to_string().into_bytes()
    };
    for (from, to, agent, expected_rule) in [
        ("+49301234", CALLED, "agent_1", Some("exact")),
        ("+493012345", CALLED, "agent_1", None),
        ("+4940555", CALLED, "agent_1", Some("prefix")),
        ("+7999000", CALLED, "agent_1", Some("file")),
        ("Anonymous", CALLED, "agent_1", Some("withheld")),
        ("+4420", "+33123", "agent_1", Some("to")),
        ("+4420", CALLED, "agent_3", Some("agents")),
        ("+61455", CALLED, "agent_1", None),
        ("+61455", CALLED, "agent_9", Some("both")),
        ("+8190", CALLED, "agent_1", Some("never")),
        (CALLER, CALLED, "agent_1", Some("rest")),
        ("+4420", CALLED, "agent_1", None),
    ] {
        let answer = answer_fields(&server.post_signed(&body(from, to, agent)));
        let expected = expected_rule.map_or(json!({}), |name| json!({"metadata": {"rule": name}}));
        assert_eq!(answer, expected, "{from} {to} {agent}");
    }
    let company_body = body("+4420", CALLED, "agent_1");
    let signature = sign_with(OTHER_KEY, &company_body, now_ms());
    for path in ["/api/v1/webhook/retell/acme", "/api/v1/webhook/retell/acme/inbound"] {
        assert_eq!(
            answer_fields(&post_to(server.address(), path, &company_body, &signature))["metadata"]["rule"],
            "companies"
        );
    }
    for path in ["/webhook", "/api/v1/webhook/retell/inbound", "/api/mcp/retell/custom-function"] {
        let text =
            json!({"event": "chat_inbound", "chat_inbound": {"from_number": "+44", "chat_id": path}}).to_string();
        let answer = post_to(server.address(), path, text.as_bytes(), &sign(text.as_bytes()));
        assert_eq!(answer.json(), json!({"chat_inbound": {"metadata": {"rule": "chat"}}}), "{path}");
    }
    std::fs::write(home.path().join("lists/vip.txt"), "\u{feff}+44*\r\n+7 (0)111 222\r\n").unwrap();
    assert_eq!(
        answer_fields(&server.post_signed(&body("+4420", CALLED, "agent_new")))["metadata"]["rule"],
        "file",
        "the changed file was read again"
    );
    assert!(!server.output().contains("4940555"), "no number in the log");
}

#[test]
fn rules_reject_callers_and_select_agents() {
    let (home, server) = start_with_rules(&[
        rule_config("spam", "from = [\"+666*\"]\nreject = true"),
        rule_config(
            "night",
            "agent = \"agent_night\"\nagent_version = 3\nmetadata = { Tier = \"gold\", tags = [\"a\", 1, true] }\n\
             dynamic_variables = { fromNumber = \"{{ from_number }}\", plain = \"yes\", Trunk = \"{{ sip['x-trunk'] | upper }}\", \
             calls = \"{{ caller.calls + 0 }}\", name = \"{{ caller.name }}\", agent = \"{{ agent_id }}\" }",
        ),
    ].concat());
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body("+66612", "call_spam"))), json!({"reject": true}));
    let spam = wait_for_inbound_answer(&home, &latest_event_id(&home));
    assert_eq!((&spam["rule"], &spam["outcome"]), (&json!("spam"), &json!("caller_rejected")));
    let expected = json!({"override_agent_id": "agent_night", "override_agent_version": 3,
        "metadata": {"Tier": "gold", "tags": ["a", 1, true]},
        "dynamic_variables": {"fromNumber": CALLER, "plain": "yes", "Trunk": "A", "calls": "0", "name": "", "agent": "agent_1"}});
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_1"))), expected);
    let id = latest_event_id(&home);
    let stored = wait_for_inbound_answer(&home, &id);
    assert_eq!(
        (&stored["rule"], &stored["outcome"], &stored["answer"]["call_inbound"]),
        (&json!("night"), &json!("answered"), &expected)
    );
    assert!(stored["duration_ms"].is_i64() && stored["answered_at_ms"].is_i64());
    let shown = home.run_ok(&["events", "show", &id]).stdout;
    assert!(shown.contains("answered, rule `night`, after") && shown.contains("agent_night"), "{shown}");
    assert!(server.wait_for_output("inbound answered") && server.output().contains("night"));
    assert!(!server.output().contains(CALLER) && !server.output().contains("gold"), "{}", server.output());
    let metrics = server.metrics().text();
    for line in [
        "inbound_answers_total{outcome=\"answered\"} 1",
        "inbound_answers_total{outcome=\"caller_rejected\"} 1",
        "inbound_answer_duration_seconds_count 2",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn variables_contain_the_history_of_the_caller() {
    let variables = "dynamic_variables = { calls = \"{{ caller.calls }}\", name = \"{{ caller.name }}\", \
        summary = \"{{ caller.last_summary }}\", at = \"{{ caller.last_call_at }}\", \
        hello = \"{% if caller.known %}Welcome back{% endif %}\" }\ntime_zone = \"Europe/Berlin\"";
    let (home, server) = start_with_rules(
        &[
            rule_config("known", &format!("known_caller = true\n{variables}")),
            marked_rule_config("new", "known_caller = false"),
        ]
        .concat(),
    );
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_now")))["metadata"]["rule"], "new");
    for (id, at, analysis) in [
        (
            "call_1",
            1_790_000_000_000_i64,
            json!({"call_summary": "Ordered rye.", "custom_analysis_data": {"customer_name": "Ana"}}),
        ),
        ("call_2", 1_790_100_000_000, json!({"call_summary": "Asked about Sunday."})),
    ] {
        let call = json!({"call_id": id, "call_type": "phone_call", "direction": "inbound", "from_number": CALLER,
            "to_number": CALLED, "start_timestamp": at, "call_analysis": analysis});
        let event = json!({"event": "call_analyzed", "call": call}).to_string();
        assert_eq!(server.post_signed(event.as_bytes()).status, 200);
        let listed = || home.run_ok(&["calls", "list", "--json"]).json().to_string().contains(id);
        assert!(wait_until(Duration::from_secs(10), listed));
    }
    let answer = answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_now_2")));
    // 1790100000 is 22 September 2026, 18:00 UTC: summer time in Berlin.
    let expected = json!({"calls": "2", "name": "Ana", "summary": "Asked about Sunday.", "at": "2026-09-22T20:00:00+02:00",
        "hello": "Welcome back"});
    assert_eq!(answer["dynamic_variables"], expected);
    for other in ["+12025550144", "anonymous", ""] {
        assert_eq!(
            answer_fields(&server.post_signed(&call_inbound_body(other, &format!("call_{other}"))))["metadata"]["rule"],
            "new",
            "{other}"
        );
    }
    assert!(!server.output().contains("Ana") && !server.output().contains("Sunday"));
}

#[test]
fn called_person_is_known_and_the_companys_own_number_is_not() {
    let variables = "dynamic_variables = { summary = \"{{ caller.last_summary }}\", calls = \"{{ caller.calls }}\" }";
    let (home, server) = start_with_rules(
        &[
            rule_config("known", &format!("known_caller = true\n{variables}")),
            marked_rule_config("new", "known_caller = false"),
        ]
        .concat(),
    );
    let call = json!({"call_id": "call_out", "call_type": "phone_call", "direction": "outbound", "from_number": CALLED,
        "to_number": CALLER, "call_analysis": {"call_summary": "Promised a refund."}});
    assert_eq!(server.post_signed(json!({"event": "call_analyzed", "call": call}).to_string().as_bytes()).status, 200);
    let listed = || home.run_ok(&["calls", "list", "--json"]).json().to_string().contains("call_out");
    assert!(wait_until(Duration::from_secs(10), listed));
    let spoofed = answer_fields(&server.post_signed(&call_inbound_body(CALLED, "call_1")));
    assert_eq!(
        spoofed,
        json!({"metadata": {"rule": "new"}}),
        "a caller that spoofs the company's own number learns nothing"
    );
    let called_back = answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_2")));
    assert_eq!(called_back["dynamic_variables"], json!({"summary": "Promised a refund.", "calls": "1"}));
}

#[test]
fn erasing_a_request_deletes_its_answer() {
    let (home, server) =
        start_with_rules(&rule_config("any", "dynamic_variables = { number = \"{{ from_number }}\" }"));
    assert_eq!(
        answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_1")))["dynamic_variables"]["number"],
        CALLER
    );
    wait_for_inbound_answer(&home, &latest_event_id(&home));
    let answer = format!(r#"{{"number":"{CALLER}"}}"#);
    let is_on_disk = || {
        let files = ["", "-wal"].map(|suffix| format!("{}{suffix}", home.database_path().display()));
        let bytes = files.map(|path| std::fs::read(path).unwrap_or_default()).concat();
        bytes.windows(answer.len()).any(|part| part == answer.as_bytes())
    };
    assert!(is_on_disk(), "the test knows the text of the answer");
    home.run_ok(&["erase", "--phone", CALLER, "--yes"]);
    assert!(!is_on_disk(), "the answer is still in the database");
}

#[test]
fn reload_applies_to_new_requests_and_repeated_ones_keep_their_answer() {
    let (home, server) = start_with_rules(&marked_rule_config("first", ""));
    let body = call_inbound_body(CALLER, "call_1");
    assert_eq!(answer_fields(&server.post_signed(&body))["metadata"]["rule"], "first");
    wait_for_inbound_answer(&home, &latest_event_id(&home));
    home.write_config("[[inbound.rules]]\nname = \"broken\"\ndays = [\"someday\"]\n");
    server.send_signal("-HUP");
    assert!(server.wait_for_output("inbound.rules[0] `broken`: days = [\"someday\"]: "), "{}", server.output());
    assert_eq!(
        answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_2")))["metadata"]["rule"],
        "first",
        "the invalid rules were not applied"
    );
    home.write_config(&marked_rule_config("second", ""));
    server.send_signal("-HUP");
    assert!(server.wait_for_output("settings reloaded"), "{}", server.output());
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_3")))["metadata"]["rule"], "second");
    // Signed anew, as a retry may be.
    assert_eq!(answer_fields(&server.post_signed(&body))["metadata"]["rule"], "first");
    let metrics = server.metrics().text();
    assert!(metrics.contains("inbound_answers_total{outcome=\"duplicate\"} 1"), "{metrics}");
    // Without a stored answer, it is answered anew.
    home.open_database().execute("DELETE FROM inbound_answers", []).unwrap();
    assert_eq!(answer_fields(&server.post_signed(&body))["metadata"]["rule"], "second");
}

#[test]
fn invalid_rules_are_reported_with_rule_name_and_key() {
    for (lines, expected) in [
        ("hours = \"9-5\"", "inbound.rules[0] `x`: hours: `9-5` is not"),
        ("time_zone = \"Mars/Olympus\"", "inbound.rules[0] `x`: time_zone: "),
        ("from = [\"@missing.txt\"]", "inbound.rules[0] `x`: from[0]: cannot read the number file missing.txt: "),
        (
            "from = [\"*\"]",
            "config/local.toml:3: inbound.rules[0] `x`: from[0]: `*` matches no call: it has no country code",
        ),
        (
            "from = [\"+49*\",\n\"030 12345678\"]",
            "config/local.toml:4: inbound.rules[0] `x`: from[1]: `030•••78` matches no call: it has no country code",
        ),
        ("to = [\"+49 30\"]", "inbound.rules[0] `x`: to[0]: `•••` matches no call: it has 4 digits"),
        ("to = [\"anonymus\"]", "`x`: to[0]: `anonymus` matches no call: it has the character U+0061"),
        ("from = [\"@list.txt\"]", "`x`: from[0]: the number file list.txt, line 2: `202•••43` matches no call: "),
        ("reject = true\nagent = \"agent_1\"", "inbound.rules[0] `x`: reject = true: "),
        ("agent = \" \"", "inbound.rules[0] `x`: answer: override_agent_id: "),
        ("dynamic_variables = { a = \"{{ b | nofilter }}\" }", "inbound.rules[0] `x`: dynamic_variables: `a`: "),
        ("ask = { url = \"ftp://x\" }", "inbound.rules[0] `x`: ask.url: "),
        ("ask = { url = \"https://example.com\", secret = \"abc\" }", "inbound.rules[0] `x`: ask.secret: "),
        ("agent = \"a\"\nask = { url = \"https://example.com\" }", "inbound.rules[0] `x`: ask: "),
        ("kind = \"fax\"", "kind"),
        ("fromm = [\"x\"]", "did you mean `inbound.rules.from`?"),
    ] {
        let home = TestEnv::new();
        home.write_config(&rule_config("x", lines));
        std::fs::write(home.path().join("list.txt"), "+49*\n2025550143 # Ana\n").unwrap();
        for command in [["config", "check"].as_slice(), &["serve"]] {
            let finished = home.run(command);
            assert!(finished.exit_code == Some(1) && finished.output().contains(expected), "{lines}: {finished:?}");
        }
    }
    let home = TestEnv::new();
    home.write_config("[inbound]\ntimeout_ms = 9000\n");
    assert!(home.run(&["config", "check"]).output().contains("inbound.timeout_ms"));
    home.write_config(&[rule_config("x", ""), rule_config("x", "")].concat());
    assert!(home.run(&["config", "check"]).output().contains("inbound.rules[1].name"));
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__INBOUND__RULES[0]__NAME", "x");
    assert!(home.run(&["config", "check"]).output().contains("configuration file only"));
}

/// Every TOML block of docs/inbound.md is a complete and valid configuration.
#[test]
fn examples_in_the_documentation_are_valid() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/inbound.md")).unwrap();
    let blocks: Vec<_> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 4);
    for block in &blocks {
        let home = TestEnv::new();
        std::fs::write(home.path().join("vip.txt"), "+12025550143\n").unwrap();
        home.write_config(block);
        assert_eq!(home.run_ok(&["config", "check"]).stdout, "ok\n", "{block}");
        let shown = home.run_ok(&["config", "show"]).stdout;
        if !block.contains("ask") {
            home.write_config(&shown);
            assert_eq!(
                home.run_ok(&["config", "show"]).stdout.matches("[[inbound").count(),
                block.matches("[[inbound").count()
            );
        }
    }
    let (home, server) = {
        let home = TestEnv::new();
        std::fs::write(home.path().join("vip.txt"), "+12025550143\n").unwrap();
        home.write_config(blocks[0]);
        let server = home.start_server();
        (home, server)
    };
    assert_eq!(answer_fields(&server.post_signed(&call_inbound_body("+99900", "call_1"))), json!({"reject": true}));
    let vip = answer_fields(&server.post_signed(&call_inbound_body(CALLER, "call_2")));
    assert_eq!(vip["override_agent_id"], "agent_concierge", "{vip}");
    drop(home);
}

#[test]
fn unreadable_text_becomes_readable_in_variables_and_for_a_service() {
    let sink = DestinationServer::start_with(|_, request: &ReceivedRequest| {
        let trunk = request.json()["call_inbound"]["custom_sip_headers"]["x-trunk"].clone();
        axum::response::Response::new(
            json!({"call_inbound": {"dynamic_variables": {"asked": trunk}}}).to_string().into(),
        )
    });
    let ask = rule_config("ask", &format!("from = [\"{CALLER}\"]\nask = {{ url = \"{}\" }}", sink.url()));
    let rest = rule_config("rest", "dynamic_variables = { trunk = \"{{ sip['x-trunk'] }}\" }");
    let (_home, server) = start_with_rules(&[ask, rest].concat());
    let inbound = |from: &str, more: &str| {
        let body = format!(
            r#"{{"event":"call_inbound","call_inbound":{{"from_number":"{from}","to_number":"{CALLED}",
            "custom_sip_headers":{{"x-trunk":"a \ud83d"}},{more}}}}}"#
        );
        answer_fields(&server.post_signed(["\u{feff}", &body].concat().as_bytes()))
    };
    let nested = format!("\"x\":{}{}", "[".repeat(200), "]".repeat(200));
    for more in ["\"x\":1e400", &nested] {
        assert_eq!(inbound(CALLER, more)["dynamic_variables"], json!({"asked": "a \u{fffd}"}));
        assert_eq!(inbound("+12025550144", more)["dynamic_variables"], json!({"trunk": "a \u{fffd}"}));
    }
}
