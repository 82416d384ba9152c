//! Removes from texts what cannot belong to them: quotes that `docker --env-file` keeps, byte order marks, and blanks
//! and invisible characters from copying.

use crate::base::escape::is_deceptive;

const QUOTE_PAIRS: [(char, char); 4] = [('"', '"'), ('\'', '\''), ('“', '”'), ('‘', '’')];

/// The text without blanks and invisible characters at its ends, and without the quotes around it.
pub(in crate::config) fn clean_text(text: &str) -> &str {
    let trimmed = trim(text);
    for (open, close) in QUOTE_PAIRS {
        let inner = trimmed.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        // `"a","b"` is a list, not a quoted text.
        if let Some(inner) = inner.filter(|inner| !inner.contains([open, close])) {
            return trim(inner);
        }
    }
    trimmed
}

fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || is_deceptive(c))
}

/// Whether the value of a variable is empty, also within quotes. A value of blanks is not: it is an error.
pub(in crate::config) fn is_unset(value: &str) -> bool {
    value.is_empty() || (clean_text(value).is_empty() && value.contains(['"', '\'']))
}

/// Replaces `~` or `${HOME}` at the beginning of a path by `home`.
///
/// # Errors
/// Why the path cannot be used: a folder of that name would be created.
pub(in crate::config) fn expand_home(path: &str, home: Option<&str>) -> Result<String, &'static str> {
    let after_home = ["~", "${HOME}", "$HOME"].iter().find_map(|name| path.strip_prefix(name));
    let expanded = match after_home {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home = home.filter(|home| home.starts_with('/'));
            let home = home.ok_or("the variable HOME is not set to a folder; write the full path")?;
            format!("{}{rest}", home.trim_end_matches('/'))
        }
        _ => path.to_owned(),
    };
    if expanded.contains('$') {
        return Err("only ${HOME} at its beginning is replaced, no other variable; write the full path");
    }
    if expanded.starts_with('~') || expanded.split('/').any(|part| part == "~") {
        return Err("only ~/ at its beginning is replaced by the home folder; write the full path");
    }
    if expanded.chars().any(is_deceptive) {
        return Err("it has a control character or an invisible character; write it again");
    }
    Ok(expanded)
}

/// Why a URL cannot be used as it is written; parsing it would hide the fault.
pub(in crate::config) fn find_url_fault(url: &str) -> Option<&'static str> {
    let is_fault = |c: char| c.is_whitespace() || is_deceptive(c) || c == '"';
    url.contains(is_fault).then_some("it has a blank, a quote or an invisible character; write it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_blanks_and_marks_around_a_text_are_removed() {
        for text in [
            "key_1",
            " key_1\r\n",
            "\"key_1\"",
            "'key_1' ",
            "\" key_1 \"",
            "\u{feff}key_1",
            "\u{feff}\"key_1\"",
            "key_1\u{a0}",
            "\u{200b}key_1\u{2069}",
            "“key_1”",
        ] {
            assert_eq!(clean_text(text), "key_1", "{text:?}");
        }
        for kept in ["\"a\",\"b\"", "it's", "\"", "a\"b\"", ""] {
            assert_eq!(clean_text(kept), kept);
        }
        assert!(is_unset("") && is_unset("\"\"") && is_unset(" '' ") && !is_unset("   ") && !is_unset("x"));
    }

    #[test]
    fn the_home_folder_is_the_only_replacement_in_paths() {
        for (path, expanded) in [
            ("~/data", "/home/ada/data"),
            ("~", "/home/ada"),
            ("${HOME}/data", "/home/ada/data"),
            ("$HOME/data", "/home/ada/data"),
            ("data/x~", "data/x~"),
            ("/var/lib/my data", "/var/lib/my data"),
        ] {
            assert_eq!(expand_home(path, Some("/home/ada/")).as_deref(), Ok(expanded));
        }
        for refused in
            ["~ada/data", "$DATA/x", "${DATA}", "/x/${HOME}", "${HOME", "$HOMES/x", "/~/data", "a\u{200b}b", "a\nb"]
        {
            assert!(expand_home(refused, Some("/home/ada")).is_err(), "{refused:?}");
        }
        for home in [None, Some(""), Some("data")] {
            assert!(expand_home("~/data", home).is_err() && expand_home("data", home).is_ok());
        }
    }
}
