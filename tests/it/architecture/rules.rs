//! The rules, each as a function from a source file to its violations.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use super::source::{Function, SourceFile, declared_functions, rust_files};

/// The modules by rank. A file may import from lower ranks and from its own module only.
const MODULE_RANKS: [&[&str]; 13] = [
    &["base"],
    &["event", "config", "security", "privacy"],
    &["tenants", "calls", "telemetry", "egress"],
    &["storage", "outbound", "view"],
    &["http", "retell", "handlers"],
    &["intake"],
    &["live", "dispatch", "rejections", "control"],
    &["alarms", "simulation"],
    &["operations"],
    &["gateway"],
    &["console"],
    &["app"],
    &["cli"],
];

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 60;
const MAX_FOLDER_FILES: usize = 15;

/// Files whose code must not await, spawn, read a clock or access files.
const PURE_FILES: [&str; 21] = [
    "src/event/",
    "src/security/",
    "src/privacy/",
    "src/calls/",
    "src/base/token_bucket.rs",
    "src/dispatch/breaker.rs",
    "src/dispatch/plan.rs",
    "src/dispatch/retention/rules.rs",
    "src/intake/dedupe.rs",
    "src/config/validate.rs",
    "src/live/appointments/calendar.rs",
    "src/live/appointments/definitions.rs",
    "src/live/appointments/parse/",
    "src/live/appointments/schema.rs",
    "src/live/inbound/rule_schedule.rs",
    "src/alarms/evaluate.rs",
    "src/alarms/format.rs",
    "src/alarms/rate.rs",
    "src/alarms/silence.rs",
    "src/storage/appointment/event.rs",
    "src/alarms/raised.rs",
];

/// Names that may be used only in certain places: name, allowed paths.
const RESTRICTED_NAMES: [(&str, &[&str]); 23] = [
    ("rusqlite", &["src/storage/"]),
    ("reqwest", &["src/egress/"]),
    ("rustls", &["src/egress/"]),
    ("tokio_rustls", &["src/egress/"]),
    ("hyper::client", &["src/egress/"]),
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

/// The facets of a store. Commands pass a store to operations and do not use it themselves.
pub const STORAGE_FACETS: [&str; 16] = [
    "Store",
    "Journal",
    "Leadership",
    "CompanyStore",
    "DeliveryQueue",
    "DeliveryAdmin",
    "CallStore",
    "InboundAnswerStore",
    "InvocationStore",
    "AppointmentStore",
    "AlarmStore",
    "RejectedStore",
    "RetentionStore",
    "ErasureStore",
    "BackupStore",
    "Maintenance",
];

/// The file that opens the store for commands.
const STORE_OPENER: &str = "src/cli/context.rs";
/// The files that print any value that serializes: as a whole, and a list in parts.
const JSON_PRINTERS: [&str; 2] = ["src/cli/output.rs", "src/cli/list_output.rs"];

/// Modules that commands reach through operations.
const MODULES_BEHIND_OPERATIONS: [&str; 6] = ["dispatch", "egress", "handlers", "intake", "live", "simulation"];
/// The command that runs the receiver itself.
const SERVE_COMMAND: &str = "src/cli/serve.rs";
/// Files with a `run` that calls no operation: they choose among the commands of other files, or print what the program
/// contains.
const RUN_WITHOUT_OPERATION: [&str; 6] = [
    "src/cli/mod.rs",
    "src/cli/backup/mod.rs",
    "src/cli/calls/mod.rs",
    "src/cli/deliveries/dead.rs",
    "src/cli/setup/docs.rs",
    "src/cli/setup/generate.rs",
];

/// Places whose text may name commands.
const COMMAND_TEXT_PLACES: [&str; 3] = ["src/cli/", "src/app/docs/", "src/config/"];

/// Methods and macros that no file may use outside tests.
const FORBIDDEN_CALLS: [&str; 5] = [".unwrap", ".expect", "todo!", "unimplemented!", "dbg!"];

/// Every file and folder that the rules name.
pub fn named_paths() -> impl Iterator<Item = &'static str> {
    let files = PURE_FILES.into_iter().chain(JSON_PRINTERS).chain([STORE_OPENER, SERVE_COMMAND]);
    let files = files.chain(RUN_WITHOUT_OPERATION).chain(COMMAND_TEXT_PLACES);
    files.chain(RESTRICTED_NAMES.into_iter().flat_map(|(_, places)| places.iter().copied()))
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
    let violations = source.paths.iter().filter(|path| imports_higher_rank(path) || leaves_module(path));
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
    let violations = source.functions.iter().filter(|function| function.lines > MAX_FUNCTION_LINES);
    let describe = |function: &Function| {
        format!("{}:{}: {} has {} lines", source.path, function.line, function.name, function.lines)
    };
    violations.map(describe).collect()
}

/// Folders below `src` with too many files.
pub fn check_folder_sizes(paths: &[String]) -> Vec<String> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for (folder, _) in paths.iter().filter_map(|path| path.rsplit_once('/')) {
        *sizes.entry(folder).or_default() += 1;
    }
    let violations = sizes.into_iter().filter(|(_, size)| *size > MAX_FOLDER_FILES);
    violations.map(|(folder, size)| format!("{folder}: {size} files")).collect()
}

/// Files like `name.rs` with a folder `name`: a module with submodules is `name/mod.rs`.
pub fn check_module_files(paths: &[String]) -> Vec<String> {
    let has_folder = |path: &&String| {
        let folder = format!("{}/", path.trim_end_matches(".rs"));
        paths.iter().any(|other| other.starts_with(&folder))
    };
    paths.iter().filter(has_folder).cloned().collect()
}

pub fn is_pure(path: &str) -> bool {
    PURE_FILES.iter().any(|place| path.starts_with(place))
}

pub fn check_purity(source: &SourceFile) -> Vec<String> {
    if !is_pure(&source.path) {
        return Vec::new();
    }
    let impure = source.paths.iter().filter(|path| {
        let names: Vec<&str> = path.split("::").collect();
        names.iter().any(|name| matches!(*name, "async" | "await" | "SystemTime"))
            || names[0] == "tokio"
            || names.starts_with(&["std", "fs"])
            || names.windows(2).any(|pair| pair == ["Instant", "now"])
    });
    impure.map(|path| format!("{}: {path}", source.path)).collect()
}

pub fn check_restricted_names(source: &SourceFile) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, allowed) in RESTRICTED_NAMES {
        let is_allowed = allowed.iter().any(|place| source.path.starts_with(place));
        if !is_allowed && source.paths.iter().any(|path| is_named_in(path, name)) {
            violations.push(format!("{}: {name}", source.path));
        }
    }
    violations
}

/// Whether `path` contains `name` as whole segments: `tokio::task::spawn_blocking` contains `spawn_blocking`.
fn is_named_in(path: &str, name: &str) -> bool {
    format!("::{path}::").contains(&format!("::{name}::"))
}

/// Commands parse arguments, call operations and print their results. What they print as JSON is a type of `view`, so
/// they make no JSON themselves.
pub fn check_commands(source: &SourceFile) -> Vec<String> {
    if source.module() != Some("cli") {
        return Vec::new();
    }
    let names = |name: &str| source.paths.iter().any(|path| is_named_in(path, name));
    let mut violations = Vec::new();
    if source.methods_and_macros.contains("json!") {
        violations.push(format!("{}: json!", source.path));
    }
    if !JSON_PRINTERS.contains(&source.path.as_str()) && names("Serialize") {
        violations.push(format!("{}: Serialize", source.path));
    }
    if source.path != STORE_OPENER {
        let opens_store = source.paths.iter().any(|path| path.ends_with("storage::open"));
        violations.extend(opens_store.then(|| format!("{}: storage::open", source.path)));
        let facets = STORAGE_FACETS.iter().filter(|facet| names(facet));
        violations.extend(facets.map(|facet| format!("{}: {facet}", source.path)));
    }
    violations
}

/// A store that a command opened can be used without naming a facet, so the methods of facets are forbidden too.
pub fn check_commands_use_operations(source: &SourceFile) -> Vec<String> {
    if source.module() != Some("cli") || source.path == SERVE_COMMAND {
        return Vec::new();
    }
    let mut violations = Vec::new();
    let methods = facet_methods().iter().filter(|method| source.method_calls.contains(*method));
    violations.extend(methods.map(|method| format!("{}: .{method}() of a storage facet", source.path)));
    let reaches = |module: &&&str| {
        let module = format!("crate::{module}");
        source.paths.iter().any(|path| *path == module || path.starts_with(&format!("{module}::")))
    };
    let modules = MODULES_BEHIND_OPERATIONS.iter().filter(reaches);
    violations.extend(modules.map(|module| format!("{}: crate::{module}", source.path)));
    let runs = source.functions.iter().any(|function| function.name == "run");
    let calls_operation = source.paths.iter().any(|path| path.split("::").any(|name| name == "operations"));
    if runs && !calls_operation && !RUN_WITHOUT_OPERATION.contains(&source.path.as_str()) {
        violations.push(format!("{}: `run` without an operation", source.path));
    }
    violations
}

/// The methods of the traits in src/storage/facets.
pub fn facet_methods() -> &'static BTreeSet<String> {
    static METHODS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let files = rust_files("src/storage/facets").into_iter();
        files.flat_map(|path| declared_functions(&path)).collect()
    });
    &METHODS
}

/// Only the command line and its documentation name commands: an error or an alarm also reaches operators through other
/// callers.
pub fn check_command_names(source: &SourceFile) -> Vec<String> {
    if COMMAND_TEXT_PLACES.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let naming = source.strings.iter().filter(|text| names_command(text));
    naming.map(|text| format!("{}: {text}", source.path)).collect()
}

fn names_command(text: &str) -> bool {
    text.split("retell-webhook ").skip(1).any(|rest| {
        let word = rest.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
        command_names().contains(word)
    })
}

/// The names of the commands, from docs/cli.md, which is generated from their definition.
pub fn command_names() -> &'static BTreeSet<String> {
    static NAMES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
        let page = fs::read_to_string(path).unwrap();
        let headings = page.lines().filter_map(|line| line.strip_prefix("## retell-webhook "));
        headings.filter_map(|names| names.split(' ').next()).map(str::to_owned).collect()
    });
    &NAMES
}

pub fn check_forbidden_calls(source: &SourceFile) -> Vec<String> {
    let violations = FORBIDDEN_CALLS.iter().filter(|name| source.methods_and_macros.contains(**name));
    violations.map(|name| format!("{}: {name}", source.path)).collect()
}
