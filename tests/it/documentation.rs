//! What README and docs tell people to type is run as it stands; the table of settings is generated; links lead
//! somewhere.

use std::fmt::Write;
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

/// Blocks that are run elsewhere: this is `cargo test`; tests/docker/run goes through the Dockerfile, examples.rs runs
/// the examples.
const BLOCKS_RUN_ELSEWHERE: [&str; 3] = ["cargo run --release", "docker build", "cargo run --example"];

/// Verbs that run until they are ended, that need what is not there, or the receiver stopped: parsed only.
const PARSED_ONLY_COMMANDS: [&str; 5] = ["serve", "tail", "load", "events import", "simulate appointment"];

fn repository_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and every page under docs/ but the decisions, which are history.
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

/// The blocks of code in a language, in order.
fn code_blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    text.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

/// Commands between backticks: with the program's name, or two words of which the first is a verb. Those with
/// placeholders other than ID, F and SHELL are left out.
fn inline_commands(text: &str) -> Vec<String> {
    let cli = Cli::command();
    let is_verb = |word: &str| cli.get_subcommands().any(|verb| verb.get_name() == word);
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("```")) {
        for span in line.split('`').skip(1).step_by(2).filter(|span| !span.contains(['…', '[', '<', '=', '|'])) {
            let (named, command) = match span.split_once("retell-webhook ") {
                Some((_, command)) => (true, command),
                None => (false, span),
            };
            let mut words = command.split(' ');
            if named || (words.next().is_some_and(is_verb) && words.next().is_some()) {
                found.push(command.to_owned());
            }
        }
    }
    found
}

/// A receiver with an event and a refused request, and the file the documents speak of; the verbs find it.
fn documentation_env() -> (TestEnv, ReceiverProcess) {
    let mut home = TestEnv::new().with_env("RETELL_WEBHOOK__SECURITY__KEEP_REJECTED_BODIES", "true");
    std::fs::write(home.path().join("body.json"), event_body("call_ended", "call_saved")).unwrap();
    let server = home.start_server();
    home.set_env("RETELL_WEBHOOK__SERVER__PORT", &server.address().port().to_string());
    let program = Path::new(env!("CARGO_BIN_EXE_retell-webhook")).parent().unwrap();
    home.set_env("PATH", &format!("{}:{}", program.display(), std::env::var("PATH").unwrap()));
    server.post_signed(&event_body("call_ended", "call_1"));
    server.post_signed(br#"{"event":"chat_ended","chat":{"chat_id":"chat_1"}}"#);
    post(server.address(), b"{}", &format!("v={},d={}", now_ms(), "0".repeat(64)));
    for list in [["rejected", "list", "--json"], ["calls", "list", "--json"], ["chats", "list", "--json"]] {
        assert!(wait_until(Duration::from_secs(10), || home.run_ok(&list).json()[0].is_object()));
    }
    (home, server)
}

/// Puts the deliveries of the event into the state that a verb changes.
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

/// Runs a line or several in bash, in the home's folder with its settings; what it printed if all went well.
fn run_bash(home: &TestEnv, script: &str) -> Result<String, String> {
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", script]).current_dir(home.path()).env_clear().envs(home.env());
    let output = bash.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn the_blocks_run_as_they_stand() {
    let (home, server) = documentation_env();
    let mut ran = 0;
    for document in documentation_files() {
        for block in code_blocks(&read_document(&document), "sh") {
            if BLOCKS_RUN_ELSEWHERE.iter().any(|start| block.starts_with(start)) {
                continue;
            }
            let said = run_bash(&home, &block.replace("localhost:8000", &server.address().to_string()));
            assert!(said.as_ref().is_ok_and(|said| !said.contains("HTTP/1.1 4")), "{document}: {block}\n{said:?}");
            ran += 1;
        }
    }
    assert!(ran >= 2, "{ran} blocks were run");
}

#[test]
fn the_commands_in_the_text_run() {
    let (home, server) = documentation_env();
    let event_id = home.list_events(&[])[0]["id"].as_str().unwrap().to_owned();
    let rejected_id = home.run_ok(&["rejected", "list", "--json"]).json()[0]["id"].to_string();
    let port = server.address().port().to_string();
    let mut ran = Vec::new();
    for document in documentation_files() {
        for command in inline_commands(&read_document(&document)) {
            let id = match command.split(' ').next() {
                Some("rejected") => rejected_id.trim_matches('"'),
                Some("calls") => "call_1",
                Some("chats") => "chat_1",
                _ => &event_id,
            };
            let mut command = command.replace(":8001", &format!(":{port}"));
            for (placeholder, value) in [(" ID", id), ("--file F", "body.json"), (" SHELL", "bash")] {
                let last = placeholder.split(' ').next_back().unwrap();
                command = command.replace(placeholder, &placeholder.replace(last, value));
            }
            let words = command.split(" > ").next().unwrap_or_default().split_whitespace();
            let parsed = Cli::try_parse_from(std::iter::once("retell-webhook").chain(words));
            assert!(parsed.is_ok(), "{document}: {command}: {}", parsed.err().unwrap());
            if PARSED_ONLY_COMMANDS.iter().any(|verb| command.starts_with(verb)) {
                continue;
            }
            set_delivery_states(&home, &command);
            let said = run_bash(&home, &format!("retell-webhook {command} <body.json"));
            assert!(said.is_ok(), "{document}: {command}: {said:?}");
            ran.push(command);
        }
    }
    assert!(ran.len() > 10, "only {ran:?} ran");
}

/// A row a setting from config/default.toml: the section, the key, its value and the comment above it.
fn settings_table_rows() -> String {
    let (mut section, mut comment, mut rows) = (String::new(), String::new(), String::new());
    for line in read_document("config/default.toml").lines().take_while(|line| !line.starts_with("[[handlers]]")) {
        let setting = line.trim_start_matches("# ").split_once(" = ");
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) =
            setting.filter(|(key, _)| key.chars().all(|c| c == '_' || c.is_ascii_lowercase()))
        {
            let value = if line.starts_with('#') { "unset".to_owned() } else { format!("`{value}`") };
            let _ = writeln!(rows, "| `{section}.{key}` | {value} | {} |", comment.trim().replace('|', "\\|"));
        } else if let Some(text) = line.strip_prefix("# ") {
            comment += text;
            comment.push(' ');
            continue;
        }
        comment.clear();
    }
    rows
}

/// `UPDATE_GENERATED=1 cargo test documents` writes it.
#[test]
fn the_table_of_settings_is_the_one_of_the_default_file() {
    const START: &str = "<!-- from config/default.toml -->\n| key | default | meaning |\n|---|---|---|\n";
    let readme = read_document("README.md");
    let start = readme.find(START).expect("the table's beginning") + START.len();
    let end = start + readme[start..].find("\n\n").unwrap() + 1;
    let fresh = settings_table_rows();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(repository_root().join("README.md"), readme[..start].to_owned() + &fresh + &readme[end..])
            .unwrap();
    } else {
        assert_eq!(&readme[start..end], fresh, "UPDATE_GENERATED=1 cargo test documents writes the table again");
    }
}

#[test]
fn links_lead_somewhere() {
    for document in documentation_files() {
        let folder = repository_root().join(&document).parent().unwrap().to_owned();
        for link in read_document(&document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with("http") && !link.starts_with('#') {
                assert!(folder.join(link).exists(), "{document}: {link}");
            }
        }
    }
}
