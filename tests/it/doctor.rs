//! `doctor`: its findings and their advice.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;

use crate::support::client::RawClient;
use crate::support::destination::DestinationServer;
use crate::support::server::ReceiverProcess;
use crate::support::test_env::{CommandOutput, TestEnv};

fn find_finding(ran: &CommandOutput, check: &str) -> (String, String) {
    let findings = ran.json();
    let found = findings.as_array().unwrap().iter().find(|finding| finding["check"] == check);
    let found = found.unwrap_or_else(|| panic!("no {check} in {findings}"));
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("level"), text("text"))
}

/// Starts a receiver, and makes the commands of the environment look for it on its port.
fn start_server(home: &mut TestEnv) -> ReceiverProcess {
    let server = home.start_server();
    home.use_ports_of(&server);
    server
}

#[test]
fn a_working_setup_exits_with_0() {
    let mut home = TestEnv::new();
    let before = home.run_ok(&["doctor", "--json"]);
    assert!(find_finding(&before, "storage folder").1.contains("is created at the first start"));
    assert!(!home.path().join("data").exists(), "reading commands create nothing");
    assert_eq!(find_finding(&before, "server.url").0, "warning");
    let server = start_server(&mut home);
    home.set_env("SERVER_URL", &server.url());
    let ran = home.run_ok(&["doctor", "--json"]);
    for check in ["configuration", "keys", "port", "storage folder", "store", "server.url"] {
        assert_eq!(find_finding(&ran, check).0, "ok", "{check}: {ran:?}");
    }
    assert!(find_finding(&ran, "server.url").1.contains("leads to this receiver"), "{ran:?}");
    assert!(matches!(find_finding(&ran, "disk space").0.as_str(), "ok" | "warning"));
    let text = home.run_ok(&["doctor"]).stdout;
    assert_eq!(text.lines().count(), ran.json().as_array().unwrap().len(), "one line per finding: {text}");
    assert!(text.starts_with("ok       configuration  valid\n"), "{text}");
    assert_eq!(
        std::fs::read_dir(home.path().join("data"))
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().contains("doctor"))
            .count(),
        0
    );
}

#[test]
fn invalid_settings_are_a_problem() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__SERVER__PROT", "1");
    let ran = home.run(&["doctor", "--json"]);
    let (level, text) = find_finding(&ran, "configuration");
    assert_eq!((ran.exit_code, level.as_str()), (Some(1), "problem"));
    assert!(text.contains("did you mean `server.port`"), "{text}");
    let keyless = TestEnv::without_key().with_env("SERVER_URL", "https://127.0.0.2:1");
    assert_eq!(find_finding(&keyless.run(&["doctor", "--json"]), "keys").0, "warning");
}

#[test]
fn a_port_used_by_another_program_is_a_problem() {
    let other_program = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other_program.local_addr().unwrap().port();
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__SERVER__PORT", &port.to_string());
    respond_in_background(other_program, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let ran = home.run(&["doctor", "--json"]);
    let (level, text) = find_finding(&ran, "port");
    assert!(ran.exit_code == Some(1) && level == "problem" && text.contains("set PORT"), "{ran:?}");
}

fn respond_in_background(listener: TcpListener, response: &'static str) {
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(response.as_bytes());
        }
    });
}

#[test]
fn a_public_url_of_another_receiver_is_a_problem() {
    let mut home = TestEnv::new();
    let _server = start_server(&mut home);
    let other_home = TestEnv::new();
    let other = other_home.start_server();
    // An address that is not recognized as loopback; it leads to this machine if IPv6 is available.
    let elsewhere = format!("http://[::ffff:127.0.0.1]:{}", other.address().port());
    home.set_env("SERVER_URL", &elsewhere);
    let ran = home.run(&["doctor", "--json"]);
    let (level, text) = find_finding(&ran, "server.url");
    assert_eq!((ran.exit_code, level.as_str()), (Some(1), "problem"), "{ran:?}");
    assert!(text.contains("another receiver") || text.contains("no connection"), "{text}");
}

#[test]
fn a_loopback_url_on_another_port_is_a_problem() {
    let mut home = TestEnv::new();
    let server = start_server(&mut home);
    home.set_env("SERVER_URL", "http://localhost:1");
    let ran = home.run(&["doctor", "--json"]);
    let (level, text) = find_finding(&ran, "server.url");
    let line = format!("SERVER_URL=http://localhost:{}", server.address().port());
    assert!(ran.exit_code == Some(1) && level == "problem" && text.contains(&line), "{ran:?}");
}

#[test]
fn a_folder_that_cannot_be_written_is_a_problem() {
    let home = TestEnv::new();
    std::fs::write(home.path().join("file"), "").unwrap();
    let home = home.with_env("DATABASE_URL", "sqlite:///proc/retell-webhook/x.db");
    let ran = home.run(&["doctor", "--json"]);
    let (level, text) = find_finding(&ran, "storage folder");
    assert!(ran.exit_code == Some(1) && level == "problem" && text.contains("storage.url"), "{ran:?}");
    let memory = TestEnv::new().with_env("DATABASE_URL", "sqlite:///dev/shm/no-such-retell-webhook/x.db");
    if std::fs::read_to_string("/proc/mounts").is_ok_and(|mounts| mounts.contains(" /dev/shm tmpfs ")) {
        let ran = memory.run_ok(&["doctor", "--json"]);
        let (level, text) = find_finding(&ran, "file system");
        assert!(level == "warning" && text.contains("memory"), "{ran:?}");
    }
}

#[test]
fn online_compares_the_clock() {
    let mut home = TestEnv::new();
    let server = start_server(&mut home);
    let ran = home.run_ok(&["doctor", "--online", "--clock-url", &server.url(), "--json"]);
    assert_eq!(find_finding(&ran, "clock").0, "ok", "{ran:?}");
    let late = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", late.local_addr().unwrap());
    let response =
        "HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2020 10:00:00 GMT\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    respond_in_background(late, response);
    let ran = home.run(&["doctor", "--online", "--clock-url", &url, "--json"]);
    let (level, text) = find_finding(&ran, "clock");
    assert!(ran.exit_code == Some(1) && level == "problem" && text.contains("ahead of"), "{ran:?}");
    let ran = home.run_ok(&["doctor", "--online", "--clock-url", "http://127.0.0.1:1", "--json"]);
    assert_eq!(find_finding(&ran, "clock").0, "warning", "{ran:?}");
    let checks: Vec<Value> = home.run_ok(&["doctor", "--json"]).json().as_array().unwrap().clone();
    assert!(checks.iter().all(|finding| finding["check"] != "clock"), "only with --online");
}

#[test]
fn servers_of_handlers_are_checked() {
    let sink = DestinationServer::start();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = TestEnv::new();
    let table = |name: &str, kind: &str, url: &str| {
        format!("[[handlers]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"{url}\"\n")
    };
    let tables = [
        table("crm", "forward", &format!("{}/s3cr3t", sink.url())),
        table("down", "slack", &format!("http://{free}/s3cr3t")),
        table("nowhere", "forward", "http://no.such.name.invalid/s3cr3t"),
    ];
    home.write_config(&tables.concat());
    let ran = home.run_ok(&["doctor", "--json"]);
    let findings = ran.json();
    let found = |name: &str| {
        let mut handlers = findings.as_array().unwrap().iter().filter(|finding| finding["check"] == "handlers");
        let found = handlers.find(|finding| finding["text"].as_str().unwrap().contains(name)).unwrap();
        (found["level"].as_str().unwrap(), found["text"].as_str().unwrap())
    };
    assert_eq!(found("`crm`"), ("ok", &*format!("`crm`: {} is reachable", sink.url())));
    assert!(found("`down`").0 == "warning" && found("`down`").1.contains("no connection"), "{findings}");
    assert!(found("`nowhere`").0 == "warning" && found("`nowhere`").1.contains("cannot be resolved"), "{findings}");
    assert!(sink.received().is_empty() && !ran.stdout.contains("s3cr3t"), "{ran:?}");
}

/// A proxy at another loopback address that passes the webhook routes through and no others. It has the port of the
/// receiver, because a loopback URL with another port is a different problem.
fn start_webhook_proxy(port: u16, instance: String) -> String {
    let listener = TcpListener::bind(("127.0.0.2", port)).unwrap();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let length = connection.read(&mut head).unwrap_or(0);
            let is_webhook = head[..length].starts_with(b"GET /api/v1/webhook/");
            let status = if is_webhook { "200 OK" } else { "404 Not Found" };
            let response = format!(
                "HTTP/1.1 {status}\r\nx-retell-webhook-instance: {instance}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            connection.write_all(response.as_bytes()).unwrap();
        }
    });
    format!("http://127.0.0.2:{port}")
}

#[test]
fn the_routes_of_functions_are_checked_through_the_public_url() {
    let mut home = TestEnv::new();
    home.write_config("[[functions]]\nname = \"weather\"\nurl = \"http://127.0.0.1:1/f\"\n");
    let server = start_server(&mut home);
    home.set_env("SERVER_URL", &server.url());
    let (level, text) = find_finding(&home.run(&["doctor", "--json"]), "function routes");
    assert_eq!(level, "ok", "{text}");
    assert!(text.contains("/api/v1/function/weather and /api/mcp/retell/custom-function"), "{text}");
    let probe = RawClient::connect(server.address()).request("GET", "/api/v1/webhook/retell/test", &[], b"").unwrap();
    let instance = probe.header("x-retell-webhook-instance").unwrap().to_owned();
    home.set_env("SERVER_URL", &start_webhook_proxy(server.address().port(), instance));
    let ran = home.run(&["doctor", "--json"]);
    let (level, text) = find_finding(&ran, "function routes");
    assert_eq!((level.as_str(), ran.exit_code), ("problem", Some(1)), "{text}");
    assert!(text.contains("/api/v1/function/weather: status 404") && text.contains("docs/running.md"), "{text}");
}

#[test]
fn servers_of_functions_and_inbound_rules_are_checked() {
    let sink = DestinationServer::start();
    let home = TestEnv::new();
    let reachable = sink.url();
    let unreachable = "http://127.0.0.1:1";
    let tables = |function: &str, ask: &str| {
        format!(
            "[[functions]]\nname = \"weather\"\nurl = \"{function}/f\"\n\
             [[inbound.rules]]\nname = \"crm\"\nask = {{ url = \"{ask}/secret\" }}\n"
        )
    };
    let cases = [(reachable.as_str(), unreachable, ["ok", "warning"]), (unreachable, &reachable, ["warning", "ok"])];
    for (function, ask, levels) in cases {
        home.write_config(&tables(function, ask));
        let ran = home.run_ok(&["doctor", "--json"]);
        let found = ["functions", "inbound"].map(|check| find_finding(&ran, check));
        assert_eq!(found.clone().map(|(level, _)| level), levels, "{ran:?}");
        assert!(found[0].1.contains("`weather`") && found[1].1.contains("`crm`") && !ran.stdout.contains("secret"));
    }
    assert!(sink.received().is_empty(), "only a connection is opened");
    home.write_config("[[functions]]\nname = \"weather\"\ncommand = [\"/no/such/program\"]\n");
    let ran = home.run(&["doctor", "--json"]);
    assert!(ran.exit_code == Some(1) && find_finding(&ran, "configuration").1.contains("/no/such/program"), "{ran:?}");
}
