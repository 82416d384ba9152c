//! Checks the architecture: which modules may import which, the length of files and functions, and where certain
//! crates may be used.

mod rules;
mod source;

use std::path::Path;

use source::{SourceFile, is_test_file, rust_files, sources, test_files};

type ArchitectureRule = fn(&SourceFile) -> Vec<String>;

fn assert_no_violations(rule: ArchitectureRule) {
    let sources = sources();
    assert!(sources.len() > 50, "only {} files found", sources.len());
    let violations: Vec<_> = sources.iter().flat_map(rule).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// A rule that cannot fail is useless, so every rule must find a violation in such code.
fn assert_violation(rule: ArchitectureRule, path: &str, code: &str) {
    assert!(!rule(&SourceFile::new(path, code)).is_empty(), "no violation found in {path}: {code}");
}

fn assert_allowed(rule: ArchitectureRule, path: &str, code: &str) {
    let violations = rule(&SourceFile::new(path, code));
    assert!(violations.is_empty(), "{violations:?}");
}

#[test]
fn modules_import_from_lower_ranks_only() {
    assert_no_violations(rules::check_imports);
}

#[test]
fn the_import_rule_finds_violations() {
    let rule = rules::check_imports;
    assert_violation(rule, "src/config/load/mod.rs", "use crate::storage::Store;");
    assert_violation(rule, "src/storage/mod.rs", "use crate::{base::id::EventId, http};");
    assert_violation(rule, "src/http/error.rs", "fn f() { crate::app::health::check(); }");
    assert_violation(rule, "src/event/call.rs", "use crate::Secret;");
    assert_violation(rule, "src/event/call.rs", "use super::super::storage::Store;");
    assert_violation(rule, "src/newcomer/mod.rs", "use crate::base;");
    assert_violation(rule, "src/base/id.rs", "use crate::{\n    base::clock,\n    config::{self, Settings},\n};");
    assert_allowed(rule, "src/app/builder.rs", "use crate::{base::id, intake::{Intake, Endpoint as E}};");
    assert_allowed(
        rule,
        "src/config/load/mod.rs",
        "/// See crate::app.\n// crate::cli\nuse super::Settings;\npub(super) fn f() {}",
    );
    assert_allowed(rule, "src/config/x.rs", "#[cfg(test)]\nmod tests { use crate::app::Receiver; fn f() { { } } }");
    assert_violation(rule, "src/config/x.rs", "#[cfg(test)]\nuse crate::app;\nuse crate::cli;");
}

#[test]
fn files_are_short() {
    assert_no_violations(rules::check_file_length);
    assert_violation(rules::check_file_length, "src/base/x.rs", &"\n".repeat(401));
    assert_allowed(rules::check_file_length, "src/base/x.rs", &"\n".repeat(400));
}

#[test]
fn functions_are_short() {
    assert_no_violations(rules::check_function_lengths);
    let function = |head: &str, lines: usize| format!("{head} {{\n{}}}\n", "    if a() { b(\"}\"); }\n".repeat(lines));
    let rule = rules::check_function_lengths;
    assert_violation(rule, "src/base/x.rs", &function("pub(super) async fn long(a: [u8; 2])", 59));
    assert_violation(rule, "src/base/x.rs", &function("fn long<T: Fn(u8) -> u8>(t: T)", 59));
    assert_violation(rule, "src/base/x.rs", &function("pub(in crate::base) const fn long()", 59));
    assert_violation(rule, "src/base/x.rs", &format!("impl A {{ {} }}", function("fn long(&self)", 59)));
    assert_violation(rule, "src/base/x.rs", &format!("trait A {{ fn a(); {} }}", function("fn long()", 59)));
    assert_violation(rule, "src/base/x.rs", &format!("fn outer() {{ {} }}", function("fn long()", 59)));
    assert_violation(
        rule,
        "src/base/x.rs",
        &format!("macro_rules! a {{ ($b:ident) => {{ {} }} }}", function("fn $b()", 59)),
    );
    assert_violation(rule, "src/base/x.rs", &function("fn long() -> A<{ B }>", 59));
    assert_allowed(rule, "src/base/x.rs", &function("fn short()", 58));
    assert_allowed(rule, "src/base/x.rs", &format!("type A = fn(u8);\n{}struct B {{}}", "\n".repeat(100)));
    assert_allowed(rule, "src/base/x.rs", &format!("fn declared();\n{}", "const A: u8 = 1;\n".repeat(100)));
    assert_allowed(rule, "src/base/x.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}", function("fn long()", 99)));
}

#[test]
fn pure_modules_do_not_await_or_read_the_clock() {
    assert_no_violations(rules::check_purity);
    let rule = rules::check_purity;
    assert_violation(rule, "src/event/x.rs", "pub async fn read() {}");
    assert_violation(rule, "src/security/x.rs", "fn a() { b.await; }");
    assert_violation(rule, "src/dispatch/plan.rs", "use std::time::{Duration, SystemTime};");
    assert_violation(rule, "src/intake/dedupe.rs", "let now = std::time::Instant::now();");
    assert_violation(rule, "src/config/validate.rs", "use tokio::sync::Mutex;");
    assert_violation(rule, "src/alarms/format.rs", "use std::{fmt, fs};");
    assert_allowed(rule, "src/event/x.rs", "use async_trait::async_trait;");
    assert_allowed(rule, "src/dispatch/worker.rs", "async fn run() { tokio::task::yield_now().await }");
}

/// What a module comment promises is checked.
#[test]
fn modules_that_say_that_they_are_pure_are_checked() {
    let claims = ["Pure.", "Pure functions", "are pure", "No I/O"];
    let claims_purity = |path: &String| {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let comment: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
        claims.iter().any(|claim| comment.join("").contains(claim))
    };
    let pure: Vec<_> = rust_files("src").into_iter().filter(claims_purity).collect();
    assert!(pure.len() > 10, "{pure:?}");
    let unchecked: Vec<_> = pure.iter().filter(|path| !rules::is_pure(path)).collect();
    assert!(unchecked.is_empty(), "{unchecked:?}");
}

#[test]
fn external_crates_and_side_effects_stay_in_their_modules() {
    assert_no_violations(rules::check_restricted_names);
    let rule = rules::check_restricted_names;
    assert_violation(rule, "src/app/x.rs", "use rusqlite::Connection;");
    assert_violation(rule, "src/http/x.rs", "fn f(e: reqwest::Error) {}");
    assert_violation(rule, "src/cli/health.rs", "use rustls::ClientConfig;");
    assert_violation(rule, "src/simulation/x.rs", "use hyper::client::conn::http1;");
    assert_violation(rule, "src/config/x.rs", "#[derive(clap::Args)] struct A;");
    assert_violation(rule, "src/app/x.rs", "use std::{env, fs};");
    assert_violation(rule, "src/app/x.rs", "use std::time::{Duration, SystemTime};");
    assert_violation(rule, "src/dispatch/x.rs", "tokio::spawn(async {});");
    assert_violation(rule, "src/dispatch/x.rs", "tokio::task::spawn_blocking(f);");
    assert_violation(rule, "src/storage/x.rs", "std::thread::spawn(f); thread::Builder::new();");
    assert_violation(rule, "src/storage/x.rs", "thread::Builder::new();");
    assert_violation(rule, "src/handlers/x.rs", "use tokio::process::Child;");
    assert_violation(rule, "src/app/x.rs", "std::process::Command::new(a);");
    assert_violation(rule, "src/app/x.rs", "println!();");
    assert_violation(rule, "src/app/x.rs", "eprint!();");
    assert_allowed(rule, "src/storage/sqlite/x.rs", "use rusqlite::Connection;");
    assert_allowed(rule, "src/base/supervise.rs", "thread::Builder::new();");
    assert_allowed(rule, "src/outbound/program/run.rs", "use tokio::process::{Child, Command};");
    assert_allowed(rule, "src/app/x.rs", "supervisor.spawn_thread(f); writeln!(out); let url = \"reqwest::get\";");
}

#[test]
fn commands_only_parse_call_operations_and_print() {
    assert_no_violations(rules::check_commands);
    let rule = rules::check_commands;
    assert_violation(rule, "src/cli/status/mod.rs", "output::print_json(&json!({ \"up\": true }));");
    assert_violation(rule, "src/cli/status/mod.rs", "let up = serde_json::json!(true);");
    assert_violation(rule, "src/cli/events/x.rs", "#[derive(Debug, Serialize)] struct A;");
    assert_violation(rule, "src/cli/events/x.rs", "#[derive(serde::Serialize)] struct A;");
    assert_violation(rule, "src/cli/context.rs", "impl serde::Serialize for A {}");
    assert_violation(rule, "src/cli/calls/list.rs", "async fn run(store: &dyn crate::storage::CallStore) {}");
    assert_violation(rule, "src/cli/output.rs", "use crate::storage::{EventFilter, Store};");
    assert_violation(rule, "src/cli/purge.rs", "let store = storage::open(url, Role::Operator, &supervisor)?;");
    assert_allowed(
        rule,
        "src/cli/context.rs",
        "use crate::storage::{self, Role, Store}; fn f() { storage::open(url) }",
    );
    assert_allowed(rule, "src/cli/output.rs", "fn print_json(value: &impl Serialize) {}");
    assert_allowed(rule, "src/operations/x.rs", "fn f(store: &dyn Journal) { json!({}) }");
    assert_allowed(
        rule,
        "src/cli/x.rs",
        "#[cfg(test)]\nmod tests { fn f() { json!({}) } }\nfn g(filter: EventFilter) {}",
    );
}

#[test]
fn commands_use_stores_and_lower_modules_through_operations() {
    assert_no_violations(rules::check_commands_use_operations);
    let rule = rules::check_commands_use_operations;
    assert!(rules::facet_methods().contains("list_events") && rules::facet_methods().contains("change_next"));
    assert_violation(rule, "src/cli/events/x.rs", "async fn f() { context::open_store()?.list_events(filter).await }");
    assert_violation(rule, "src/cli/purge.rs", "async fn f() { let store = open(); store.close().await?; }");
    assert_violation(rule, "src/cli/x.rs", "fn f() { g! { store.append::<A>(event) } }");
    assert_violation(rule, "src/cli/x.rs", "use crate::simulation;");
    assert_violation(rule, "src/cli/x.rs", "use crate::{base::clock::Clock, dispatch::RetentionRules};");
    assert_violation(rule, "src/cli/x.rs", "fn f() { crate::egress::build_client(timeout) }");
    assert_violation(rule, "src/cli/x.rs", "impl A { pub(in crate::cli) async fn run(self) -> CliResult { Ok(()) } }");
    assert_allowed(rule, "src/cli/x.rs", "use crate::operations::purge::purge; fn run() { row.size_bytes; }");
    assert_allowed(rule, "src/cli/serve.rs", "use crate::live::TEST_PATH; fn f() { url.location(); }");
    assert_allowed(rule, "src/cli/calls/mod.rs", "fn run(self) { list.run() }");
    assert_allowed(rule, "src/cli/x.rs", "use self::live::A; use crate::liveness; fn f() { print_list() }");
    assert_allowed(rule, "src/operations/x.rs", "fn f(store: &dyn Journal) { store.list_events(filter) }");
}

#[test]
fn only_the_command_line_names_commands() {
    assert_no_violations(rules::check_command_names);
    let rule = rules::check_command_names;
    assert!(rules::command_names().contains("serve") && rules::command_names().contains("events"));
    assert_violation(
        rule,
        "src/storage/x.rs",
        "format!(\"event {id} not found; `retell-webhook events list` prints\")",
    );
    assert_violation(rule, "src/alarms/x.rs", "const A: &str = r#\"run `retell-webhook doctor`\"#;");
    assert_allowed(rule, "src/cli/x.rs", "const A: &str = \"`retell-webhook status` lists the handlers\";");
    assert_allowed(rule, "src/storage/x.rs", "/// As `retell-webhook events list` prints it.\nfn f() {}");
    assert_allowed(rule, "src/security/x.rs", "const A: &[u8] = b\"retell-webhook key fingerprint\";");
}

/// Each facet that the rule names is one, and it names all of them.
#[test]
fn the_rule_for_commands_knows_every_facet() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage/mod.rs");
    let definition = std::fs::read_to_string(path).unwrap();
    let (_, bounds) = definition.split_once("pub trait Store:").unwrap();
    let (bounds, _) = bounds.split_once('{').unwrap();
    let mut facets: Vec<_> = bounds.split('+').map(str::trim).chain(["Store"]).collect();
    let mut named = rules::STORAGE_FACETS.to_vec();
    facets.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, facets);
}

#[test]
fn code_does_not_panic_on_purpose() {
    assert_no_violations(rules::check_forbidden_calls);
    let rule = rules::check_forbidden_calls;
    for shortcut in ["a.unwrap();", "a.expect(\"b\");", "todo!()", "dbg!(a)", "unimplemented!()"] {
        assert_violation(rule, "src/app/x.rs", shortcut);
    }
    assert_allowed(rule, "src/app/x.rs", "a.unwrap_or_default(); #[expect(dead_code)] fn f() {} // .unwrap()");
    assert_allowed(rule, "src/app/x.rs", "#[cfg(test)]\nimpl A { fn f() { a.unwrap(); } }\nfn g() {}");
}

#[test]
fn literals_and_comments_are_not_code() {
    let code = "a(\"x // \\\" {\"); b('\"', '\\'', 'c'); c::<'x>(r#\"\"}\"#); /* } y */ d() // e\nf";
    assert_eq!(SourceFile::new("src/app/x.rs", code).paths, ["a", "b", "c", "x", "d", "f"]);
}

#[test]
fn folders_are_small_and_modules_with_submodules_are_folders() {
    let paths = rust_files("src");
    assert_eq!(rules::check_folder_sizes(&paths), [""; 0]);
    assert_eq!(rules::check_module_files(&[paths, rust_files("tests")].concat()), [""; 0]);
    let files = |count: usize| (0..count).map(|n| format!("src/a/{n}.rs")).collect::<Vec<_>>();
    assert_eq!(rules::check_folder_sizes(&files(16)), ["src/a: 16 files"]);
    assert_eq!(rules::check_folder_sizes(&files(15)), [""; 0]);
    let modules = ["src/a.rs", "src/a/b.rs", "src/ab/mod.rs"].map(str::to_owned);
    assert_eq!(rules::check_module_files(&modules), ["src/a.rs"]);
}

/// A rule about a path that was renamed would check nothing.
#[test]
fn paths_in_the_rules_exist() {
    for path in rules::named_paths() {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{path}");
    }
}

#[test]
fn test_only_files_are_recognized() {
    let declared = test_files("src/config/mod.rs", "mod a;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod b { fn c(); }");
    assert_eq!(declared, ["src/config/tests.rs"]);
    let with_path = test_files("src/a/b.rs", "#[cfg(test)]\n#[path = \"b_tests.rs\"]\npub(crate) mod tests;");
    assert_eq!(with_path, ["src/a/b_tests.rs"]);
    let files = ["src/a/suite.rs".to_owned()];
    assert!(is_test_file("src/a/suite.rs", &files) && is_test_file("src/a/suite/mod.rs", &files));
    assert!(!is_test_file("src/a/suites/mod.rs", &files) && !is_test_file("src/a/mod.rs", &files));
    assert!(
        !sources().iter().any(|source| source.path.ends_with("/tests.rs") || source.path.contains("/conformance/"))
    );
}

#[test]
fn paths_are_expanded_from_groups() {
    let source = SourceFile::new("src/app/x.rs", "use crate::{a::{self, b}, c::*, d as e};\nlet f: g::h<i::j> = k!();");
    let expected = ["use", "crate::a::self", "crate::a::b", "crate::c", "crate::d", "let", "f", "g::h", "i::j", "k"];
    assert_eq!(source.paths, expected);
}
