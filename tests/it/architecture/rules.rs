//! The rules, each as a function from a source file to its violations.

use super::source::SourceFile;

/// The modules by rank. A file may import from lower ranks and from its own module only.
const MODULE_RANKS: [&[&str]; 13] = [
    &["base"],
    &["event", "config", "security", "privacy"],
    &["tenants", "calls", "telemetry", "egress"],
    &["storage", "outbound", "view"],
    &["http", "retell", "handlers"],
    &["intake"],
    &["live", "dispatch", "rejections", "control", "simulation"],
    &["alarms"],
    &["operations"],
    &["gateway"],
    &["console"],
    &["app"],
    &["cli"],
];

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 60;

/// Files whose code must not await, read a clock or spawn.
const PURE_FILES: [&str; 12] = [
    "src/event/",
    "src/security/",
    "src/privacy/",
    "src/calls/",
    "src/base/token_bucket.rs",
    "src/dispatch/plan.rs",
    "src/intake/dedupe.rs",
    "src/config/validate.rs",
    "src/alarms/evaluate.rs",
    "src/alarms/rate.rs",
    "src/alarms/silence.rs",
    "src/alarms/raised.rs",
];

/// Names that may be used only in certain places: name, allowed paths.
const RESTRICTED_NAMES: [(&str, &[&str]); 21] = [
    ("rusqlite", &["src/storage/"]),
    ("reqwest", &["src/egress/", "src/cli/send.rs"]),
    ("rustls", &["src/egress/", "src/cli/send.rs"]),
    ("jsonschema", &["src/live/functions/schema.rs", "src/live/functions/argument_problems.rs"]),
    ("clap", &["src/cli/", "src/main.rs"]),
    ("utoipa", &["src/app/docs/"]),
    ("utoipa_swagger_ui", &["src/app/docs/"]),
    ("aide", &["src/app/docs/"]),
    ("prometheus_client", &["src/telemetry/exposition.rs"]),
    ("std::env", &["src/config/"]),
    ("SystemTime", &["src/base/clock.rs"]),
    ("tokio::spawn", &["src/base/supervise.rs"]),
    ("thread::spawn", &["src/base/supervise.rs"]),
    ("thread::Builder", &["src/base/supervise.rs"]),
    ("spawn_blocking", &["src/base/supervise.rs"]),
    ("tokio::process", &["src/outbound/program/"]),
    ("process::Command", &["src/outbound/program/"]),
    ("println", &["src/cli/"]),
    ("print", &["src/cli/"]),
    ("eprintln", &["src/cli/"]),
    ("eprint", &["src/cli/"]),
];

/// Texts that no file may contain outside tests.
const FORBIDDEN_TEXTS: [&str; 5] = [".unwrap()", ".expect(", "todo!", "unimplemented!", "dbg!"];

/// Every file and folder that the rules name.
pub fn named_paths() -> impl Iterator<Item = &'static str> {
    PURE_FILES.into_iter().chain(RESTRICTED_NAMES.into_iter().flat_map(|(_, places)| places.iter().copied()))
}

pub fn rank(module: &str) -> Option<usize> {
    MODULE_RANKS.iter().position(|names| names.contains(&module))
}

pub fn check_imports(source: &SourceFile) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some(own) = rank(module) else {
        return vec![format!("{}: module {module} has no rank", source.path)];
    };
    let imports_higher_rank = |path: &str| {
        let imported = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next());
        imported.is_some_and(|name| name != module && rank(name).is_none_or(|rank| rank >= own))
    };
    // Enough `super`s lead to the crate root and would bypass the check of `crate::` paths.
    let leaves_module = |path: &str| count_supers(path) >= source.depth();
    let paths = source.paths();
    let violations = paths.iter().filter(|path| imports_higher_rank(path) || leaves_module(path));
    violations.map(|path| format!("{}: {path}", source.path)).collect()
}

fn count_supers(path: &str) -> usize {
    let count = path.split("::").take_while(|name| *name == "super").count();
    // A path that ends with `super` is that of `pub(super)`, which is not an import.
    if path.ends_with("super") { 0 } else { count }
}

pub fn check_file_length(source: &SourceFile) -> Vec<String> {
    if source.lines <= MAX_FILE_LINES {
        return Vec::new();
    }
    vec![format!("{}: {} lines", source.path, source.lines)]
}

pub fn check_function_lengths(source: &SourceFile) -> Vec<String> {
    let lines: Vec<&str> = source.code.lines().collect();
    let mut violations = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let length = function_length(&lines[index..]);
        if length > MAX_FUNCTION_LINES {
            violations.push(format!("{}:{}: {name} has {length} lines", source.path, index + 1));
        }
    }
    violations
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
    let name = after.split(['(', '<']).next()?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let has_only_modifiers = before.split_whitespace().all(|word| modifiers.contains(&word));
    (is_name && has_only_modifiers).then_some(name)
}

/// Number of lines from the name to the closing brace, or to the `;` of a declaration without a body.
fn function_length(lines: &[&str]) -> usize {
    let mut depth = 0;
    for (at, line) in lines.iter().enumerate() {
        for c in line.chars() {
            match c {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth -= 1,
                ';' if depth == 0 => return at + 1,
                _ => {}
            }
            if c == '}' && depth == 0 {
                return at + 1;
            }
        }
    }
    lines.len()
}

pub fn check_purity(source: &SourceFile) -> Vec<String> {
    if !PURE_FILES.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let paths = source.paths();
    let impure = paths.iter().filter(|path| {
        let names: Vec<&str> = path.split("::").collect();
        names.iter().any(|name| matches!(*name, "async" | "await" | "SystemTime"))
            || names[0] == "tokio"
            || names.windows(2).any(|pair| pair == ["Instant", "now"])
    });
    impure.map(|path| format!("{}: {path}", source.path)).collect()
}

pub fn check_restricted_names(source: &SourceFile) -> Vec<String> {
    let paths = source.paths();
    let mut violations = Vec::new();
    for (name, allowed) in RESTRICTED_NAMES {
        let is_allowed = allowed.iter().any(|place| source.path.starts_with(place));
        if !is_allowed && paths.iter().any(|path| is_named_in(path, name)) {
            violations.push(format!("{}: {name}", source.path));
        }
    }
    violations
}

/// Whether `path` contains `name` as whole segments: `tokio::task::spawn_blocking` contains `spawn_blocking`.
fn is_named_in(path: &str, name: &str) -> bool {
    format!("::{path}::").contains(&format!("::{name}::"))
}

pub fn check_forbidden_texts(source: &SourceFile) -> Vec<String> {
    let violations = FORBIDDEN_TEXTS.iter().filter(|text| source.code.contains(**text));
    violations.map(|text| format!("{}: {text}", source.path)).collect()
}
