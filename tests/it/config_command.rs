//! `config`: prints and checks the settings.

use std::fs;

use crate::support::server::ReceiverProcess;
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
    let warning =
        "config/local.toml:4: handlers[0] `ended`: events = [\"call_endet\"]: Retell sends no event named call_endet";
    let checked = home.run_ok(&["config", "check"]).stdout;
    assert!(checked.starts_with("ok, with warnings:") && checked.contains(warning), "{checked}");
    let status = home.run(&["status", "--json"]).json();
    let warnings = status["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|text| text.as_str().unwrap().starts_with(warning)), "{warnings:?}");
}

#[test]
fn values_are_cleaned_and_the_rest_is_refused_by_name() {
    let home = TestEnv::without_key()
        .with_env("RETELL_API_KEY", &format!("\"{KEY}\""))
        .with_env("SERVER_URL", "\u{feff}https://example.ngrok.app ")
        .with_env("DATABASE_URL", "'sqlite://~/store/x.db'");
    let home_folder = home.path().to_str().unwrap().to_owned();
    let mut home = home.with_env("HOME", &home_folder);
    assert_eq!(home.run_ok(&["config", "check"]).stdout, "ok\n");
    drop(home.start_server());
    assert!(home.path().join("store/x.db").exists() && !home.path().join("~").exists());
    for (name, value, message) in [
        ("DATABASE_URL", "sqlite://$DATA/x.db", "environment variable DATABASE_URL: storage.url: only ${HOME}"),
        ("RETELL_WEBHOOK__LOG__DIR", "~ada/logs", "variable RETELL_WEBHOOK__LOG__DIR: log.dir"),
        ("RETELL_API_KEY", "key_0123456789 abcdef", "environment variable RETELL_API_KEY: it has a blank, a quote"),
        ("RUN_ENV", "prod", "environment variable RUN_ENV = \"prod\": the file config/prod.toml does not exist"),
        ("DEBUG", "banana", "environment variable DEBUG = \"banana\": expected true, yes, on or 1"),
    ] {
        let before = std::mem::replace(&mut home, TestEnv::new()).with_env(name, value);
        for command in [&["config", "check"][..], &["serve"], &["doctor"]] {
            let ran = before.run(command);
            assert!(ran.exit_code == Some(1) && ran.output().contains(message), "{name}={value}: {ran:?}");
        }
        let names = fs::read_dir(before.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(names.into_iter().all(|name| !name.contains(['$', '~'])), "{name}={value}");
    }
}

#[test]
fn check_serve_doctor_and_status_have_the_same_warnings() {
    let mut home = TestEnv::new().with_env("SERVER_URL", "http://hooks.example.com");
    write_config_file(
        &home,
        "local.toml",
        "[[handlers]]\nname = \"ended\"\nkind = \"log\"\nevents = [\"call_endet\"]\n",
    );
    let warnings = [
        "environment variable SERVER_URL: server.url: it is a public http:// address",
        "config/local.toml:4: handlers[0] `ended`: events = [\"call_endet\"]: Retell sends no event named call_endet",
    ];
    let server = home.start_server();
    home.use_ports_of(&server);
    let outputs = [
        home.run_ok(&["config", "check"]).stdout,
        // The log escapes quotes.
        server.output().replace("\\\"", "\""),
        home.run(&["doctor"]).stdout,
        home.run(&["status"]).stdout,
    ];
    for output in outputs {
        assert!(warnings.iter().all(|warning| output.contains(warning)), "{output}");
    }
}

#[test]
fn options_choose_the_folder_and_a_further_file() {
    let home = TestEnv::new();
    let folder = home.path().join("receiver");
    fs::create_dir_all(folder.join("config")).unwrap();
    fs::write(folder.join("config/local.toml"), "[log]\ndir = \"off\"\n[server]\nbody_limit_bytes = 2048\n").unwrap();
    fs::write(folder.join(".env"), "SERVER_URL=https://example.ngrok.app\n").unwrap();
    fs::write(folder.join("more.toml"), "[server]\nbody_limit_bytes = 4096\n").unwrap();
    for options in [["-C", "receiver", "--config", "more.toml"], ["--config", "more.toml", "-C", "receiver"]] {
        let shown = home.run_ok(&[&["config", "show"], &options[..]].concat()).stdout;
        let before_command = home.run_ok(&[&options[..], &["config", "show"]].concat()).stdout;
        assert_eq!(shown, before_command);
        for line in [
            "body_limit_bytes = 4096  # more.toml",
            "dir = \"off\"  # config/local.toml",
            "url = \"https://example.ngrok.app\"  # SERVER_URL",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
        }
    }
    fs::write(folder.join("more.toml"), "[server]\nprot = 1\n").unwrap();
    for (options, message) in [
        (&["-C", "receiver", "--config", "more.toml"][..], "more.toml:2: server.prot: unknown key"),
        (&["--config", "receiver/missing.toml"], "receiver/missing.toml: the file of --config does not exist"),
        (&["-C", "nowhere"], "-C: cannot change to the folder nowhere"),
    ] {
        for command in [&["config", "check"][..], &["status"], &["serve"], &["doctor"]] {
            let ran = home.run(&[command, options].concat());
            assert!(ran.exit_code == Some(1) && ran.output().contains(message), "{options:?}: {ran:?}");
        }
    }
}

#[test]
fn options_of_serve_override_every_setting() {
    let home =
        TestEnv::new().with_env("RETELL_WEBHOOK__SERVER__PORT", "1").with_env("RETELL_WEBHOOK__SERVER__HOST", "::1");
    let server = ReceiverProcess::start(home.command(&["serve", "--port", "0", "--host", "127.0.0.1"]));
    assert!(server.address().ip().is_loopback() && server.address().is_ipv4() && server.address().port() > 1);
    let in_use = server.address().port().to_string();
    let other = TestEnv::new();
    let ran = other.run(&["serve", "--port", &in_use]);
    assert!(ran.exit_code == Some(1) && ran.stderr.contains("choose a free one with --port or PORT"), "{ran:?}");
    for invalid in [["--port", "many"], ["--host", "localhost:1"]] {
        assert_eq!(other.run(&[&["serve"], &invalid[..]].concat()).exit_code, Some(2), "{invalid:?}");
    }
}
