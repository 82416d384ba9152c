//! README and docs: commands run as printed, configuration is valid, generated parts are up to date, and links have
//! targets.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use retell_webhook::internals::Cli;
use retell_webhook::internals::DeliveryState;

use crate::support::bodies::event_body;
use crate::support::client::post;
use crate::support::server::ReceiverProcess;
use crate::support::signing::now_ms;
use crate::support::test_env::TestEnv;
use crate::support::wait_until;

/// Blocks that other tests run: `cargo test` itself, tests/docker/run for the Dockerfile, examples.rs for the examples.
const BLOCKS_RUN_ELSEWHERE: [&str; 3] = ["cargo run --release", "docker build", "cargo run --example"];

/// Commands that do not end by themselves, need other input, or need a stopped receiver. They are only parsed.
const PARSED_ONLY_COMMANDS: [&str; 5] = ["serve", "tail", "load", "events import", "simulate appointment"];

fn repository_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and every page under docs/, except the decisions, which describe earlier versions.
fn documentation_files() -> Vec<String> {
    let mut documents = vec!["README.md".to_owned()];
    let mut folders = vec![repository_root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("decisions") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path.strip_prefix(repository_root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    assert!(documents.len() > 4, "{documents:?}");
    documents
}

fn read_document(document: &str) -> String {
    std::fs::read_to_string(repository_root().join(document)).unwrap()
}

/// The code blocks of a language, in order, without the indentation of the list item they are in.
fn code_blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(fence) = lines.find(|line| line.trim_start() == format!("```{language}")) {
        let indent = fence.len() - fence.trim_start().len();
        let content = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```"));
        blocks.push(content.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect());
    }
    blocks
}

/// Commands between backticks: those with the program's name, or of two words and more of which the first is a command.
/// Commands with placeholders other than ID, F and SHELL are left out.
fn inline_commands(text: &str) -> Vec<String> {
    let cli = Cli::command();
    let is_command = |word: &str| cli.get_subcommands().any(|command| command.get_name() == word);
    let mut commands = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("```")) {
        let spans = line.split('`').skip(1).step_by(2);
        // `tail -F` is the Unix command that has the same name as a subcommand.
        let is_command_line = |span: &&str| !span.contains(['…', '[', '<', '=', '|']) && !span.starts_with("tail -F");
        for span in spans.filter(is_command_line) {
            let (has_program_name, command) = match span.strip_prefix("retell-webhook ") {
                Some(command) => (true, command),
                None => (false, span),
            };
            let mut words = command.split(' ');
            if has_program_name || (words.next().is_some_and(is_command) && words.next().is_some()) {
                commands.push(command.to_owned());
            }
        }
    }
    commands
}

/// A receiver with events and a rejected request, and the file that the documents mention. Commands connect to it by
/// default.
fn documentation_env() -> (TestEnv, ReceiverProcess) {
    let mut home = TestEnv::new().with_env("RETELL_WEBHOOK__SECURITY__KEEP_REJECTED_BODIES", "true");
    std::fs::write(home.path().join("body.json"), event_body("call_ended", "call_saved")).unwrap();
    let server = home.start_server();
    home.set_env("RETELL_WEBHOOK__SERVER__PORT", &server.address().port().to_string());
    let program = Path::new(env!("CARGO_BIN_EXE_retell-webhook")).parent().unwrap();
    home.set_env("PATH", &format!("{}:{}", program.display(), std::env::var("PATH").unwrap()));
    server.post_signed(&event_body("call_ended", "call_1"));
    server.post_signed(br#"{"event":"chat_ended","chat":{"chat_id":"chat_1","from_number":"+12025550143"}}"#);
    post(server.address(), b"{}", &format!("v={},d={}", now_ms(), "0".repeat(64)));
    for list in [["rejected", "list", "--json"], ["calls", "list", "--json"], ["chats", "list", "--json"]] {
        assert!(wait_until(Duration::from_secs(10), || home.run_ok(&list).json()[0].is_object()));
    }
    (home, server)
}

/// Puts the deliveries of the event into the state that a command changes.
fn set_delivery_states(home: &TestEnv, command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    let (state, note) = match words.as_slice() {
        ["dead", "retry" | "discard", ..] => (DeliveryState::Dead, "timeout"),
        ["deliveries", "cancel" | "retry", ..] => (DeliveryState::Scheduled, "timeout"),
        ["replay", .., "disabled"] => (DeliveryState::Skipped, "disabled"),
        ["replay", .., "none"] => {
            home.open_database().execute("DELETE FROM deliveries", []).unwrap();
            return;
        }
        ["replay", ..] => (DeliveryState::Succeeded, ""),
        _ => return,
    };
    let due_ms = (state == DeliveryState::Scheduled).then(|| now_ms() + 3_600_000);
    let sql = "UPDATE deliveries SET state = ?1, note = ?2, due_ms = ?3";
    home.open_database().execute(sql, rusqlite::params![state as i64, note, due_ms]).unwrap();
}

/// Runs a script in bash, in the environment's directory and with its settings. Returns the output; `Err` if it failed.
fn run_bash(home: &TestEnv, script: &str) -> Result<String, String> {
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", script]).current_dir(home.path()).env_clear().envs(home.env());
    let output = bash.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(text) } else { Err(text) }
}

#[test]
fn shell_blocks_run_as_printed() {
    let (home, server) = documentation_env();
    let mut ran = 0;
    for document in documentation_files() {
        for block in code_blocks(&read_document(&document), "sh") {
            if BLOCKS_RUN_ELSEWHERE.iter().any(|start| block.starts_with(start)) {
                continue;
            }
            let output = run_bash(&home, &block.replace("localhost:8000", &server.address().to_string()));
            let is_ok = output.as_ref().is_ok_and(|output| !output.contains("HTTP/1.1 4"));
            assert!(is_ok, "{document}: {block}\n{output:?}");
            ran += 1;
        }
    }
    assert!(ran >= 2, "{ran} blocks were run");
}

#[test]
fn inline_commands_run_as_printed() {
    let (home, server) = documentation_env();
    let event_id = home.list_events(&[])[0]["id"].as_str().unwrap().to_owned();
    let rejected_id = home.run_ok(&["rejected", "list", "--json"]).json()[0]["id"].to_string();
    let port = server.address().port().to_string();
    let mut ran = Vec::new();
    for document in documentation_files() {
        // Most code spans of that page are log messages, some of which begin like a command.
        if document == "docs/logging.md" {
            continue;
        }
        for command in inline_commands(&read_document(&document)) {
            let id = match command.split(' ').next() {
                Some("rejected") => rejected_id.trim_matches('"'),
                Some("calls") => "call_1",
                Some("chats") => "chat_1",
                _ => &event_id,
            };
            let mut command = command.replace(":8100", &format!(":{port}"));
            for (placeholder, value) in [(" ID", id), ("--file F", "body.json"), (" SHELL", "bash")] {
                let last = placeholder.split(' ').next_back().unwrap();
                command = command.replace(placeholder, &placeholder.replace(last, value));
            }
            let words = command.split(" > ").next().unwrap_or_default().split_whitespace();
            let parsed = Cli::try_parse_from(std::iter::once("retell-webhook").chain(words));
            assert!(parsed.is_ok(), "{document}: {command}: {}", parsed.err().unwrap());
            if PARSED_ONLY_COMMANDS.iter().any(|name| command.starts_with(name)) {
                continue;
            }
            set_delivery_states(&home, &command);
            let output = run_bash(&home, &format!("retell-webhook {command} <body.json"));
            assert!(output.is_ok(), "{document}: {command}: {output:?}");
            ran.push(command);
        }
    }
    assert!(ran.len() > 10, "only {ran:?} ran");
}

/// Every `toml` block is a settings file on its own, so that it can be copied into config/local.toml.
#[test]
fn toml_blocks_pass_config_check() {
    let home = TestEnv::new().with_env("PATH", "/usr/bin:/bin");
    std::fs::create_dir(home.path().join("bin")).unwrap();
    std::os::unix::fs::symlink("/bin/true", home.path().join("bin/on-event")).unwrap();
    for numbers in ["blocked.txt", "vip.txt"] {
        std::fs::write(home.path().join(numbers), "+12025550143\n").unwrap();
    }
    let mut checked = 0;
    for document in documentation_files() {
        for block in code_blocks(&read_document(&document), "toml") {
            home.write_config(&block);
            let ran = home.run(&["config", "check"]);
            assert!(ran.exit_code == Some(0) && ran.stdout == "ok\n", "{document}: {block}\n{ran:?}");
            checked += 1;
        }
    }
    assert!(checked > 15, "only {checked} blocks were checked");
}

#[test]
fn the_settings_reference_is_up_to_date() {
    for (command, file) in [("config", "docs/configuration.md"), ("config-schema", "docs/configuration.schema.json")] {
        let printed = TestEnv::new().run_ok(&["docs", command]).stdout;
        assert!(
            printed == read_document(file),
            "{file} is outdated: UPDATE_GENERATED=1 cargo test generated_files writes it"
        );
    }
}

#[test]
fn the_glossary_has_at_most_fifty_terms() {
    let glossary = read_document("docs/glossary.md");
    let rows = glossary.lines().filter_map(|line| line.strip_prefix("| ")).skip(1);
    let terms: Vec<_> = rows.filter_map(|row| row.split(" |").next()).collect();
    assert!((1..=50).contains(&terms.len()), "{} terms", terms.len());
    assert!(terms.windows(2).all(|pair| pair[0] < pair[1]), "the terms are sorted: {terms:?}");
}

#[test]
fn links_have_targets() {
    for document in documentation_files() {
        let folder = repository_root().join(&document).parent().unwrap().to_owned();
        for link in read_document(&document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with("http") && !link.starts_with('#') {
                let path = link.split('#').next().unwrap_or(link);
                assert!(folder.join(path).exists(), "{document}: {link}");
            }
        }
    }
}

#[test]
fn the_proxy_samples_pass_the_routes_of_retell_only() {
    let page = include_str!("../../docs/running.md");
    let (_, section) = page.split_once("## Behind nginx or Caddy").unwrap();
    let (section, _) = section.split_once("## Limits").unwrap();
    let samples: Vec<&str> = section.split("```").skip(1).step_by(2).collect();
    let [nginx, caddy] = samples[..] else { panic!("{samples:?}") };
    for sample in [nginx, caddy] {
        let (comments, active): (Vec<_>, Vec<_>) = sample.lines().partition(|line| line.trim_start().starts_with('#'));
        let active = active.join("\n");
        for route in ["/api/v1/webhook/", "/webhook ", "/api/v1/function/", "/api/mcp/retell/custom-function"] {
            assert!(active.contains(route), "{route} in {active}");
        }
        assert!(
            !active.contains("admin") && !active.contains("gateway") && !active.contains("custom-function/"),
            "{active}"
        );
        assert!(comments.iter().any(|line| line.contains("gateway")), "{comments:?}");
        assert!(!sample.contains("8001"), "{sample}");
    }
    assert!(nginx.contains("location = /api/mcp/retell/custom-function {"), "matched by its exact path");
}
