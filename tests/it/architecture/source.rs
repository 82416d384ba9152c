//! Rust source text prepared for the rules: tokens without comments, tests and the contents of literals, read by
//! `proc-macro2` as the compiler does. Tokens rather than a syntax tree, because the rules also apply inside macros.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A file below `src`, prepared for the rules.
pub struct SourceFile {
    /// Relative to the package, such as `src/http/error.rs`.
    pub path: String,
    /// Number of lines of the whole file.
    pub lines: usize,
    /// Every path in the code, with groups expanded: `a::{b, c::d}` gives `a::b` and `a::c::d`.
    pub paths: Vec<String>,
    /// Every function: free, associated, nested, and in macros. Those without a body are left out.
    pub functions: Vec<Function>,
    /// Every method with its dot and every macro with its exclamation mark: `.unwrap`, `vec!`.
    pub methods_and_macros: BTreeSet<String>,
    /// The name of every method that is called: `a.b(c)` and `a.b::<C>(d)` give `b`, the field `a.b` gives nothing.
    pub method_calls: BTreeSet<String>,
    /// Every string literal as it is written, with its line breaks.
    pub strings: Vec<String>,
}

/// A function with its length, from the line of its name to that of its closing brace.
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

impl SourceFile {
    pub fn new(path: &str, text: &str) -> Self {
        let mut source = Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            paths: Vec::new(),
            functions: Vec::new(),
            methods_and_macros: BTreeSet::new(),
            method_calls: BTreeSet::new(),
            strings: Vec::new(),
        };
        let tokens = without_tests(parse(path, text));
        collect_paths(&tokens, "", &mut source.paths);
        collect_functions(&tokens, &mut source.functions);
        collect_methods_and_macros(&tokens, &mut source.methods_and_macros);
        collect_method_calls(&tokens, &mut source.method_calls);
        collect_strings(&tokens, &mut source.strings);
        source
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
}

/// The names of all functions in a file of the package, also of those without a body.
pub fn declared_functions(path: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let mut names = Vec::new();
    collect_declared_functions(&without_tests(parse(path, &text)), &mut names);
    names
}

fn collect_declared_functions(tokens: &[TokenTree], names: &mut Vec<String>) {
    for (at, token) in tokens.iter().enumerate() {
        match (token, tokens.get(at + 1)) {
            (TokenTree::Ident(word), Some(TokenTree::Ident(name))) if word == "fn" => names.push(name.to_string()),
            (TokenTree::Group(group), _) => collect_declared_functions(&inner_tokens(group), names),
            _ => {}
        }
    }
}

/// The product's files below `src`: all except test-only ones. Read once for all tests.
pub fn sources() -> &'static [SourceFile] {
    static SOURCES: LazyLock<Vec<SourceFile>> = LazyLock::new(read_sources);
    &SOURCES
}

fn read_sources() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = rust_files("src").into_iter().map(|path| {
        let text = fs::read_to_string(root.join(&path)).unwrap();
        (path, text)
    });
    let texts: Vec<_> = texts.collect();
    let test_files: Vec<_> = texts.iter().flat_map(|(path, text)| test_files(path, text)).collect();
    let product_files = texts.iter().filter(|(path, _)| !is_test_file(path, &test_files));
    product_files.map(|(path, text)| SourceFile::new(path, text)).collect()
}

/// Whether `path` is one of `test_files`, or belongs to the folder of one: `a/tests.rs` stands for `a/tests/` as well.
pub fn is_test_file(path: &str, test_files: &[String]) -> bool {
    let is_in_folder = |file: &String| {
        let folder = file.trim_end_matches(".rs");
        path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    test_files.iter().any(|file| file == path || is_in_folder(file))
}

/// Every Rust file below a folder of the package, tests included.
pub fn rust_files(folder: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect_rust_files(&root.join(folder), &mut files);
    let names = files.iter().map(|path| path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/"));
    names.collect()
}

fn collect_rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_rust_files(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// The files that `text` declares as `#[cfg(test)] mod name;`, with or without `#[path = "…"]`.
pub fn test_files(path: &str, text: &str) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut files = Vec::new();
    let mut tokens = parse(path, text).into_iter();
    while let Some(token) = tokens.next() {
        if !matches!(&token, TokenTree::Group(group) if is_test_attribute(group)) {
            continue;
        }
        let mut item = Vec::new();
        let is_declaration = tokens.by_ref().find_map(|token| {
            item.push(token.to_string());
            ends_item(&token).then(|| is_punctuation(&token, ';'))
        });
        let declared = item.iter().position(|word| word == "mod").and_then(|at| item.get(at + 1));
        let own_path = item.iter().find_map(|word| word.strip_prefix("[path = \"")?.strip_suffix("\"]"));
        if let (Some(true), Some(name)) = (is_declaration, declared) {
            files.push(own_path.map_or(format!("{folder}/{name}.rs"), |own_path| format!("{folder}/{own_path}")));
        }
    }
    files
}

fn parse(path: &str, text: &str) -> Vec<TokenTree> {
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
    tokens.into_iter().collect()
}

/// Leaves out every item after `#[cfg(test)]`, at any depth.
fn without_tests(tokens: Vec<TokenTree>) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) if is_test_attribute(&group) => {
                kept.pop(); // the `#` of the attribute
                while tokens.next().is_some_and(|token| !ends_item(&token)) {}
                // `use a::{b};` has its semicolon after the brace.
                tokens.next_if(|token| is_punctuation(token, ';'));
            }
            TokenTree::Group(group) => {
                let inner = without_tests(group.stream().into_iter().collect());
                let mut without = Group::new(group.delimiter(), inner.into_iter().collect());
                without.set_span(group.span());
                kept.push(TokenTree::Group(without));
            }
            token => kept.push(token),
        }
    }
    kept
}

fn is_test_attribute(group: &Group) -> bool {
    let mut inner = group.stream().into_iter();
    group.delimiter() == Delimiter::Bracket
        && matches!(inner.next(), Some(TokenTree::Ident(name)) if name == "cfg")
        && inner.next().is_some_and(|condition| condition.to_string() == "(test)")
}

fn ends_item(token: &TokenTree) -> bool {
    is_punctuation(token, ';') || brace(token).is_some()
}

fn is_punctuation(token: &TokenTree, c: char) -> bool {
    matches!(token, TokenTree::Punct(punctuation) if punctuation.as_char() == c)
}

fn brace(token: &TokenTree) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    }
}

/// Appends the paths in `tokens`, each with `prefix` in front.
fn collect_paths(mut tokens: &[TokenTree], prefix: &str, paths: &mut Vec<String>) {
    while let Some((token, rest)) = tokens.split_first() {
        tokens = match token {
            TokenTree::Ident(name) => take_path(&format!("{prefix}{name}"), rest, paths),
            TokenTree::Group(group) => {
                collect_paths(&inner_tokens(group), "", paths);
                rest
            }
            _ => rest,
        };
    }
}

/// Appends the path that begins with `path` and continues in `tokens`. Returns the tokens after it.
fn take_path<'t>(path: &str, tokens: &'t [TokenTree], paths: &mut Vec<String>) -> &'t [TokenTree] {
    let [first, second, rest @ ..] = tokens else {
        paths.push(path.to_owned());
        return without_alias(tokens);
    };
    if !(is_punctuation(first, ':') && is_punctuation(second, ':')) {
        paths.push(path.to_owned());
        return without_alias(tokens);
    }
    match rest.split_first() {
        Some((TokenTree::Ident(name), rest)) => take_path(&format!("{path}::{name}"), rest, paths),
        Some((TokenTree::Group(group), rest)) => {
            collect_paths(&inner_tokens(group), &format!("{path}::"), paths);
            rest
        }
        // `a::*` or `a::<T>`.
        _ => {
            paths.push(path.to_owned());
            rest
        }
    }
}

/// The tokens after `as name`, if they begin with it: the new name is not a path.
fn without_alias(tokens: &[TokenTree]) -> &[TokenTree] {
    match tokens {
        [TokenTree::Ident(word), TokenTree::Ident(_), rest @ ..]
            if word == "as" && !rest.first().is_some_and(|next| is_punctuation(next, ':')) =>
        {
            rest
        }
        _ => tokens,
    }
}

fn inner_tokens(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

fn collect_functions(tokens: &[TokenTree], functions: &mut Vec<Function>) {
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(word) if word == "fn" => functions.extend(function(&tokens[at..])),
            TokenTree::Group(group) => collect_functions(&inner_tokens(group), functions),
            _ => {}
        }
    }
}

/// The function at the start of `tokens`; `None` for a function pointer and for a declaration without a body.
fn function(tokens: &[TokenTree]) -> Option<Function> {
    // With `$` before the name in a macro.
    let ([keyword, TokenTree::Ident(name), signature @ ..]
    | [keyword, TokenTree::Punct(_), TokenTree::Ident(name), signature @ ..]) = tokens
    else {
        return None;
    };
    let end = signature.iter().enumerate().position(|(at, token)| {
        // `A<{ B }>` has a brace that is not the body.
        let is_argument =
            signature.get(at + 1).is_some_and(|next| is_punctuation(next, '>') || is_punctuation(next, ','));
        is_punctuation(token, ';') || (brace(token).is_some() && !is_argument)
    })?;
    let line = keyword.span().start().line;
    let last_line = brace(&signature[end])?.span_close().end().line;
    Some(Function { name: name.to_string(), line, lines: last_line + 1 - line })
}

fn collect_methods_and_macros(tokens: &[TokenTree], names: &mut BTreeSet<String>) {
    for pair in tokens.windows(2) {
        match pair {
            [dot, TokenTree::Ident(name)] if is_punctuation(dot, '.') => names.insert(format!(".{name}")),
            [TokenTree::Ident(name), mark] if is_punctuation(mark, '!') => names.insert(format!("{name}!")),
            _ => continue,
        };
    }
    for token in tokens {
        if let TokenTree::Group(group) = token {
            collect_methods_and_macros(&inner_tokens(group), names);
        }
    }
}

fn collect_method_calls(tokens: &[TokenTree], names: &mut BTreeSet<String>) {
    for (at, pair) in tokens.windows(2).enumerate() {
        let [dot, TokenTree::Ident(name)] = pair else { continue };
        let is_call = match tokens.get(at + 2) {
            Some(TokenTree::Group(arguments)) => arguments.delimiter() == Delimiter::Parenthesis,
            Some(next) => is_punctuation(next, ':'),
            None => false,
        };
        if is_punctuation(dot, '.') && is_call {
            names.insert(name.to_string());
        }
    }
    for token in tokens {
        if let TokenTree::Group(group) = token {
            collect_method_calls(&inner_tokens(group), names);
        }
    }
}

fn collect_strings(tokens: &[TokenTree], strings: &mut Vec<String>) {
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Literal(literal) if literal.to_string().contains('"') => strings.push(literal.to_string()),
            TokenTree::Group(group) if !is_doc_attribute(tokens, at, group) => {
                collect_strings(&inner_tokens(group), strings);
            }
            _ => {}
        }
    }
}

/// Whether the group is that of `#[doc = "…"]` or `#![doc = "…"]`, which is how doc comments are read.
fn is_doc_attribute(tokens: &[TokenTree], at: usize, group: &Group) -> bool {
    let follows_mark = at > 0 && (is_punctuation(&tokens[at - 1], '#') || is_punctuation(&tokens[at - 1], '!'));
    let first = group.stream().into_iter().next();
    follows_mark && matches!(first, Some(TokenTree::Ident(name)) if name == "doc")
}
