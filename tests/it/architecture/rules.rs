//! The rules, each as a function from a file to what is wrong with it.

use super::source::SourceFile;

/// Modules by rank; a file imports from lower ranks and its own module only.
const MODULE_RANKS: [&[&str]; 8] = [
    &["base"],
    &["config", "event", "security"],
    &["telemetry", "storage", "egress"],
    &["http", "handlers"],
    &["intake", "live", "dispatch"],
    &["admin", "gateway", "console"],
    &["app"],
    &["cli"],
];

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 60;

/// Files that decide without waiting, reading a clock or spawning.
const PURE_FILES: [&str; 9] = [
    "src/event/",
    "src/security/",
    "src/dispatch/plan.rs",
    "src/intake/dedupe.rs",
    "src/config/validate.rs",
    "src/app/alarms/evaluate.rs",
    "src/app/alarms/rate.rs",
    "src/app/alarms/silence.rs",
    "src/app/alarms/raised.rs",
];

/// What may be named only in certain places: name, places.
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
    ("tokio::process", &["src/handlers/exec/"]),
    ("process::Command", &["src/handlers/exec/"]),
    ("println", &["src/cli/"]),
    ("print", &["src/cli/"]),
    ("eprintln", &["src/cli/"]),
    ("eprint", &["src/cli/"]),
];

/// What no file may contain.
const FORBIDDEN_TEXTS: [&str; 5] = [".unwrap()", ".expect(", "todo!", "unimplemented!", "dbg!"];

pub fn rank(module: &str) -> Option<usize> {
    MODULE_RANKS.iter().position(|names| names.contains(&module))
}

pub fn check_imports(source: &SourceFile) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some(own) = rank(module) else {
        return vec![format!("{}: module {module} has no rank", source.path)];
    };
    let outside = |path: &String| {
        let named = path.strip_prefix("crate::")?.split("::").next()?;
        (named != module && rank(named).is_none_or(|rank| rank >= own)).then(|| path.clone())
    };
    let paths = source.paths();
    let above = paths.iter().filter_map(outside);
    let around = paths.iter().filter(|path| count_supers(path) >= source.depth()).cloned();
    above.chain(around).map(|path| format!("{}: {path}", source.path)).collect()
}

fn count_supers(path: &str) -> usize {
    let count = path.split("::").take_while(|name| *name == "super").count();
    // A lone `super` is `pub(super)`, which imports nothing.
    if path.ends_with("super") { 0 } else { count }
}

pub fn check_file_length(source: &SourceFile) -> Vec<String> {
    let long = source.lines > MAX_FILE_LINES;
    long.then(|| format!("{}: {} lines", source.path, source.lines)).into_iter().collect()
}

pub fn check_function_lengths(source: &SourceFile) -> Vec<String> {
    let lines: Vec<&str> = source.code.lines().collect();
    let starts = (0..lines.len()).filter_map(|at| Some((at, function_name(lines[at])?)));
    let long = starts.filter_map(|(at, name)| {
        let length = function_length(&lines[at..]);
        (length > MAX_FUNCTION_LINES).then(|| format!("{}:{}: {name} has {length} lines", source.path, at + 1))
    });
    long.collect()
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let marks = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
    let name = after.split(['(', '<']).next()?;
    let named = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (named && before.split_whitespace().all(|word| marks.contains(&word))).then_some(name)
}

/// From the name to the closing brace; a declaration without a body ends at its `;`.
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
    let mut wrong = Vec::new();
    for (name, allowed) in RESTRICTED_NAMES {
        let at_home = allowed.iter().any(|place| source.path.starts_with(place));
        if !at_home && paths.iter().any(|path| is_named_in(path, name)) {
            wrong.push(format!("{}: {name}", source.path));
        }
    }
    wrong
}

/// Whether `path` goes through `wanted`: `tokio::task::spawn_blocking` through `spawn_blocking`.
fn is_named_in(path: &str, wanted: &str) -> bool {
    format!("::{path}::").contains(&format!("::{wanted}::"))
}

pub fn check_forbidden_texts(source: &SourceFile) -> Vec<String> {
    let found = FORBIDDEN_TEXTS.iter().filter(|shortcut| source.code.contains(*shortcut));
    found.map(|shortcut| format!("{}: {shortcut}", source.path)).collect()
}
