//! `config`: prints and checks the settings.

use std::fs;

use crate::support::signing::{KEY, api_key};
use crate::support::test_env::TestEnv;

fn write_config_file(home: &TestEnv, name: &str, text: &str) {
    fs::create_dir_all(home.path().join("config")).unwrap();
    fs::write(home.path().join("config").join(name), text).unwrap();
}

#[test]
fn show_prints_the_source_of_each_value() {
    let home = TestEnv::new().with_env("RUN_ENV", "blue").with_env("DEBUG", "true");
    write_config_file(
        &home,
        "default.toml",
        "[server]\nport = 7001\nbody_limit_bytes = 2048\n[security]\nsignature_tolerance_ms = 1000\n",
    );
    write_config_file(&home, "blue.toml", "[security]\nsignature_tolerance_ms = 2000\n");
    write_config_file(
        &home,
        "local.toml",
        "[[handlers]]\nname = \"ended\"\nkind = \"log\"\nevents = [\"call_ended\"]\n",
    );
    fs::write(home.path().join(".env"), "SERVER_URL=https://user:pa55word@example.ngrok.app\n").unwrap();
    let shown = home.run_ok(&["config", "show"]).stdout;
    for line in [
        "body_limit_bytes = 2048  # config/default.toml",
        "inflight_limit_bytes = 67108864  # built in",
        "host = \"127.0.0.1\"  # RETELL_WEBHOOK__SERVER__HOST",
        "port = 0  # RETELL_WEBHOOK__SERVER__PORT",
        "url = \"https://user:***@example.ngrok.app\"  # SERVER_URL",
        "signature_tolerance_ms = 2000  # config/blue.toml",
        "level = \"debug\"  # DEBUG",
        "[[handlers]]  # config/local.toml",
        "events = [\"call_ended\"]",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
    }
    let keys = format!("# keys = [\"***\"]  # RETELL_API_KEY; fingerprint {}", api_key(KEY).fingerprint());
    assert!(shown.contains(&keys), "{shown}");
    let json = home.run_ok(&["config", "show", "--json"]);
    assert_eq!(json.json()["security"]["keys"][0], "***");
    for secret in [KEY, "pa55word"] {
        assert!(!shown.contains(secret) && !json.stdout.contains(secret));
    }
}

#[test]
fn the_output_of_show_is_a_configuration_file() {
    let home = TestEnv::new();
    let shown = home.run_ok(&["config", "show"]).stdout;
    let other = TestEnv::new();
    write_config_file(&other, "local.toml", &shown);
    assert_eq!(other.run_ok(&["config", "show", "--json"]).json(), home.run_ok(&["config", "show", "--json"]).json());
}

#[test]
fn errors_of_handlers_functions_and_rules_name_file_and_line() {
    let handler = |more: &str| format!("[[handlers]]\nname = \"crm\"\nkind = \"forward\"\n{more}\n");
    let log_handler = "[[handlers]]\nname = \"a\"\nkind = \"log\"\n\n";
    for (text, expected) in [
        (format!("{log_handler}{}", handler("")), "config/local.toml:5: handlers[1] `crm`: url: it is not set"),
        (handler("url = \"ftp://x\""), "config/local.toml:4: handlers[0] `crm`: url: it is not an http"),
        (
            handler("url = \"https://a.example\"\nwhen = \"$[\""),
            "config/local.toml:5: handlers[0] `crm`: when = \"$[\": ",
        ),
        (
            "[[functions]]\nname = \"f\"\nurl = \"ftp://x\"\n".to_owned(),
            "config/local.toml:3: functions[0] `f`: url: it is not an http",
        ),
        (
            "[[inbound.rules]]\nname = \"r\"\nask = { url = \"ftp://x\" }\n".to_owned(),
            "config/local.toml:3: inbound.rules[0] `r`: ask.url: it is not an http",
        ),
    ] {
        let home = TestEnv::new();
        write_config_file(&home, "local.toml", &text);
        for command in [["config", "check"].as_slice(), &["serve"]] {
            let ran = home.run(command);
            assert!(ran.exit_code == Some(1) && ran.output().contains(expected), "{expected}: {ran:?}");
        }
    }
}

#[test]
fn check_reports_by_exit_code() {
    let home = TestEnv::new();
    assert_eq!(home.run_ok(&["config", "check"]).stdout, "ok\n");
    assert!(TestEnv::without_key().run_ok(&["config", "check"]).stdout.contains("RETELL_API_KEY"));
    let table = [
        ("RETELL_WEBHOOK__SERVER__PROT", "1", "server.port"),
        ("PORT", "many", "server.port"),
        ("RETELL_WEBHOOK__LOG__LEVEL", "a=b=c", "log.level"),
        ("DATABASE_URL", "mysql://localhost", "sqlite://"),
        ("DATABASE_URL", "sqlite://x.db?mode=rw", "max_page_count"),
        ("RETELL_API_KEY", "your_api_key_here", "placeholder"),
    ];
    for (name, value, message) in table {
        let mut home = TestEnv::without_key().with_env(name, value);
        if name == "PORT" {
            home.set_env("RETELL_WEBHOOK__SERVER__PORT", "");
        }
        let ran = home.run(&["config", "check"]);
        assert!(
            ran.exit_code == Some(1) && ran.stdout.is_empty() && ran.stderr.contains(message),
            "{name}={value}: {ran:?}"
        );
    }
    assert!(!home.path().join("data").exists(), "reading commands create nothing");
}

#[test]
fn default_is_a_configuration_file_with_every_key() {
    let home = TestEnv::new();
    let text = home.run_ok(&["config", "default"]).stdout;
    assert!(text.contains("# TCP port to listen on") && text.contains("[[handlers]]"), "{text}");
    write_config_file(&home, "default.toml", &text);
    assert_eq!(home.run_ok(&["config", "check"]).stdout, "ok\n");
}

#[test]
fn check_and_status_warn_about_unknown_event_names() {
    let home = TestEnv::new();
    let table = "[[handlers]]\nname = \"ended\"\nkind = \"log\"\nevents = [\"call_endet\"]\n";
    write_config_file(&home, "local.toml", table);
    let warning = "handler `ended` filters for unknown event names: call_endet";
    let checked = home.run_ok(&["config", "check"]).stdout;
    assert!(checked.starts_with("ok, with warnings:") && checked.contains(warning), "{checked}");
    let status = home.run(&["status", "--json"]).json();
    let warnings = status["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|text| text.as_str().unwrap().starts_with(warning)), "{warnings:?}");
}
