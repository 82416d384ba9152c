//! Cleans the merged values of all layers before they are parsed: keys, URLs, paths, addresses and ids.

use config::{Value, ValueKind};

use crate::config::FieldError;
use crate::config::values::clean_text::{clean_text, expand_home, find_url_fault};

/// Tables whose values belong to other programs or are texts for people.
const FOREIGN_TABLES: [&str; 5] = ["headers", "templates", "parameters", "dynamic_variables", "metadata"];
const STORE_SCHEME: &str = "sqlite://";

/// What the key of a text says about it.
enum TextKind {
    Path,
    Url,
    /// An id, a key or an address: it has no blanks and quotes around it.
    Word,
    Other,
}

/// Cleans every text below `path`. `home` replaces `~` in paths.
///
/// # Errors
/// The key of a text that cannot be used.
pub(super) fn clean_values(path: &str, value: &mut Value, home: Option<&str>) -> Result<(), FieldError> {
    match &mut value.kind {
        ValueKind::Table(fields) => {
            // Sorted, so that the first of several errors is always the same.
            let mut fields: Vec<_> = fields.iter_mut().collect();
            fields.sort_by_key(|(name, _)| *name);
            for (name, field) in fields {
                if !FOREIGN_TABLES.contains(&name.as_str()) {
                    let separator = if path.is_empty() { "" } else { "." };
                    clean_values(&format!("{path}{separator}{name}"), field, home)?;
                }
            }
        }
        ValueKind::Array(items) => {
            for (position, item) in items.iter_mut().enumerate() {
                clean_values(&format!("{path}[{position}]"), item, home)?;
            }
        }
        ValueKind::String(text) => {
            *text = clean_setting(path, text, home).map_err(|problem| FieldError::new(path, problem))?;
        }
        _ => {}
    }
    Ok(())
}

fn clean_setting(key: &str, text: &str, home: Option<&str>) -> Result<String, &'static str> {
    let clean = clean_text(text);
    match text_kind(key, clean) {
        TextKind::Other => Ok(text.to_owned()),
        TextKind::Word => Ok(clean.to_owned()),
        TextKind::Url => match find_url_fault(clean) {
            Some(fault) => Err(fault),
            None => Ok(clean.to_owned()),
        },
        TextKind::Path => {
            // A path can follow a scheme, or the `@` of a list of numbers.
            let prefix = [STORE_SCHEME, "@"].into_iter().find(|prefix| clean.starts_with(prefix)).unwrap_or_default();
            Ok(format!("{prefix}{}", expand_home(&clean[prefix.len()..], home)?))
        }
    }
}

fn text_kind(key: &str, text: &str) -> TextKind {
    let name = key.rsplit('.').next().unwrap_or_default();
    let (name, position) = name.split_once('[').unwrap_or((name, ""));
    match name {
        "data_dir" | "dir" | "path" | "parameters_file" | "api_key_file" | "keys_file" => TextKind::Path,
        "url" if text.starts_with(STORE_SCHEME) => TextKind::Path,
        // Of a command only the program is a path; its arguments are passed on unchanged.
        "command" if position == "0]" => TextKind::Path,
        "from" | "to" if text.starts_with('@') => TextKind::Path,
        "url" | "urls" | "base_url" => TextKind::Url,
        "keys" | "api_key" | "secret" | "token" | "host" | "listen" | "agents" | "agent" | "companies" | "slug"
        | "events" | "trusted_proxies" | "allowlist" | "level" | "format" | "time_zone" => TextKind::Word,
        _ => TextKind::Other,
    }
}
