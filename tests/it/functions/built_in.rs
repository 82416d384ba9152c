//! Functions that are part of the receiver, as the `functions` commands show them.

use serde_json::{Value, json};

use crate::support::test_env::TestEnv;

const COLLECT_FUNCTION: &str = "collect_appointment_information";

fn function_names(rows: &Value) -> Vec<&str> {
    rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

fn appointments_env(more: &str) -> TestEnv {
    let home = TestEnv::new().with_env("SERVER_URL", "https://example.ngrok.app");
    home.write_config(&format!("[appointments]\nenabled = true\n{more}"));
    home
}

#[test]
fn appointment_functions_are_listed_and_exported() {
    let home = appointments_env("");
    let all = [COLLECT_FUNCTION, "change_appointment_details", "cancel_appointment"];
    for command in [&["functions", "list", "--json"][..], &["functions", "export"]] {
        assert_eq!(function_names(&home.run_ok(command).json()), all);
    }
    let list = home.run_ok(&["functions", "list"]).stdout;
    assert!(list.contains(&format!("built in: {COLLECT_FUNCTION}")), "{list}");
    let shown = home.run_ok(&["functions", "show", COLLECT_FUNCTION]).stdout;
    assert!(shown.contains("Books an appointment") && shown.contains("\"required\""), "{shown}");
    let tools = home.run_ok(&["functions", "schema"]).json();
    assert_eq!(function_names(&tools), all);
    let collect = &tools[0];
    let keys: Vec<_> = collect.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["description", "method", "name", "parameters", "timeout_ms", "type", "url"]);
    assert_eq!(collect["url"], format!("https://example.ngrok.app/api/v1/function/{COLLECT_FUNCTION}"));
    assert_eq!((&collect["method"], &collect["timeout_ms"]), (&json!("POST"), &json!(15_000)));
    assert_eq!(collect["parameters"]["required"], json!(["name", "date", "time"]));
    assert_eq!(collect["description"], "Books an appointment, or offers the next free times if that one is taken.");
    std::fs::write(home.path().join("all.json"), home.run_ok(&["functions", "export"]).stdout).unwrap();
    let imported = home.run_ok(&["functions", "import", "all.json"]).stdout;
    assert!(imported.lines().all(|line| line.is_empty() || line.contains("is built in")), "{imported}");
    assert!(TestEnv::new().run_ok(&["functions", "schema"]).json() == json!([]), "not enabled");
}

#[test]
fn a_table_changes_one_function_and_leaves_the_others() {
    let home = appointments_env(&format!(
        "[[functions]]\nname = \"book2\"\nbuiltin = \"{COLLECT_FUNCTION}\"\ntimeout_ms = 3000\n"
    ));
    let tools = home.run_ok(&["functions", "schema"]).json();
    assert_eq!(function_names(&tools), ["book2", "change_appointment_details", "cancel_appointment"], "in its place");
    assert_eq!(
        (&tools[0]["timeout_ms"], &tools[0]["parameters"]["required"]),
        (&json!(8_000), &json!(["name", "date", "time"]))
    );
    assert!(tools[0]["description"].as_str().unwrap().starts_with("Books an appointment"), "{tools}");
    let server = home.start_server();
    let test = |name: &str| home.run(&["functions", "test", name, "--to", &server.url(), "--json"]);
    let missing = test("book2");
    assert_eq!(missing.json()["outcome"], "answered", "{missing:?}");
    assert_eq!(missing.json()["answer"]["result"], "invalid", "the function itself checks: {missing:?}");
    assert_eq!(test(COLLECT_FUNCTION).json()["status"], 404, "the old name is gone");
    let own = "parameters_file = \"own.json\"\ndescription = \"Mine.\"";
    std::fs::write(home.path().join("own.json"), r#"{"type":"object","required":["service"]}"#).unwrap();
    home.write_config(&format!(
        "[appointments]\nenabled = true\n[[functions]]\nname = \"book2\"\nbuiltin = \"{COLLECT_FUNCTION}\"\n{own}\n"
    ));
    let shown = home.run_ok(&["functions", "show", "book2", "--json"]).json();
    assert_eq!((&shown["parameters"]["required"], &shown["description"]), (&json!(["service"]), &json!("Mine.")));
    drop(server);
    let server = home.start_server();
    let ran = home.run(&["functions", "test", "book2", "--to", &server.url()]);
    assert!(ran.stdout.contains("`service` is missing"), "the receiver uses the file as well: {ran:?}");
}

#[test]
fn config_check_reports_what_stops_the_start() {
    let table = |more: &str| format!("[[functions]]\nname = \"weather\"\n{more}\n");
    let url = "url = \"https://example.com\"";
    for (text, expected) in [
        (table("command = [\"/no/such/program\"]"), "/no/such/program"),
        (table("builtin = \"nothing\""), "the function `nothing` does not exist"),
        (
            format!("[appointments]\nenabled = true\n[[functions]]\nname = \"{COLLECT_FUNCTION}\"\n{url}\n"),
            "another function",
        ),
        (table(&format!("{url}\nsecret = \"plain\"")), "secret"),
        (table(&format!("{url}\nparameters = {{ type = \"array\" }}")), "must be \"object\""),
        (table(&format!("{url}\ncall_id_header = \"not a header!\"")), "call_id_header"),
        ("[[inbound.rules]]\nname = \"r\"\ncompanies = [\"unknown\"]\n".to_owned(), "no company `unknown`"),
        (
            "[[handlers]]\nname = \"x\"\nkind = \"exec\"\ncommand = [\"/no/such/program\"]\n".to_owned(),
            "/no/such/program",
        ),
    ] {
        let home = TestEnv::new();
        home.write_config(&text);
        let checked = home.run(&["config", "check"]);
        let started = home.start_expecting_exit();
        for ran in [&checked, &started] {
            assert!(ran.exit_code == Some(1) && ran.stderr.contains(expected), "{text}: {ran:?}");
        }
    }
}
