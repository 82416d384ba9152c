//! Rust source text prepared for the rules: comments, strings and tests are blanked, and paths in `use` groups are
//! expanded.

use std::fs;
use std::path::Path;

/// A file below `src`, prepared for the rules.
pub struct SourceFile {
    /// Relative to the package, such as `src/http/error.rs`.
    pub path: String,
    /// Number of lines of the whole file.
    pub lines: usize,
    /// The text without comments, strings and tests; line breaks are kept.
    pub code: String,
}

impl SourceFile {
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            code: without_tests(&strip_strings_and_comments(text)),
        }
    }

    /// `http` for `src/http/error.rs`; `None` for `src/lib.rs` and `src/main.rs`.
    pub fn module(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split_once('/').map(|(module, _)| module)
    }

    /// Number of `super::` from this file to the crate root.
    pub fn depth(&self) -> usize {
        let names = self.path.trim_start_matches("src/").trim_end_matches(".rs").split('/');
        names.filter(|name| !matches!(*name, "mod" | "lib" | "main")).count()
    }

    /// Every path in the code, with groups expanded: `a::{b, c::d}` gives `a::b` and `a::c::d`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let mut rest = self.code.as_str();
        while let Some(at) = rest.find(|c: char| c.is_alphanumeric() || c == '_') {
            rest = take_path(&rest[at..], "", &mut paths);
        }
        paths
    }
}

/// Reads one path at the start of `text` and appends it to `paths`, with `prefix` in front. Returns the rest of the
/// text.
fn take_path<'t>(text: &'t str, prefix: &str, paths: &mut Vec<String>) -> &'t str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let path = format!("{prefix}{}", &text[..end]);
    let rest = &text[end..];
    let Some(after) = rest.strip_prefix("::") else {
        paths.push(path);
        return rest;
    };
    if let Some(group) = after.strip_prefix('{') {
        return take_group(group, &format!("{path}::"), paths);
    }
    if after.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        return take_path(after, &format!("{path}::"), paths);
    }
    // `a::*` or `a::<T>`.
    paths.push(path);
    after
}

fn take_group<'t>(mut text: &'t str, prefix: &str, paths: &mut Vec<String>) -> &'t str {
    loop {
        text = text.trim_start_matches(|c: char| c.is_whitespace() || c == ',' || c == '*');
        if let Some(rest) = text.strip_prefix('}') {
            return rest;
        }
        if !text.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return text;
        }
        text = take_path(text, prefix, paths);
        if let Some((_, rest)) = text.trim_start().strip_prefix("as ").and_then(|rest| rest.split_once([',', '}'])) {
            text = &text[text.len() - rest.len() - 1..];
        }
    }
}

/// Every file below `src`, except test-only files.
pub fn sources() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect_rust_files(&root.join("src"), &mut files);
    let texts = files.iter().map(|path| {
        let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
        (name, fs::read_to_string(path).unwrap())
    });
    let texts: Vec<_> = texts.collect();
    let test_files: Vec<_> = texts.iter().flat_map(|(path, text)| test_files(path, text)).collect();
    let product_files = texts.iter().filter(|(path, _)| !test_files.contains(path));
    product_files.map(|(path, text)| SourceFile::new(path, text)).collect()
}

fn collect_rust_files(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_rust_files(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// The files that `text` declares as `#[cfg(test)] mod name;`.
pub fn test_files(path: &str, text: &str) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let declared = text.split("#[cfg(test)]").skip(1).filter_map(|after| after.trim_start().strip_prefix("mod "));
    let names = declared.filter_map(|after| Some(after.split_once(';')?.0).filter(|name| !name.contains(' ')));
    names.map(|name| format!("{folder}/{name}.rs")).collect()
}

/// Blanks comments, strings and character literals. Line breaks are kept.
pub fn strip_strings_and_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let blank = blank_length(rest, out.chars().next_back());
        let length = if blank > 0 { blank } else { first.len_utf8() };
        let (piece, after) = rest.split_at(length);
        if blank > 0 {
            out.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            out.push(first);
        }
        rest = after;
    }
    out
}

/// Number of bytes at the start of `text` that are a comment, a string or a character literal; 0 for code.
fn blank_length(text: &str, before: Option<char>) -> usize {
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return text.find("*/").map_or(text.len(), |end| end + 2);
    }
    if text.starts_with('"') {
        return string_literal_length(text, 1);
    }
    if !in_name && (text.starts_with("r\"") || text.starts_with("r#") || text.starts_with("br")) {
        return raw_string_length(text);
    }
    if text.starts_with('\'') { char_literal_length(text) } else { 0 }
}

fn string_literal_length(text: &str, start: usize) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(start) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string_length(text: &str) -> usize {
    let after = text.trim_start_matches('b').trim_start_matches('r');
    let hashes = after.len() - after.trim_start_matches('#').len();
    if !after[hashes..].starts_with('"') {
        return 0;
    }
    let opening = text.len() - after.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    text[opening..].find(&close).map_or(text.len(), |at| opening + at + close.len())
}

/// Length of `'x'`, `'\n'` or `'\u{1b}'`; 0 for a lifetime such as `'x`.
fn char_literal_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |at| at + 4),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// Blanks every item after `#[cfg(test)]`. Strings must be blanked before, because their braces would be counted.
fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    while let Some(start) = code.find("#[cfg(test)]") {
        let end = start + item_length(&code[start..]);
        let blank: String = code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// Length up to the `;` or the closing brace that ends the item.
fn item_length(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}
