//! The result of storing exported events again.

use serde::Serialize;

#[derive(Debug, Default, Serialize)]
pub(crate) struct ImportView {
    pub stored: u64,
    /// Events among these that were stored under another id than that of the export.
    pub new_ids: u64,
    /// Events that the store had already.
    pub duplicates: u64,
    pub bad_lines: u64,
    /// The errors of the first bad lines; the others are only counted.
    pub line_errors: Vec<ImportLineErrorView>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ImportLineErrorView {
    /// Counted from 1.
    pub line: u64,
    /// Why the line was skipped. It contains no value of the line, since exports contain personal data.
    pub error: String,
}
